"""A thread that does the store's work in the order in which it comes, in one transaction all that is waiting."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from .state import State

T = TypeVar("T")

BATCH = 100
"""Jobs in one transaction at most, so that other processes have their turn."""
PATIENCE = 2.0
"""Seconds that the end of the thread is waited for."""


class Job(Generic[T]):
    """A verb to be done, and who waits for it: nobody any more, when the future is cancelled."""

    def __init__(self, verb: Callable[[State], T], future: "asyncio.Future[T]") -> None:
        self.verb = verb
        self.future = future
        self.result: T | None = None
        self.error: Exception | None = None

    def run(self, state: State) -> None:
        """Do it. Raises sqlite3.Error; what else goes wrong, which must be before anything is written, is kept."""
        try:
            self.result = self.verb(state)
        except sqlite3.Error:
            raise
        except Exception as error:
            self.error = error

    def tell(self) -> None:
        """Give the outcome to who waits, in that one's thread."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class Lane:
    """Owns the thread and the state, which is opened when it is needed, and anew after it has failed."""

    def __init__(self, open_state: Callable[[], State]) -> None:
        self._open_state = open_state
        self._state: State | None = None
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="penstock-sqlite", daemon=True)

    async def do(self, verb: Callable[[State], T]) -> T:
        """What the verb returns. Raises what it raises, or what kept the state from being opened."""
        if self._thread.ident is None:
            self._thread.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(Job(verb, future))
        return await future

    async def close(self) -> None:
        """End the thread when it has done what is waiting, which is not waited for any longer than PATIENCE."""
        self._queue.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, PATIENCE)

    def _work(self) -> None:
        going = True
        while going:
            jobs = self._waiting()
            going = None not in jobs
            wanted = [job for job in jobs if job is not None]
            if wanted:
                self._run(wanted)
                with suppress(RuntimeError):  # the loop may be gone, and with it who waits
                    wanted[0].future.get_loop().call_soon_threadsafe(_tell, wanted)
        if self._state is not None:
            self._state.close()

    def _waiting(self) -> list[Job[Any] | None]:
        jobs = [self._queue.get()]
        try:
            while len(jobs) < BATCH:
                jobs.append(self._queue.get_nowait())
        except Empty:
            pass
        return jobs

    def _run(self, jobs: list[Job[Any]]) -> None:
        try:
            if self._state is None:
                self._state = self._open_state()
            for job in jobs:
                if not job.future.cancelled():
                    job.run(self._state)
            self._state.commit()
        except Exception as error:
            for job in jobs:
                job.error = error
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # then nothing has begun
            if self._state is not None and not busy:
                self._state.close()  # which undoes what has
                self._state = None


def _tell(jobs: list[Job[Any]]) -> None:
    for job in jobs:
        job.tell()
