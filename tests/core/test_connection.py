"""A client that goes away: its handler ends, its upstream is closed. Real sockets, on both event loops.

Quart's own classes lose some of the 300 early aborts below; take `connection.install` out of `gateway` to see it.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

import aiohttp
import pytest
import uvloop
from quart import Quart, Response, request

from penstock import connection
from penstock.listen import listen, url
from penstock.server import ServerOptions, Stop, serve


def cleanup() -> AsyncExitStack:
    """The exit stack of the request being handled."""
    return cast("connection.Request", request).cleanup


PATIENCE = 10.0  # seconds for whatever must happen at all
Run = Callable[[Awaitable[None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on one of the loops that Penstock runs on."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_on_loop(main: Awaitable[None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(60):
                await main

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited())

    return run_on_loop


class Upstream:
    """An upstream that answers every request with an endless stream, and notices when it is left."""

    def __init__(self) -> None:
        self.address = ""
        self.opened = 0
        self.open = 0
        self.changed = asyncio.Condition()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await self._count(1)
            try:
                await self._stream(reader, writer)
            finally:
                await self._count(-1)
        writer.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        left = asyncio.ensure_future(reader.read())
        while not left.done():
            writer.write(b"a\r\ndata: {}\n\n\r\n")
            await asyncio.wait({left}, timeout=0.03)
        await left

    async def _count(self, change: int) -> None:
        async with self.changed:
            self.opened += max(change, 0)
            self.open += change
            self.changed.notify_all()

    async def until_open(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: self.open == number)


@asynccontextmanager
async def served(app: Quart) -> AsyncIterator[str]:
    """Serve an application in this process; its address."""
    stop, ready = Stop(), asyncio.Event()
    listener = listen("127.0.0.1:0", 1024)
    address = url(listener, tls=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(app, listener, ServerOptions(graceful_timeout=1), ready.set, stop))
        await ready.wait()
        yield address
        stop.signal()


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[str, Upstream]]:
    """A gateway that passes an upstream's stream on; its address and the upstream."""
    upstream = Upstream()
    app = Quart(__name__)
    connection.install(app)

    @app.post("/")
    async def view() -> Response:
        answer = await session.post(upstream.address, data=await request.get_data())
        cleanup().callback(answer.close)
        return Response(answer.content.iter_any())

    async with (
        await asyncio.start_server(upstream.answer, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        served(app) as address,
    ):
        upstream.address = url(server.sockets[0], tls=False)
        yield address, upstream


class Client:
    """A client that asks and, sooner or later, goes away without a word."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def first_event(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.reader.readuntil(b"data: ")

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def abort(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def asking(address: str) -> AsyncIterator[Client]:
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


def test_300_early_aborts_leave_no_upstream_open(run: Run) -> None:
    async def main() -> None:
        moment = random.Random(7)
        async with gateway() as (address, upstream):
            for _ in range(300):
                async with asking(address) as client:
                    await asyncio.sleep(moment.random() * 0.006)
                    client.abort()
            async with asking(address) as last:  # served after all others
                await last.first_event()
            await upstream.until_open(0)
            assert upstream.opened > 50

    run(main())


def test_the_upstream_is_closed_within_100_ms(run: Run) -> None:
    async def main() -> None:
        async with gateway() as (address, upstream):
            delays = []
            for _ in range(5):
                async with asking(address) as client:
                    await client.first_event()
                    client.abort()
                    left = time.monotonic()
                    await upstream.until_open(0)
                    delays.append(time.monotonic() - left)
            assert statistics.median(delays) < 0.1

    run(main())


def one_view(view: Callable[[], Awaitable[Response]]) -> Quart:
    app = Quart(__name__)
    connection.install(app)
    app.add_url_rule("/", view_func=view, methods=["POST"])
    return app


def test_cleanup_runs_after_a_normal_end(run: Run) -> None:
    order: list[str] = []

    async def view() -> Response:
        cleanup().callback(order.append, "first registered")
        cleanup().callback(order.append, "last registered")

        async def body() -> AsyncIterator[bytes]:
            yield b"all "
            yield b"of it"
            order.append("body")

        return Response(body())

    async def main() -> None:
        async with served(one_view(view)) as address, asking(address) as client:
            assert b"of it" in await client.rest()
        assert order == ["body", "last registered", "first registered"]

    run(main())


def test_cleanup_runs_after_an_error(run: Run) -> None:
    closed = asyncio.Event()

    async def view() -> Response:
        cleanup().callback(closed.set)
        raise LookupError("a mistake in the view")

    async def main() -> None:
        async with served(one_view(view)) as address, asking(address) as client:
            assert (await client.rest()).startswith(b"HTTP/1.1 500 ")
            async with asyncio.timeout(PATIENCE):
                await closed.wait()

    run(main())


def test_cleanup_runs_when_the_client_leaves_before_the_answer(run: Run) -> None:
    async def main() -> None:
        asked, closed = asyncio.Event(), asyncio.Event()

        async def view() -> Response:
            cleanup().callback(closed.set)
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        async with served(one_view(view)) as address, asking(address) as client:
            async with asyncio.timeout(PATIENCE):
                await asked.wait()
                client.abort()
                await closed.wait()

    run(main())


def test_a_handler_that_ignores_its_cancellation_is_cancelled_again(run: Run) -> None:
    async def main() -> None:
        cancelled: list[float] = []
        closed = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"data: 1"
            while len(cancelled) < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(time.monotonic())

        async def view() -> Response:
            cleanup().callback(closed.set)
            return Response(body())

        async with served(one_view(view)) as address, asking(address) as client:
            await client.first_event()
            client.abort()
            async with asyncio.timeout(PATIENCE):
                await closed.wait()
        assert len(cancelled) == 3
        assert 0.4 < cancelled[-1] - cancelled[0] < 2

    run(main())


def test_a_body_that_swallows_its_cancellation_cannot_send_any_more(run: Run) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"data: 1"
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                while True:  # never waits: only a refused send can end it
                    yield b"data: more"
            finally:
                ended.set()

        async def view() -> Response:
            return Response(body())

        async with served(one_view(view)) as address, asking(address) as client:
            await client.first_event()
            client.abort()
            async with asyncio.timeout(PATIENCE):
                await ended.wait()

    run(main())


async def test_the_test_client_of_quart_cleans_up_too() -> None:
    closed: list[str] = []

    async def view() -> Response:
        cleanup().callback(closed.append, "closed")
        return Response("fine")

    answer = await one_view(view).test_client().post("/")
    assert await answer.get_data(as_text=True) == "fine"
    assert closed == ["closed"]
