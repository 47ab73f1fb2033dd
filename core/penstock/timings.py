"""How long hooks take: a timer for each hook of each step, and the closer look that debug mode takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from penstock.exchange import StashKey

if TYPE_CHECKING:
    from penstock.exchange import Exchange

_SIZES = 64  # powers of two, in nanoseconds up to three centuries


class Timer:
    """What one hook of one step has taken, in nanoseconds of wall time: waiting counts.

    `failures` are mistakes, `refusals` the errors that a plugin raises on purpose; `skipped` and `timeouts` are counted
    by whatever keeps the hook from being called, or cuts it short. `busy` is the part of `total` in which the hook ran
    rather than waited, None if that is not measured.
    """

    __slots__ = ("_sizes", "_unasked", "busy", "failures", "longest", "refusals", "skipped", "timeouts", "total")

    def __init__(self) -> None:
        self.total = 0
        self.longest = 0
        self.busy: int | None = None
        self.failures = 0
        self.refusals = 0
        self.skipped = 0
        self.timeouts = 0
        self._sizes = [0] * _SIZES
        self._unasked = 0

    @property
    def calls(self) -> int:
        """How many calls were timed and have ended."""
        return sum(self._sizes) - self._unasked

    def note(self, nanoseconds: int) -> None:
        """One call has ended."""
        self.total += nanoseconds
        if nanoseconds > self.longest:
            self.longest = nanoseconds
        self._sizes[nanoseconds.bit_length()] += 1

    def skip(self) -> None:
        """What is noted as a call was none: the hook itself was not asked."""
        self._unasked += 1
        self.skipped += 1

    def below(self, share: float) -> int:
        """Nanoseconds, a power of two unless it is the longest, that at least this share of the calls stayed within."""
        wanted = share * self.calls
        for size, count in enumerate(self._sizes):
            wanted -= count
            if wanted <= 0:
                return min(1 << size, self.longest)
        return self.longest


class Timers:
    """The timers of one pipeline, by plugin instance and hook: plans that share an instance share its timers."""

    def __init__(self, *, debug: bool = False) -> None:
        self.debug = debug
        self._timers: dict[tuple[int, str], Timer] = {}

    def timer(self, plugin: object, hook: str) -> Timer:
        """The timer of a hook, which is made on first use. The plugin has to live as long as this."""
        return self._timers.setdefault((id(plugin), hook), Timer())

    def watched(self, step: str, hook: str, function: Callable[..., Any], timer: Timer) -> Callable[..., Any]:
        """The function of a hook as debug mode calls it; itself in any other, and where there is no exchange."""
        if not self.debug or hook in ("startup", "shutdown"):
            return function
        return _timed_event(function, timer) if hook == "on_event" else _observed(step, hook, function, timer)


TRACE = StashKey[list[tuple[str, str, int]]]()
"""What debug mode notes on an exchange: step, hook and nanoseconds of each call but those of `on_event`."""


def _timed_event(function: Callable[..., Any], timer: Timer) -> Callable[..., Any]:
    """An `on_event` with its timer. The events of a generator are made here, where their time is the step's."""

    def call(exchange: Exchange, event: object) -> Any:
        begun = perf_counter_ns()
        try:
            made = function(exchange, event)
            return tuple(made) if isinstance(made, Iterator) else made
        finally:
            timer.note(perf_counter_ns() - begun)

    return call


def _observed(step: str, hook: str, function: Callable[..., Any], timer: Timer) -> Callable[..., Any]:
    """A hook that leaves a trace on its exchange, and tells the time in which it runs from that in which it waits."""
    timer.busy = timer.busy or 0

    async def call(exchange: Exchange, *rest: object) -> Any:
        begun = perf_counter_ns()
        try:
            try:
                result = function(exchange, *rest)
            finally:
                _ran(timer, begun)
            return await _Driven(result, timer) if hasattr(result, "__await__") else result
        finally:
            _trace(exchange).append((step, hook, perf_counter_ns() - begun))

    return call


def _ran(timer: Timer, begun: int) -> None:
    timer.busy = (timer.busy or 0) + perf_counter_ns() - begun


def _trace(exchange: Exchange) -> list[tuple[str, str, int]]:
    if TRACE not in exchange.stash:
        exchange.stash[TRACE] = []
    return exchange.stash[TRACE]


class _Driven:
    """Awaits what a hook has returned, step by step, and sums up the time of the steps."""

    def __init__(self, awaitable: Awaitable[Any], timer: Timer) -> None:
        self._steps: Generator[Any, Any, Any] = awaitable.__await__()
        self._timer = timer

    def __await__(self) -> Generator[Any, Any, Any]:
        failure: BaseException | None = None
        while True:
            begun = perf_counter_ns()
            try:
                waited = next(self._steps) if failure is None else self._steps.throw(failure)
            except StopIteration as end:
                return end.value
            finally:
                _ran(self._timer, begun)
            try:
                failure = None
                yield waited
            except BaseException as error:  # a cancellation: the hook has to hear of it
                failure = error


# ---------------------------------------------------------------- as a header


def server_timing(exchange: Exchange, now: float) -> str:
    """The value of `server-timing` for an answer whose headers leave at `now`, by the clock of the exchange.

    Durations are in milliseconds. Names are cut down to what a token may hold.
    """
    entries = [
        f'{_token(step)};dur={ns / 1e6:.3f};desc="{hook}"'
        for step, hook, ns in exchange.stash.get(TRACE, ())
        if hook == "on_request"
    ]
    waits: dict[str, float] = {}
    for attempt in exchange.attempts:
        waits[attempt.target.upstream] = waits.get(attempt.target.upstream, 0.0) + attempt.seconds
    entries += [
        f'upstream;dur={seconds * 1e3:.3f};desc="{_token(name)} until its first event"'
        for name, seconds in waits.items()
    ]
    entries.append(f'total;dur={(now - exchange.started) * 1e3:.3f};desc="until the headers"')
    return ", ".join(entries)


def _token(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
