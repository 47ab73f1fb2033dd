"""Several worker processes on one listening socket: started, replaced when they crash, drained at the end.

Hypercorn's own parent is not used: there the first crash or the first finished worker ends all others, and
new clients hang in the backlog while it drains. Here the parent owns the socket and never serves; a worker
is the same program started again, which finds the socket in its environment (`Inherited.take`). A socket
pair connects the two: the worker says once that it is ready or why it cannot start, and notices when the
parent is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from penstock.listen import ServerError

LISTEN_FD = "PENSTOCK_LISTEN_FD"
CONTROL_FD = "PENSTOCK_CONTROL_FD"

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before a worker is replaced; doubles from one to the other
LONG_LIFE = 30.0  # seconds after which an end is no longer part of a series
MAX_FAILED_STARTS = 5  # before the first worker was ever ready

_READY = b"ready"
_LONGEST_MESSAGE = 4096

log = logging.getLogger(__name__)


@contextmanager
def on_signals(callback: Callable[[], object], *signals: signal.Signals) -> Iterator[None]:
    """Call back from the running event loop when one of the signals arrives."""
    loop = asyncio.get_running_loop()
    for number in signals:
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows, where the loop wakes up for any signal
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)


class Inherited(NamedTuple):
    """What a worker gets from its supervisor."""

    listener: socket.socket
    control: socket.socket

    @classmethod
    def take(cls) -> Inherited | None:
        """The inheritance of this process, or None if no supervisor started it. A second call gets None."""
        numbers = [os.environ.pop(name, None) for name in (LISTEN_FD, CONTROL_FD)]
        if None in numbers:
            return None
        try:
            sockets = [socket.socket(fileno=int(number or "")) for number in numbers]
        except (ValueError, OSError) as error:
            raise ServerError(f"{LISTEN_FD} and {CONTROL_FD} are for a server's own workers: unset them") from error
        for sock in sockets:
            sock.set_inheritable(False)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor forwards it; the application may listen to it
        return cls(*sockets)

    def ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        self.control.send(_READY)

    def failed(self, error: Exception) -> None:
        """Tell the supervisor why this worker cannot start."""
        with suppress(OSError):
            self.control.send((str(error) or type(error).__name__).encode()[:_LONGEST_MESSAGE])

    def when_abandoned(self, callback: Callable[[], object]) -> None:
        """Call back from the running event loop when the supervisor has died."""
        loop = asyncio.get_running_loop()

        def abandoned() -> None:
            loop.remove_reader(self.control)
            callback()

        loop.add_reader(self.control, abandoned)


@dataclass(eq=False)
class _Worker:
    """A worker as its supervisor sees it."""

    process: Process
    control: socket.socket
    ready: bool = False
    reload_when_ready: bool = False

    @classmethod
    async def start(cls, command: Sequence[str], listener: socket.socket) -> _Worker:
        """Raises OSError when the system has no room for another process."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        fds = {LISTEN_FD: listener.fileno(), CONTROL_FD: theirs.fileno()}
        env = os.environ | {name: str(fd) for name, fd in fds.items()}
        with theirs:
            try:
                # In a session of its own: Ctrl-C in a terminal reaches the supervisor only; it passes it on.
                process = await asyncio.create_subprocess_exec(
                    *command, env=env, pass_fds=tuple(fds.values()), stdin=DEVNULL, start_new_session=True
                )
            except OSError:
                ours.close()
                raise
        return cls(process, ours)

    async def message(self) -> bytes:
        """What the worker has to say about its start; nothing if it dies first."""
        with suppress(ConnectionError):
            return await asyncio.get_running_loop().sock_recv(self.control, _LONGEST_MESSAGE)
        return b""

    def is_ready(self) -> None:
        self.ready = True
        if self.reload_when_ready:
            self.signal(signal.SIGHUP)

    def reload(self) -> None:
        """A worker that is still starting may have read the old files already: it is told afterwards."""
        if self.ready:
            self.signal(signal.SIGHUP)
        else:
            self.reload_when_ready = True

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Keeps workers running until a signal ends it.

    SIGTERM or SIGINT closes the listening socket and lets the workers drain; a second one makes them end at
    once; a third kills them. SIGHUP goes to every worker, to one that is still starting when it is ready.
    """

    def __init__(self, listener: socket.socket, command: Sequence[str], on_ready: Callable[[], object]) -> None:
        """`command` starts a worker; `on_ready` is called once, when the first worker serves."""
        self._listener = listener
        self._command = command
        self._on_ready = on_ready
        self._workers: set[_Worker] = set()
        self._stopping = asyncio.Event()
        self._stop_signals = 0
        self._served = False
        self._failed_starts = 0
        self._gave_up: str | None = None

    async def run(self, workers: int) -> None:
        """Run until stopped. Raises ServerError when not even the first workers can start."""
        with on_signals(self._stop, signal.SIGINT, signal.SIGTERM), on_signals(self._reload, signal.SIGHUP):
            await asyncio.gather(*(self._keep_one() for _ in range(workers)))
        if self._gave_up is not None:
            raise ServerError(self._gave_up)

    async def _keep_one(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            end = await self._run_one()
            if time.monotonic() - started > LONG_LIFE:
                pause = FIRST_PAUSE
            if not self._stopping.is_set():
                log.warning("%s; the next one starts in %.1f s", end, pause)
                await self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _run_one(self) -> str:
        """Run one worker from its start to its end, and say how it ended."""
        try:
            worker = await _Worker.start(self._command, self._listener)
        except OSError as error:
            return self._failed_start(f"cannot start a process: {error}")
        self._workers.add(worker)
        if self._stopping.is_set():  # the signal came while it was being started
            worker.signal(signal.SIGTERM)
        message = await worker.message()
        if message == _READY:
            self._ready(worker)
        status = await worker.process.wait()
        self._workers.discard(worker)
        worker.control.close()
        end = f"worker {worker.process.pid} ended with status {status}"
        return end if message == _READY else self._failed_start(message.decode(errors="replace") or end)

    def _ready(self, worker: _Worker) -> None:
        worker.is_ready()
        if not self._served:
            self._served = True
            self._on_ready()

    def _failed_start(self, reason: str) -> str:
        self._failed_starts += 1
        if not self._served and self._failed_starts == MAX_FAILED_STARTS:
            self._gave_up = f"no worker can start, {MAX_FAILED_STARTS} tried: {reason}"
            self._stop()
        return f"a worker could not start: {reason}"

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _stop(self) -> None:
        self._stop_signals += 1
        self._stopping.set()
        self._listener.close()
        for worker in self._workers:
            worker.signal(signal.SIGTERM if self._stop_signals < 3 else signal.SIGKILL)

    def _reload(self) -> None:
        for worker in self._workers:
            worker.reload()
