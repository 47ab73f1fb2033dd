"""Golden sessions over real sockets: cases/sessions has a file for each, and a new case is a new file."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest
import pytest_asyncio

from penstock.testing import Call, Place, RunningGateway, ScriptedUpstream
from tests.integration.official import check_request
from tests.integration.sessions import CASES, QUERY, Json, Session, Step, load, pipeline
from tests.integration.talk import Said, ask, events_of

FILES = sorted(CASES.glob("*/*.json"))
HEADERS = {
    "authorization": "Bearer client-secret",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
}


class Stage(NamedTuple):
    """The gateway before all upstreams of all cases, which are one server."""

    gateway: RunningGateway
    upstream: ScriptedUpstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    upstream = ScriptedUpstream()
    await upstream.start()
    place = Place(tmp_path_factory.mktemp("sessions"), "sessions", {"url": upstream.url})
    place.write(pipeline([load(file) for file in FILES]))
    gateway = RunningGateway(place, {})
    try:
        await gateway.start()
        yield Stage(gateway, upstream)
    finally:
        await gateway.close()
        await upstream.close()


def plays() -> list[object]:
    """Each file as often as a client may ask."""
    return [
        pytest.param(load(file), stream, id=f"{file.parent.name}-{file.stem}-{'stream' if stream else 'whole'}")
        for file in FILES
        for stream in load(file).streams
    ]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("session", "stream"), plays())
async def test_session(stage: Stage, session: Session, stream: bool) -> None:
    request: Json = {}
    for step in session.steps:
        replies, before = step.replies(stream), len(stage.upstream.calls)
        stage.upstream.answers(*replies)
        request = step.request(request, stream)
        said = await ask(stage.gateway.url, request, path=f"/v1/messages{QUERY}", headers=HEADERS)
        calls = stage.upstream.calls[before:]
        check_calls(step, calls)
        found, wanted = step.sent(calls[-1], stream)
        assert found == wanted
        if turn := await check_answer(step, said, stream):
            request["messages"] = [*request["messages"], turn]


def check_calls(step: Step, calls: Sequence[Call]) -> None:
    """That each upstream was asked once, in its own format, and saw no secret that is not for it."""
    assert len(calls) == len(step.targets)
    for call, name in zip(calls, step.targets, strict=True):
        check_request(name, call)
        assert b"client-secret" not in call.raw_head + call.body
        assert b"penstock1." not in call.body
    header, key = step.format.key
    assert calls[-1].header(header) == key


async def check_answer(step: Step, said: Said, stream: bool) -> Json:
    """That the client got what the case says; the turn for its history, empty if there is none."""
    if stream and said.status == 200:
        check_order(said.body)
    if stream and "events" in step.about:
        found, wanted = step.events(said)
        assert found == wanted
    elif "error" in step.about:
        found, wanted = step.error(said)
        assert found == wanted
    if "error" in step.about:
        return {}
    assert said.status == 200, said.body
    message, (found, wanted) = await step.message(said)
    assert found == wanted
    return {"role": "assistant", "content": message["content"]}


def check_order(stream: bytes) -> None:
    """That blocks come one after the other between the start and the end, or before an error."""
    events = [(name, data) for name, data in events_of(stream) if name != "ping"]
    names = [name for name, _ in events]
    assert names[0] == "message_start"
    assert names[-1] == "error" or names[-2:] == ["message_delta", "message_stop"]
    numbers = [(name, data["index"]) for name, data in events if name.startswith("content_block")]
    opened, is_open = -1, False
    for name, index in numbers:
        opened, is_open = (opened + 1, False) if name == "content_block_start" else (opened, is_open)
        assert index == opened
        assert is_open != (name == "content_block_start")
        is_open = name != "content_block_stop"
    assert not is_open or names[-1] == "error"


def test_a_case_says_what_it_shows() -> None:
    assert FILES
    for file in FILES:
        assert load(file).about["about"]
