"""Fixtures for authors of plugins and protocols: a gateway on a real socket and a scripted upstream.

    async def test_a_relayed_answer(gateway, upstream):
        upstream.answers(messages.stream("hello"))
        gate = await gateway(PIPELINE, url=upstream.url)
        ...  # any client, pointed at gate.url

`messages`, `chat`, `responses` and `contents` make answers in the four usual formats, `Reply` any other; the fixtures
are at the end. They are asynchronous and need pytest-asyncio in its mode `auto`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from penstock.testing import chat, contents, messages, responses
from penstock.testing.gateway import GatewayProcess, Place, RunningGateway, clean_environment
from penstock.testing.parts import Thought, ToolCall
from penstock.testing.reply import CUT, HANG, RESET, Reply, event_stream, html_reply, json_reply
from penstock.testing.upstream import PATIENCE, Call, ScriptedUpstream

__all__ = [
    "CUT",
    "HANG",
    "PATIENCE",
    "RESET",
    "Call",
    "GatewayProcess",
    "MakeGateway",
    "MakeProcess",
    "MakeUpstream",
    "Place",
    "Reply",
    "RunningGateway",
    "ScriptedUpstream",
    "Thought",
    "ToolCall",
    "chat",
    "clean_environment",
    "contents",
    "event_stream",
    "html_reply",
    "json_reply",
    "messages",
    "responses",
]


class MakeUpstream(Protocol):
    """`await make_upstream()`: one more scripted upstream."""

    async def __call__(self) -> ScriptedUpstream: ...


class MakeGateway(Protocol):
    """`await gateway(pipeline, url=upstream.url)`: a gateway with that pipeline, served in this process.

    `{word}` in the texts becomes the value of the keyword of that name. `files` are more files of the folder by
    name, `gateway.yaml` among them; `env` is what `${VARIABLE}` finds. `name` is the pipeline's.
    """

    async def __call__(
        self,
        pipeline: str,
        /,
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str,
    ) -> RunningGateway: ...


class MakeProcess(Protocol):
    """`await gateway_process(pipeline, url=upstream.url)`: the same as a process started with `penstock serve`.

    `arguments` are further ones of the command; `env` is added to a clean environment.
    """

    async def __call__(
        self,
        pipeline: str,
        /,
        *arguments: str,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str,
    ) -> GatewayProcess: ...


@pytest.fixture
async def make_upstream() -> AsyncIterator[MakeUpstream]:
    """A function that starts scripted upstreams."""
    async with AsyncExitStack() as stack:

        async def make() -> ScriptedUpstream:
            upstream = ScriptedUpstream()
            await upstream.start()
            stack.push_async_callback(upstream.close)
            return upstream

        yield make


@pytest.fixture
async def upstream(make_upstream: MakeUpstream) -> ScriptedUpstream:
    """One scripted upstream."""
    return await make_upstream()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[MakeGateway]:
    """A function that starts gateways in this process; see MakeGateway."""
    async with AsyncExitStack() as stack:

        async def make(
            pipeline: str,
            /,
            *,
            files: Mapping[str, str] | None = None,
            env: Mapping[str, str] | None = None,
            name: str = "test",
            **values: str,
        ) -> RunningGateway:
            place = _written(tmp_path, pipeline, files or {}, name, values)
            running = RunningGateway(place, env or {})
            await running.start()
            stack.push_async_callback(running.close)
            return running

        yield make


@pytest.fixture
async def gateway_process(tmp_path: Path) -> AsyncIterator[MakeProcess]:
    """A function that starts gateways as processes; see MakeProcess."""
    async with AsyncExitStack() as stack:

        async def make(
            pipeline: str,
            /,
            *arguments: str,
            files: Mapping[str, str] | None = None,
            env: Mapping[str, str] | None = None,
            name: str = "test",
            **values: str,
        ) -> GatewayProcess:
            place = _written(tmp_path, pipeline, files or {}, name, values)
            process = await GatewayProcess.start(place, arguments, clean_environment(**(env or {})))
            stack.push_async_callback(process.close)
            return process

        yield make


def _written(root: Path, pipeline: str, files: Mapping[str, str], name: str, values: Mapping[str, str]) -> Place:
    place = Place(root, name, values)
    place.write(pipeline)
    for file, text in files.items():
        place.write(text, file)
    return place
