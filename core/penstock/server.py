"""Serve an application with Hypercorn: in this process or in several, with a graceful end.

Hypercorn's own `serve` is not used: on Python 3.12 and later its drain waits for open streams without a
limit, and it does not tell when it listens. Here its parts are put together with an exact drain.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from penstock.bind import parse_bind
from penstock.listen import ServerError, listen, tls_context, url
from penstock.supervisor import Inherited, Supervisor, on_signals

__all__ = ["Application", "Factory", "ServerError", "ServerOptions", "Stop", "run", "serve"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

CUT_TIMEOUT = 2.0  # seconds that handlers get to clean up after their connections were cut, and again if cancelled
SHUTDOWN_TIMEOUT = 60.0  # seconds for the application's own shutdown

log = logging.getLogger(__name__)


class Application(Protocol):
    """What can be served: an ASGI application with the two ends of its life as methods, as Quart has them."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None: ...

    async def startup(self) -> None: ...

    async def shutdown(self) -> None: ...


Factory = Callable[[], Awaitable[Application]]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve. Raises ServerError for values that make no sense.

    `bind` is host:port, [ipv6]:port or unix:path; `certfile` and `keyfile` are PEM files and switch TLS on.
    Times are in seconds: open streams get `graceful_timeout` to finish, idle connections are closed after
    `keep_alive`. `worker_command` starts this same program again; it is needed for more than one worker.
    """

    bind: str = "127.0.0.1:4000"
    workers: int = 1
    certfile: str | None = None
    keyfile: str | None = None
    graceful_timeout: float = 300.0
    keep_alive: float = 75.0
    backlog: int = 1024
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    worker_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            parse_bind(self.bind)
        except ValueError as error:
            raise ServerError(str(error)) from None
        if self.workers < 1:
            raise ServerError(f"workers must be 1 or more, not {self.workers}")
        if self.workers > 1 and os.name != "posix":
            raise ServerError("more than one worker needs Linux or macOS: workers must be 1 here")
        if self.workers > 1 and not self.worker_command:
            raise ServerError("more than one worker needs a worker_command")
        if self.graceful_timeout < 0 or self.keep_alive <= 0:
            raise ServerError("the graceful timeout must be 0 or more seconds, the keep-alive time more than 0")


class Stop:
    """How a server is told to stop: first `drain`, then, if that takes too long for somebody, `hurry`."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.hurry = asyncio.Event()

    def signal(self) -> None:
        """Take a request to stop; the second one means at once."""
        (self.hurry if self.drain.is_set() else self.drain).set()


def run(options: ServerOptions, make_app: Factory, on_ready: Callable[[list[str]], object]) -> None:
    """Serve until SIGTERM or SIGINT; returns after a clean stop. Raises ServerError.

    `make_app` is awaited in each process that serves, on the loop that serves. `on_ready` gets the addresses
    once the server answers on them; with several workers it is called in the parent only. SIGHUP is left to
    the application; with several workers the parent passes it on.
    """
    loop_factory = _loop_factory(options)
    inherited = Inherited.take()
    if inherited is not None:
        return _run(_as_worker(options, make_app, inherited), loop_factory)
    tls = tls_context(options.certfile, options.keyfile)  # complain before anything is opened
    with listen(options.bind, options.backlog) as listener:
        addresses = [url(listener, tls is not None)]

        def ready() -> None:
            on_ready(addresses)

        if options.workers > 1:
            return _run(Supervisor(listener, options.worker_command, ready).run(options.workers))
        return _run(_until_signal(options, make_app, listener, ready, Stop()), loop_factory)


def _run(main: Coroutine[Any, Any, None], loop_factory: LoopFactory | None = None) -> None:
    gc.freeze()  # what start-up made stays: looking through it again and again is 8 % of a small exchange
    gc.set_threshold(20_000, 20, 20)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main)


async def serve(
    app: Application,
    listener: socket.socket,
    options: ServerOptions,
    on_ready: Callable[[], object],
    stop: Stop,
) -> None:
    """Start an application, serve it on an open socket until told to stop, drain, shut it down.

    Draining refuses new connections at once, closes idle ones, gives the others `graceful_timeout` seconds to
    finish and cuts what is left. What the application's own startup and shutdown raise is raised here;
    ServerError if its shutdown takes longer than SHUTDOWN_TIMEOUT.
    """
    connections = _Connections(app, _config(options))
    tls = tls_context(options.certfile, options.keyfile)
    await app.startup()
    try:
        server = await asyncio.start_server(connections.serve, sock=listener, backlog=options.backlog, ssl=tls)
        try:
            on_ready()
            await stop.drain.wait()
        finally:
            server.close()
            await connections.drain(options.graceful_timeout, stop.hurry)
    finally:
        await _shut_down(app)


async def _shut_down(app: Application) -> None:
    try:
        async with asyncio.timeout(SHUTDOWN_TIMEOUT):
            await app.shutdown()
    except TimeoutError as error:
        raise ServerError(f"the application did not shut down within {SHUTDOWN_TIMEOUT:.0f} s") from error


class _Connections:
    """The open connections of one process, and how they end."""

    def __init__(self, app: Application, config: Config) -> None:
        self._app = ASGIWrapper(app)
        self._config = config
        self._context = WorkerContext(max_requests=None)
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it closes or is cut."""
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = writer
        try:
            await TCPServer(self._app, loop, self._config, self._context, {}, reader, writer)
        except asyncio.CancelledError:
            log.debug("a connection was cut")  # the task ends here: nobody waits for the cancellation
        finally:
            del self._open[task]

    async def drain(self, timeout: float, hurry: asyncio.Event) -> None:
        """Let the connections end: `timeout` seconds at most, and only until somebody is in a hurry."""
        if self._open:
            log.info("stopping: answers under way get %g s; stop again to end them now", timeout)
        await self._context.terminated.set()  # Hypercorn closes idle connections now, others after their answer
        ends: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._closed()),
            asyncio.create_task(hurry.wait()),
        }
        await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if self._open:
            await self._cut()

    async def _closed(self) -> None:
        while self._open:
            await asyncio.wait(self._open)

    async def _cut(self) -> None:
        """Make every client look gone, which ends their handlers; cancel what does not notice."""
        log.warning("stopping: what is still open is cut: %d", len(self._open))
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.wait(self._open, timeout=CUT_TIMEOUT)
        if self._open:
            for task in self._open:
                task.cancel()
            await asyncio.wait(self._open, timeout=CUT_TIMEOUT)


async def _until_signal(
    options: ServerOptions,
    make_app: Factory,
    listener: socket.socket,
    on_ready: Callable[[], object],
    stop: Stop,
) -> None:
    with on_signals(stop.signal, signal.SIGINT, signal.SIGTERM):
        await serve(await make_app(), listener, options, on_ready, stop)


async def _as_worker(options: ServerOptions, make_app: Factory, inherited: Inherited) -> None:
    stop = Stop()
    inherited.when_abandoned(stop.drain.set)
    try:
        await _until_signal(options, make_app, inherited.listener, inherited.ready, stop)
    except Exception as error:
        inherited.failed(error)
        raise


def _loop_factory(options: ServerOptions) -> LoopFactory | None:
    """Raises ServerError if a loop is asked for that is not installed."""
    if options.loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError as error:
        if options.loop == "auto":
            return None
        raise ServerError("uvloop is not installed: install it or take the loop 'auto'") from error
    return uvloop.new_event_loop


def _config(options: ServerOptions) -> Config:
    config = Config()
    config.accesslog = None  # the application writes its own
    config.errorlog = log
    config.include_server_header = False
    config.keep_alive_timeout = options.keep_alive
    config.keep_alive_max_requests = sys.maxsize
    return config
