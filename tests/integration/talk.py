"""How the integration tests talk to a gateway: pipelines, request bodies, and a client that keeps every byte."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from penstock.testing import PATIENCE, GatewayProcess, RunningGateway

RELAY = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - translation
"""
CHAT = """
path: /
upstreams:
  main: {protocol: openai-chat, url: "{url}/v1", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - translation
"""
SIMULATOR = """
path: /
plugins:
  - logging: {to: log.jsonl}
  - simulator: {pause: 10ms}
  - models
  - translation
"""
IMPATIENT = "ping: 100ms\ncommit_after: 200ms\n"
"""A gateway.yaml with which pings come soon."""


class Said(NamedTuple):
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error of the Messages format."""
        found = self.json()
        assert found["type"] == "error"
        assert set(found["error"]) == {"type", "message"}
        return dict(found["error"])

    @property
    def events(self) -> list[tuple[str, Any]]:
        return events_of(self.body)

    @property
    def text(self) -> str:
        """The text of the answer, streamed or whole."""
        if self.body.startswith(b"{"):
            return "".join(block.get("text", "") for block in self.json()["content"])
        deltas = [data["delta"] for name, data in self.events if name == "content_block_delta"]
        return "".join(delta.get("text", "") for delta in deltas)


def events_of(stream: bytes) -> list[tuple[str, Any]]:
    """Names and data of a stream in the Messages format, each frame with its two lines."""
    found = []
    for frame in stream.decode().split("\n\n"):
        if frame and not frame.startswith(":"):
            name, data = frame.split("\n")
            assert name.startswith("event: "), frame
            assert data.startswith("data: "), frame
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def prompt(text: str = "hi", **more: Any) -> dict[str, Any]:
    """A small request in the Messages format."""
    return {"model": "model-a", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


async def ask(
    url: str,
    body: Any = None,
    *,
    path: str = "/v1/messages",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Said:
    """One request on a connection of its own, its answer to the last byte."""
    async with opened(url, body, path=path, method=method, headers=headers) as response:
        return Said(response.status, response.headers, await response.read())


@asynccontextmanager
async def opened(
    url: str,
    body: Any = None,
    *,
    path: str = "/v1/messages",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The same, while its answer is still coming; leaving the block early leaves the gateway."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    large = data is not None and len(data) > 1_000_000  # of which aiohttp wants no plain bytes
    given = {"content-type": "application/json", **(headers or {})}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
        session.request(
            method,
            URL(url + path, encoded=True),
            data=io.BytesIO(data or b"") if large else data,
            headers=given,
            allow_redirects=False,
        ) as response,
    ):
        yield response


async def log_lines(gate: RunningGateway | GatewayProcess, count: int = 1) -> list[dict[str, Any]]:
    """What the step `logging` has written, once that is `count` lines: it writes after the client has its answer."""
    path: Path = gate.place.folder / "log.jsonl"
    await until(lambda: len(path.read_text().splitlines()) >= count)
    return [json.loads(line) for line in path.read_text().splitlines()]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def refused(url: str) -> None:
    """Wait until a gateway takes no more connections."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await ask(url, method="GET", path="/health")
            except aiohttp.ClientConnectorError:
                return
