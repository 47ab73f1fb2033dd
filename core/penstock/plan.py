"""Compile a pipeline's steps into plans: pluggy checks the contract, tuples of callables run it."""

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pluggy

from penstock.events import Event
from penstock.hookspecs import Hooks
from penstock.plugin import Fact, Plugin
from penstock.problems import suggest

HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
EVENTS: frozenset[type] = frozenset(typing.get_args(Event))
_FACTS: tuple[str, ...] = typing.get_args(Fact)
_ARGUMENTS = {name: tuple(inspect.signature(getattr(Hooks, name)).parameters)[1:] for name in HOOKS}


class PlanError(ValueError):
    """A plugin breaks the contract of the hooks; the message says which and how to mend it."""


class Step(NamedTuple):
    """A plugin at its place in the file."""

    position: int
    id: str
    plugin: Plugin


class Call(NamedTuple):
    """One implementation of a hook, taking all the hook's arguments by position."""

    position: int
    step: str
    function: Callable[..., Any]


class Upward(NamedTuple):
    """What an answer meets on its way up, nearest step first. `wanted` are the types that `on_event`s listen to."""

    on_response: tuple[Call, ...]
    on_error: tuple[Call, ...]
    events: dict[type, tuple[Call, ...]]
    wanted: frozenset[type]


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

    def upward(self, position: int, muted: frozenset[str] = frozenset()) -> Upward:
        """The way up for an answer given at `position`, past steps that do not listen; made on first use."""
        key = (position, muted)
        if key not in self._upward:
            self._upward[key] = self._compile_upward(position, muted)
        return self._upward[key]

    def _compile_upward(self, position: int, muted: frozenset[str]) -> Upward:
        def above(hook: str) -> tuple[Call, ...]:
            return tuple(call for call in reversed(self.calls[hook]) if call.position < position)

        listeners = [call for call in above("on_event") if call.step not in muted]
        events = {kind: tuple(c for c in listeners if kind in self.listens[c.step]) for kind in EVENTS}
        events = {kind: calls for kind, calls in events.items() if calls}
        return Upward(above("on_response"), above("on_error"), events, frozenset(events))


def compile_plan(steps: Sequence[Step]) -> Plan:
    """A plan of these steps, in file order. Raises PlanError."""
    manager = pluggy.PluginManager("penstock")
    manager.add_hookspecs(Hooks)
    for step in steps:
        check_plugin(step.plugin)
        manager.register(step.plugin, name=step.id)
    positions = {step.id: step.position for step in steps}
    calls: dict[str, tuple[Call, ...]] = {}
    for hook in HOOKS:
        found = [
            Call(
                positions[impl.plugin_name],
                impl.plugin_name,
                _adapted(hook, impl.function, tuple(impl.argnames)),
            )
            for impl in getattr(manager.hook, hook).get_hookimpls()
        ]
        calls[hook] = tuple(sorted(found, key=lambda call: call.position))
    listens = {s.id: _event_types(s.plugin) for s in steps if any(c.step == s.id for c in calls["on_event"])}
    return Plan(steps, calls, listens)


def check_plugin(plugin: Plugin) -> None:
    """Refuse what pluggy would accept and we do not, and what it refuses. Raises PlanError."""
    _check_names(plugin)
    manager = pluggy.PluginManager("penstock")
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PlanError(" ".join(str(error).split())) from None
    for hook in HOOKS:
        method = getattr(plugin, hook, None)
        if method is not None and not hasattr(method, "penstock_impl"):
            raise PlanError(f"{_place(method)}: {hook} is not marked with @hookimpl")
        for impl in getattr(manager.hook, hook).get_hookimpls():
            _check_implementation(hook, impl)
    for fact in (*plugin.provides, *plugin.requires, *plugin.uses):
        if fact not in _FACTS:
            raise PlanError(f"{type(plugin).__name__} provides or requires {fact!r}; there are: {', '.join(_FACTS)}")
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

    def call(*values: Any) -> Any:
        return function(*(values[pick] for pick in picks))

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
