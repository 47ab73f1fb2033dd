"""Start server_app.py as a process and talk to it, for the tests of the server."""

import asyncio
import json
import os
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import penstock

APP = Path(__file__).with_name("server_app.py")
PATIENCE = 15.0  # seconds for whatever must happen at all


class Server:
    """A server process: what it tells on stdout, its address, and its end."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.told: list[str] = []
        self.url = ""

    async def hears(self, word: str, times: int = 1) -> list[str]:
        """Read on until `word` was told so many times; what stood behind it each time."""
        while sum(line.startswith(f"{word} ") for line in self.told) < times:
            self.told.append((await self._line()).rstrip())
        return [line.removeprefix(f"{word} ") for line in self.told if line.startswith(f"{word} ")]

    async def ends(self) -> tuple[int, str]:
        """Wait for the end; the exit status and what was written to stderr."""
        assert self.process.stdout
        assert self.process.stderr
        async with asyncio.timeout(PATIENCE):
            self.told += (await self.process.stdout.read()).decode().splitlines()
            return await self.process.wait(), (await self.process.stderr.read()).decode()

    async def _line(self) -> str:
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        if not line:
            raise EOFError(f"the server has ended, having told {self.told}: {(await self.ends())[1]}")
        return line.decode()


@asynccontextmanager
async def process(*arguments: str, **options: object) -> AsyncIterator[Server]:
    """A server process that may still be starting; it is killed if it outlives the test."""
    env = os.environ | {"PYTHONPATH": str(Path(penstock.__file__).parent.parent)}
    settings = json.dumps({"bind": "127.0.0.1:0"} | options)
    started = await asyncio.create_subprocess_exec(
        sys.executable, str(APP), settings, *arguments, env=env, stdout=PIPE, stderr=PIPE
    )
    try:
        yield Server(started)
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[Server]:
    """A server process that is ready."""
    async with process(**options) as server:
        (server.url,) = await server.hears("ready")
        yield server


async def connect(url: str, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the address that a server printed."""
    async with asyncio.timeout(PATIENCE):
        if url.startswith("unix:"):
            return await asyncio.open_unix_connection(url.removeprefix("unix:"))
        parts = urlsplit(url)
        return await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)


async def get(url: str, path: str = "/pid", tls: ssl.SSLContext | None = None) -> tuple[str, str]:
    """One request on a connection of its own; head and body of the answer."""
    reader, writer = await connect(url, tls)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
            return head, body
    finally:
        writer.close()


async def refusal(url: str) -> None:
    """Wait until a server takes no more connections."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await connect(url)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it closed while we were in its queue
                continue
            writer.close()


class Stream:
    """An open stream: what the client says comes back, until it finishes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.pid = 0

    async def begin(self) -> None:
        head = "POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        async with asyncio.timeout(PATIENCE):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        (self.pid,) = (int(line.split(":")[1]) for line in lines if line.startswith("x-pid:"))

    async def says(self, text: str) -> str:
        """Send a piece; what comes back."""
        self._writer.write(f"{len(text):x}\r\n{text}\r\n".encode())
        return await self._piece()

    async def finish(self) -> bool:
        """End the request; whether the answer ended as it should."""
        self._writer.write(b"0\r\n\r\n")
        return await self._piece() == ""

    async def is_cut(self) -> bool:
        """Wait for the end of the connection; whether the answer is incomplete."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read() == b""
            except ConnectionResetError:
                return True

    async def _piece(self) -> str:
        async with asyncio.timeout(PATIENCE):
            size = int(await self._reader.readline(), 16)
            return (await self._reader.readexactly(size + 2))[:-2].decode()


@asynccontextmanager
async def stream(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stream]:
    """A stream that has begun: the server's headers are there."""
    reader, writer = await connect(url, tls)
    try:
        opened = Stream(reader, writer)
        await opened.begin()
        yield opened
    finally:
        writer.close()
