"""What stands around the hooks of a step: the condition it takes part on, its time limit, its circuit."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import Meta

from penstock.conditions import When
from penstock.deadlines import Deadlines
from penstock.errors import GatewayError
from penstock.events import Event
from penstock.exchange import Exchange
from penstock.options import Duration
from penstock.plugin import IfBroken

log = logging.getLogger("penstock")

Function = Callable[..., Any]
_EVENTS = frozenset(get_args(Event))


class CircuitOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a step that keeps breaking is left alone, and for how long."""

    failures: Annotated[int, Meta(ge=1, description="So many in a row.")] = 5
    pause: Annotated[Duration, Meta(description="Until one exchange tries it again.")] = 30.0

    def __post_init__(self) -> None:
        if not self.pause:
            raise ValueError("`pause` must be longer than 0")


class Safety(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The words beside a step's name that say when it takes part, and what happens if it breaks."""

    when: Annotated[When | None, Meta(description="The exchanges in which the step takes part.")] = None
    on_error: Annotated[IfBroken | None, Meta(description="What happens when the step breaks.")] = None
    timeout: Annotated[Duration | None, Meta(description="How long each call of an async hook may take.")] = None
    circuit: Annotated[CircuitOptions | None, Meta(description="Leave the step alone after repeated failures.")] = None

    def __post_init__(self) -> None:
        if self.timeout == 0:
            raise ValueError("`timeout` must be longer than 0")

    def told(self) -> Iterator[tuple[str, str]]:
        """The words that are given, each with what it says; but for `on_error`."""
        if self.when is not None:
            yield "when", ", ".join(self.when.asked())
        if self.timeout is not None:
            yield "timeout", f"{self.timeout:g} s"
        if self.circuit is not None:
            yield "circuit", f"{self.circuit.failures} failures in a row, then a pause of {self.circuit.pause:g} s"


class Absent:
    """What a guarded `on_request` returns when the step takes no part in the exchange."""


ABSENT: Final = Absent()


class HookTimedOut(Exception):
    """A hook took longer than the step's `timeout`."""


class CircuitOpen(Exception):
    """The step is not called for now. `seconds` is until it is tried again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"paused for {seconds:g} s")
        self.seconds = seconds


class Circuit:
    """Whether a step that may keep breaking is called. Each hook counts its own failures in a row."""

    def __init__(self, step: str, options: CircuitOptions, clock: Callable[[], float]) -> None:
        self._step = step
        self._options = options
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._again = 0.0
        self._open = False

    def check(self) -> None:
        """Let an exchange through; while it is open, one after each pause. Raises CircuitOpen for all others."""
        if not self._open:
            return
        wait = self._again - self._clock()
        if wait > 0:
            raise CircuitOpen(wait)
        self._again = self._clock() + self._options.pause  # the next one, should this one never get as far as a hook

    def broke(self, hook: str) -> None:
        """A call has failed."""
        failures = self._failures[hook] = self._failures.get(hook, 0) + 1
        if failures < self._options.failures:
            return
        self._again = self._clock() + self._options.pause
        if not self._open:
            self._open = True
            pause = f"{self._options.pause:g} s"
            log.error("step %r broke %d times in a row (%s): it is paused for %s", self._step, failures, hook, pause)

    def worked(self, hook: str) -> None:
        """A call has come to its end."""
        if self._failures.pop(hook, 0) and self._open:
            self._open = any(failures >= self._options.failures for failures in self._failures.values())
            if not self._open:
                log.warning("step %r works again", self._step)


class Guard:
    """Stands around the hooks of one step, in the plans of all teams alike."""

    def __init__(self, step: str, safety: Safety, deadlines: Deadlines, clock: Callable[[], float]) -> None:
        self.safety = safety
        self._deadlines = deadlines
        self._circuit = Circuit(step, safety.circuit, clock) if safety.circuit else None

    @property
    def judges(self) -> bool:
        """Whether there are exchanges in which the step takes no part, which is decided in `on_request`."""
        return self.safety.when is not None or self._circuit is not None

    def around(self, hook: str, function: Function) -> Function:
        """A hook's function with what it is guarded by, which for most is nothing."""
        timeout, circuit = self.safety.timeout, self._circuit
        if hook in ("startup", "shutdown"):
            return function
        if hook == "on_event":
            return function if circuit is None else _counted_event(function, circuit)
        if timeout is not None:
            function = _bounded(function, hook, timeout, self._deadlines)
        if circuit is not None:
            function = _counted(function, hook, circuit)
        return self._judged(function) if hook == "on_request" and self.judges else function

    def _judged(self, function: Function) -> Function:
        when, circuit = self.safety.when, self._circuit

        def on_request(exchange: Exchange) -> Any:
            if when is not None and not when.holds(exchange):
                return ABSENT
            if circuit is not None:
                circuit.check()
            return function(exchange)

        return on_request


class _Counted:
    """A call that the circuit hears of; an error that a plugin raises on purpose is no failure of the plugin."""

    __slots__ = ("_circuit", "_hook")

    def __init__(self, circuit: Circuit, hook: str) -> None:
        self._circuit = circuit
        self._hook = hook

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, _trace: TracebackType | None) -> None:
        if kind is None or issubclass(kind, GatewayError):
            self._circuit.worked(self._hook)
        elif issubclass(kind, Exception):  # the client's leaving is neither
            self._circuit.broke(self._hook)


def no_request(_: Exchange) -> None:
    """The `on_request` of a step that has none, to be guarded."""


def _bounded(function: Function, hook: str, seconds: float, deadlines: Deadlines) -> Function:
    async def call(*arguments: Any) -> Any:
        result = function(*arguments)
        if not hasattr(result, "__await__"):
            return result
        wait = deadlines.within(seconds)
        try:
            with wait:
                return await result
        except TimeoutError as error:
            if not wait.expired or not isinstance(error.__cause__, asyncio.CancelledError):
                raise
            raise HookTimedOut(f"{hook} took longer than {seconds:g} s") from error.__cause__

    return call


def _counted(function: Function, hook: str, circuit: Circuit) -> Function:
    async def call(*arguments: Any) -> Any:
        with _Counted(circuit, hook):
            result = function(*arguments)
            return await result if hasattr(result, "__await__") else result

    return call


def _counted_event(function: Function, circuit: Circuit) -> Function:
    def call(*arguments: Any) -> Any:
        with _Counted(circuit, "on_event"):
            made = function(*arguments)
            return made if made is None or type(made) in _EVENTS else tuple(made)  # a generator breaks here or never

    return call
