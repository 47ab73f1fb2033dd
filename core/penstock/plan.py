"""Compile a pipeline's steps into plans: pluggy checks the contract, tuples of callables run it."""

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pluggy

from penstock.events import Event
from penstock.hookspecs import Hooks
from penstock.plugin import Fact, IfBroken, Plugin
from penstock.problems import suggest
from penstock.safety import Guard, no_request
from penstock.timings import Timer, Timers

HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
EVENTS: frozenset[type] = frozenset(typing.get_args(Event))
_POLICIES: tuple[str, ...] = typing.get_args(IfBroken)
_KEPT = 64
_FACTS: tuple[str, ...] = typing.get_args(Fact)
_ARGUMENTS = {name: tuple(inspect.signature(getattr(Hooks, name)).parameters)[1:] for name in HOOKS}


class PlanError(ValueError):
    """A plugin breaks the contract of the hooks; the message says which and how to mend it."""


class Step(NamedTuple):
    """A plugin at its place in the file, and what the words beside its name put around it."""

    position: int
    id: str
    plugin: Plugin
    guard: Guard | None = None

    @property
    def if_broken(self) -> IfBroken:
        """What happens if it breaks: as the file says, else as the plugin does."""
        return (self.guard.safety.on_error if self.guard else None) or self.plugin.if_broken


class Call(NamedTuple):
    """One implementation of a hook, taking all the hook's arguments by position; whoever calls it notes the time."""

    position: int
    step: str
    function: Callable[..., Any]
    timer: Timer
    if_broken: IfBroken = "fail"


class Listeners:
    """The `on_event`s that an event meets, nearest step first; also as bare functions, for a loop that is run often."""

    __slots__ = ("calls", "functions")

    def __init__(self, calls: tuple[Call, ...]) -> None:
        self.calls = calls
        self.functions = tuple(call.function for call in calls)


class Upward:
    """What an answer meets on its way up, nearest step first. `wanted` are the types that `on_event`s listen to."""

    def __init__(
        self, on_response: tuple[Call, ...], on_error: tuple[Call, ...], events: dict[type, tuple[Call, ...]]
    ) -> None:
        self.on_response = on_response
        self.on_error = on_error
        self.events = events
        self.listeners = {kind: Listeners(calls) for kind, calls in events.items()}
        self.wanted = frozenset(events)
        self._above: dict[tuple[type, int], Listeners] = {}

    def above(self, position: int, kind: type) -> Listeners:
        """Those that listen to a kind of event and stand above `position`: they hear what a step there has made."""
        key = (kind, position)
        if key not in self._above:
            self._above[key] = Listeners(tuple(c for c in self.events.get(kind, ()) if c.position < position))
        return self._above[key]


class Plan:
    """A compiled pipeline for one team: the steps that are on, and per hook the calls in order."""

    def __init__(
        self, steps: Sequence[Step], calls: dict[str, tuple[Call, ...]], listens: dict[str, frozenset[type]]
    ) -> None:
        self.steps = tuple(steps)
        self.calls = calls
        self.listens = listens
        self.on_request = calls["on_request"]
        self.on_attempt = calls["on_attempt"]
        self.on_failure = calls["on_failure"]
        self.on_complete = tuple(reversed(calls["on_complete"]))
        self._upward: dict[tuple[int, frozenset[str]], Upward] = {}
        self._without: dict[frozenset[str], Plan] = {}

    def upward(self, position: int, muted: frozenset[str] = frozenset()) -> Upward:
        """The way up for an answer given at `position`, past steps that do not listen; made on first use."""
        key = (position, muted)
        if key not in self._upward:
            self._upward[key] = self._compile_upward(position, muted)
        return self._upward[key]

    def without(self, left_out: frozenset[str]) -> "Plan":
        """The plan without the calls of some steps."""
        if not left_out:
            return self
        if left_out not in self._without:
            if len(self._without) >= _KEPT:  # clients choose by their headers which there are
                self._without.clear()
            calls = {hook: tuple(c for c in calls if c.step not in left_out) for hook, calls in self.calls.items()}
            self._without[left_out] = Plan(self.steps, calls, self.listens)
        return self._without[left_out]

    def _compile_upward(self, position: int, muted: frozenset[str]) -> Upward:
        def above(hook: str) -> tuple[Call, ...]:
            return tuple(call for call in reversed(self.calls[hook]) if call.position < position)

        listeners = [call for call in above("on_event") if call.step not in muted]
        events = {kind: tuple(c for c in listeners if kind in self.listens[c.step]) for kind in EVENTS}
        events = {kind: calls for kind, calls in events.items() if calls}
        return Upward(above("on_response"), above("on_error"), events)


def compile_plan(steps: Sequence[Step], timers: Timers | None = None) -> Plan:
    """A plan of these steps, in file order. `timers` are shared with other plans. Raises PlanError."""
    timers = timers or Timers()
    contract = _Contract()
    implemented = [(step, contract.check(step.plugin)) for step in steps]
    calls: dict[str, tuple[Call, ...]] = {}
    for hook in HOOKS:
        found = [_call(step, hook, impls[hook], timers) for step, impls in implemented if hook in impls]
        if hook == "on_request":
            heard = {call.step for call in found}
            found += [_judging(step, timers) for step in steps if step.id not in heard and _is_judged(step)]
        calls[hook] = tuple(sorted(found, key=lambda call: call.position))
    listens = {s.id: _event_types(s.plugin) for s in steps if any(c.step == s.id for c in calls["on_event"])}
    return Plan(steps, calls, listens)


def _call(step: Step, hook: str, impl: pluggy.HookImpl, timers: Timers) -> Call:
    timer = timers.timer(step.plugin, hook)
    function = _adapted(hook, impl.function, tuple(impl.argnames))
    function = timers.watched(step.id, hook, function, timer)
    guarded = step.guard.around(hook, function) if step.guard else function
    if_broken: IfBroken = (
        "fail" if hook == "on_complete" else step.if_broken
    )  # after it there is nothing to be left out of
    return Call(step.position, step.id, guarded, timer, if_broken)


def _is_judged(step: Step) -> bool:
    return step.guard is not None and step.guard.judges


def _judging(step: Step, timers: Timers) -> Call:
    """For a step without `on_request`: where it is decided whether it takes part."""
    assert step.guard is not None
    function = step.guard.around("on_request", no_request)
    return Call(step.position, step.id, function, timers.timer(step.plugin, "on_request"), step.if_broken)


class _Contract(pluggy.PluginManager):
    """Holds a plugin against the hooks. It looks at what is marked only: pluggy takes every attribute apart."""

    def __init__(self) -> None:
        super().__init__("penstock")
        self.add_hookspecs(Hooks)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        marked = hasattr(getattr(type(plugin), name, None), "penstock_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked else None

    def check(self, plugin: Plugin) -> dict[str, pluggy.HookImpl]:
        """As `check_plugin`."""
        _check_names(plugin)
        try:
            self.register(plugin)
            self.check_pending()
            found = {hook: impl for hook in HOOKS for impl in getattr(self.hook, hook).get_hookimpls()}
        except pluggy.PluginValidationError as error:
            raise PlanError(" ".join(str(error).split())) from None
        finally:
            self.unregister(plugin)
        for hook, impl in found.items():
            _check_implementation(hook, impl)
        _check_words(plugin)
        return found


def check_plugin(plugin: Plugin) -> dict[str, pluggy.HookImpl]:
    """A plugin's implementations by hook. Refuses what pluggy would accept and we do not, too. Raises PlanError."""
    return _Contract().check(plugin)


def _check_words(plugin: Plugin) -> None:
    """Whether what looks like a hook is one, and what else a plugin says of itself is known."""
    for hook in HOOKS:
        method = getattr(plugin, hook, None)
        if method is not None and not hasattr(method, "penstock_impl"):
            raise PlanError(f"{_place(method)}: {hook} is not marked with @hookimpl")
    for fact in (*plugin.provides, *plugin.requires, *plugin.uses):
        if fact not in _FACTS:
            raise PlanError(f"{type(plugin).__name__} provides or requires {fact!r}; there are: {', '.join(_FACTS)}")
    if plugin.if_broken not in _POLICIES:
        words = f"{type(plugin).__name__}: if_broken is {plugin.if_broken!r}"
        raise PlanError(f"{words}{_instead(str(plugin.if_broken), _POLICIES)}")
    _event_types(plugin)


def _check_names(plugin: Plugin) -> None:
    """Whether every marked method is a hook and names its arguments; pluggy's own words for it are no help."""
    for name in dir(type(plugin)):
        method = getattr(type(plugin), name)
        marks = getattr(method, "penstock_impl", None)
        if marks is None:
            continue
        hook, place = marks["specname"] or name, _place(method)
        if hook not in HOOKS:
            raise PlanError(f"{place}: there is no hook {hook!r}{_instead(hook, HOOKS)}")
        for parameter in inspect.signature(getattr(plugin, name)).parameters.values():
            plain = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty
            if plain and parameter.name not in _ARGUMENTS[hook]:
                hint = _instead(parameter.name, _ARGUMENTS[hook])
                raise PlanError(f"{place}: {hook} has no argument {parameter.name!r}{hint}")


def _instead(word: str, candidates: tuple[str, ...]) -> str:
    return suggest(word, candidates) or f"; there are: {', '.join(candidates)}"


def _check_implementation(hook: str, impl: pluggy.HookImpl) -> None:
    place = _place(impl.function)
    if impl.kwargnames:
        raise PlanError(f"{place}: {hook} gives {', '.join(impl.kwargnames)} a default value; hooks take none")
    if impl.tryfirst or impl.trylast or impl.hookwrapper or impl.wrapper:
        raise PlanError(f"{place}: {hook} asks for an order of its own; the pipeline file decides the order")
    if hook == "on_event" and inspect.iscoroutinefunction(impl.function):
        raise PlanError(f"{place}: on_event must be a plain `def`; it runs for each event")


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__func__", function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _adapted(hook: str, function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """`function` callable with all arguments of the hook, whichever subset it names."""
    arguments = _ARGUMENTS[hook]
    if names == arguments:
        return function
    picks = [arguments.index(name) for name in names]
    if picks == [1] and len(arguments) == 2:  # the most frequent one, `on_event(event)`
        return lambda _, value: function(value)

    def call(*values: Any) -> Any:
        return function(*[values[pick] for pick in picks])

    return call


def _event_types(plugin: Plugin) -> frozenset[type]:
    """The events a plugin's `on_event` asks for by annotation; no annotation means all. Raises PlanError."""
    method = getattr(plugin, "on_event", None)
    if method is None or "event" not in inspect.signature(method).parameters:
        return EVENTS
    try:
        annotation = typing.get_type_hints(method).get("event", Event)
    except NameError as error:
        raise PlanError(f"{_place(method)}: on_event: {error}; import it for more than type checks") from None
    kinds = typing.get_args(annotation) or (annotation,)
    unknown = [kind for kind in kinds if kind not in EVENTS]
    if unknown:
        raise PlanError(f"{_place(method)}: on_event listens to {unknown[0]!r}, which is not an event")
    return frozenset(kinds)
