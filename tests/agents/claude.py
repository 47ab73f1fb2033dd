"""Claude Code for tests: where its binary is, a clean environment for it, and a session that is spoken to line by line.

It gets a home of its own and loopback addresses; it cannot reach anything else of whoever runs the tests.
"""

import asyncio
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent.parent
RUN = 60.0
"""Seconds for whatever the agent does."""

_LINE = 1 << 24  # bytes of a record


def find_binary() -> str:
    """The binary of PENSTOCK_CLAUDE, else the one `make agents` installs. Skips the test if there is none."""
    named = os.environ.get("PENSTOCK_CLAUDE", "")
    found = shutil.which(named or str(ROOT / ".agents/node_modules/.bin/claude"))
    if found is None:
        pytest.skip(f"no Claude Code at {named}" if named else "no Claude Code: `make agents` installs it (needs npm)")
    return found


def environment(home: Path, address: str) -> dict[str, str]:
    """What the agent sees of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_AUTH_TOKEN": "client-token",
        "HTTPS_PROXY": "http://127.0.0.1:1",  # whatever wants to leave this machine fails at once
        "HTTP_PROXY": "http://127.0.0.1:1",
        "NO_PROXY": "127.0.0.1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
    }


@asynccontextmanager
async def tapped(url: str) -> AsyncIterator[tuple[str, bytearray]]:
    """A relay on the way to `url`: its address, and all bytes that clients have sent through it."""
    sent = bytearray()
    far = urlsplit(url)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray | None) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if record is not None:
                    record += chunk
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(far.hostname, far.port)
        await asyncio.gather(copy(reader, far_writer, sent), copy(far_reader, writer, None))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{far.path}", sent


async def ask(binary: str, url: str, home: Path, folder: Path, *arguments: str) -> dict[str, Any]:
    """The result of a run of the agent in a process of its own. Raises TimeoutError, JSONDecodeError."""
    process = await asyncio.create_subprocess_exec(
        *(binary, "-p", "--output-format", "json", *arguments),
        cwd=folder,
        env=environment(home, url),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    try:
        async with asyncio.timeout(RUN):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    result: dict[str, Any] = json.loads(out)
    return result


class Conversation:
    """One session in one process, which takes and gives a JSON record a line."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._switches = 0

    async def say(self, text: str) -> None:
        """A message of the user; one that begins with `/` is a command."""
        await self._send({"type": "user", "message": {"role": "user", "content": text}})

    async def switch(self, model: str) -> None:
        """Another model from the next request on, whatever the agent is doing."""
        self._switches += 1
        request = {"subtype": "set_model", "model": model}
        await self._send({"type": "control_request", "request_id": f"switch_{self._switches}", "request": request})
        answer = await self.until("control_response")
        assert answer["response"]["subtype"] == "success", answer

    async def until(self, kind: str) -> dict[str, Any]:
        """Its next record of a type: `result` ends what a message has begun. Raises EOFError, TimeoutError."""
        assert self._process.stdout is not None
        async with asyncio.timeout(RUN):
            while line := await self._process.stdout.readline():
                record: dict[str, Any] = json.loads(line)
                if record["type"] == kind:
                    return record
        raise EOFError(f"Claude Code ended without a record of type {kind}")

    async def _send(self, record: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(record).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def conversation(binary: str, url: str, home: Path, folder: Path, *arguments: str) -> AsyncIterator[Conversation]:
    """A session of the agent in `folder`, over when the block ends."""
    records = ("--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
    process = await asyncio.create_subprocess_exec(
        *(binary, "-p", *records, *arguments),
        cwd=folder,
        env=environment(home, url),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=_LINE,
    )
    try:
        yield Conversation(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(RUN):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
