"""A scripted upstream: a real HTTP/1.1 server on loopback that answers as a test tells it and remembers every request.

    upstream.answers("hello", [Thought("hm"), ToolCall("Read", {"path": "a"})])    # in the format that is asked
    upstream.fails(Overloaded, 429)
    upstream.answers(messages.stream("hello").at(b"event: message_delta", CUT))    # byte by byte
    upstream.always("hello")
    call = await upstream.called(1)
    assert call.json()["model"] == "model-a"

Its HTTP is its own and small, so that it can break the rules: cut, hang, reset, split anywhere.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

from penstock.testing import formats
from penstock.testing.formats import Failing, Short
from penstock.testing.reply import Act, Reply, Step, json_reply

PATIENCE = 10.0
"""Seconds for whatever must happen at all."""

_LARGEST = 1 << 27

Ended = Literal["open", "finished", "cut", "gone"]


class Call:
    """One request as it arrived, and how its connection fared: `gone` means that the client left first."""

    def __init__(self, connection: int, head: bytes, body: bytes) -> None:
        self.connection = connection
        self.raw_head = head
        self.body = body
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, _ = first.split(" ", 2)
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.ended: Ended = "open"
        self.ended_at: float | None = None
        self._over = asyncio.Event()

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What stands behind the question mark."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name; None if it did not come."""
        return next((value for given, value in self.headers if given.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    async def over(self) -> Ended:
        """Wait until the answer has ended, and say how."""
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()
        return self.ended

    def end(self, how: Ended) -> None:
        """For the upstream: the answer has ended."""
        if self.ended == "open":
            self.ended, self.ended_at = how, asyncio.get_running_loop().time()
            self._over.set()


Script = Reply | Callable[[Call], Reply] | Short
"""An answer, what makes one for a request, or in short what it says: a text, or several parts."""


class ScriptedUpstream:
    """The server. Answers are taken from queues; without one, from `always`; without that, it fails with 500."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.connections = 0
        self._queues: dict[str, list[Script]] = {}
        self._always: dict[str, Script] = {}
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    # ------------------------------------------------------------ the script

    def answers(self, *scripts: Script, path: str = "") -> None:
        """Answer the next requests, one with each; with a `path`, the next requests of that path.

        A text, a Thought, a ToolCall or a list of them becomes an answer in the format in which it is asked, streamed
        if the request says so.
        """
        self._queues.setdefault(path, []).extend(scripts)

    def always(self, script: Script, path: str = "") -> None:
        """Answer so when no queue has an answer."""
        self._always[path] = script

    def fails(self, *failures: Failing) -> None:
        """Refuse the next requests, one with each: `fails(Overloaded, RateLimited("slow", retry_after=3), 500)`."""
        self.answers(*(partial(_failure, failing) for failing in failures))

    def replies(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next request with a status and a JSON body."""
        self.answers(json_reply(body, status, headers))

    # ------------------------------------------------------------ what happened

    @property
    def open_streams(self) -> int:
        """How many requests are being answered."""
        return sum(call.ended == "open" for call in self.calls)

    async def called(self, times: int = 1) -> Call:
        """Wait for that many requests; the last of them. Raises TimeoutError."""
        await self.until(lambda: len(self.calls) >= times)
        return self.calls[times - 1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the calls is true. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    # ------------------------------------------------------------ the server

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port of 127.0.0.1."""
        loop = asyncio.get_running_loop()

        def connected() -> asyncio.StreamReaderProtocol:
            reader = _Reader(limit=_LARGEST, loop=loop)
            return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._serve(reader, writer), loop=loop)

        self._server = await loop.create_server(connected, "127.0.0.1", 0, backlog=1024, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}:{port}"

    async def close(self) -> None:
        """Refuse new connections and drop the open ones."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: "_Reader", writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        self.connections += 1
        number = self.connections
        try:
            while await self._serve_one(number, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed an idle connection
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            del self._tasks[task]
            writer.close()

    async def _serve_one(self, number: int, reader: "_Reader", writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection may carry another."""
        head = await reader.readuntil(b"\r\n\r\n")
        call = Call(number, head, await _body(head, reader))
        self.calls.append(call)
        await self._notify()
        reader.on_gone(call)
        try:
            reply = self._reply(call)
            await _play(reply, writer)
            call.end("finished")
            return reply.framing != "close"
        except _Cut as cut:
            call.end("cut")
            _close(writer, cut.args[0])
            return False
        except (asyncio.CancelledError, ConnectionError):
            call.end("gone")
            return False
        finally:
            reader.on_gone(None)
            await self._notify()

    def _reply(self, call: Call) -> Reply:
        for path in (call.path, ""):
            if queue := self._queues.get(path):
                return _made(queue.pop(0), call)
        script = self._always.get(call.path) or self._always.get("")
        if script is None:
            return json_reply({"error": {"message": f"the script has no answer for {call.method} {call.target}"}}, 500)
        return _made(script, call)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _Reader(asyncio.StreamReader):
    """Ends the answer under way at the very moment the client's side of the connection closes."""

    _task: "asyncio.Task[Any] | None" = None
    _call: Call | None = None

    def on_gone(self, call: Call | None) -> None:
        self._call, self._task = call, asyncio.current_task()
        if call is not None and self.at_eof():
            self._gone()

    def feed_eof(self) -> None:
        super().feed_eof()
        self._gone()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._gone()

    def _gone(self) -> None:
        if self._call is not None and self._task is not None and self._call.ended == "open":
            self._call.end("gone")
            self._task.cancel()


class _Cut(Exception):
    """The script cuts the connection."""


def _made(script: Script, call: Call) -> Reply:
    if isinstance(script, Reply):
        return script
    return script(call) if callable(script) else formats.answer(script, call.path, call.body)


def _failure(failing: Failing, call: Call) -> Reply:
    return formats.failure(failing, call.path)


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    fields = {n.strip().lower(): v.strip() for n, _, v in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return await reader.readexactly(int(fields.get(b"content-length", b"0")))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(parts)


async def _play(reply: Reply, writer: asyncio.StreamWriter) -> None:
    for step in reply.before:
        await _wait(step)
    writer.write(_head(reply))
    for step in reply.body:
        if not isinstance(step, bytes):
            await _wait(step)
        elif step:
            writer.write(b"%x\r\n%b\r\n" % (len(step), step) if reply.framing == "chunked" else step)
            await writer.drain()
            await asyncio.sleep(0)  # the client's side may read this write before the next
    if reply.framing == "chunked":
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _wait(step: Step) -> None:
    if isinstance(step, asyncio.Event):
        await step.wait()
    elif isinstance(step, float | int):
        await asyncio.sleep(step)
    elif step is Act.HANG:
        await asyncio.Event().wait()
    else:
        raise _Cut(step)


def _head(reply: Reply) -> bytes:
    try:
        reason = HTTPStatus(reply.status).phrase
    except ValueError:
        reason = "Unknown"
    framing = {
        "length": f"content-length: {len(reply.payload)}",
        "chunked": "transfer-encoding: chunked",
        "close": "connection: close",
    }[reply.framing]
    lines = [f"HTTP/1.1 {reply.status} {reason}", *(f"{name}: {value}" for name, value in reply.headers.items())]
    return "\r\n".join([*lines, framing, "\r\n"]).encode("latin-1")


def _close(writer: asyncio.StreamWriter, how: Act) -> None:
    if how is Act.RESET:
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()
