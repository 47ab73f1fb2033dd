"""Time limits for many short waits that share one timer.

`asyncio.timeout` makes and cancels a timer per wait. On uvloop that costs another turn of the loop, which is more than
reading and sending an event of a stream. Here the timer is set for the earliest deadline only, and waits that end in
time, as nearly all do, leave it alone.
"""

import asyncio
from types import TracebackType


class Deadlines:
    """Makes the waits of one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits: set[Wait] = set()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # of the timer; uvloop's handles do not always know

    def within(self, seconds: float) -> "Wait":
        """A context manager for an await that may take `seconds`; raises TimeoutError when it takes longer."""
        loop = self._loop
        if loop is None:  # asking for it is a system call on Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        return Wait(self, loop, loop.time() + seconds)

    def close(self) -> None:
        """Forget the timer. No wait may be under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def enter(self, wait: "Wait") -> None:
        """For `Wait`: its time runs."""
        if self._timer is None or wait.when < self._due:
            self._set_timer(wait.loop, wait.when)
        self._waits.add(wait)

    def leave(self, wait: "Wait") -> None:
        """For `Wait`: it is over."""
        self._waits.discard(wait)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = loop.call_at(when, self._ring, loop), when

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for wait in [wait for wait in self._waits if wait.when <= now]:
            self._waits.discard(wait)
            wait.expire()
        if self._waits:
            self._set_timer(loop, min(wait.when for wait in self._waits))


class Wait:
    """One wait of the current task, as `asyncio.timeout` treats it: a cancellation from elsewhere stays one."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "loop", "when")

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self.loop = loop
        self.when = when
        self._deadlines = deadlines
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task(self.loop)
        assert task is not None  # awaits happen in tasks
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.enter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._deadlines.leave(self)
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    @property
    def expired(self) -> bool:
        """Whether its time was up before it was over."""
        return self._expired

    def expire(self) -> None:
        """Time is up."""
        self._expired = True
        self._task.cancel()
