"""Plans: what pluggy checks, the order of the file, and who hears which event."""

from collections.abc import Iterable
from typing import Any

import pytest

from penstock import Event, Exchange, Finish, Plugin, Text, Usage, hookimpl
from penstock.plan import Plan, PlanError, Step, check_plugin, compile_plan


class Both(Plugin):
    """Listens to requests, and to text and usage."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Let it pass."""

    @hookimpl
    def on_event(self, event: Text | Usage) -> None:
        """Hear it."""

    @hookimpl
    def on_complete(self) -> None:
        """Done."""


class Everything(Plugin):
    """Listens to all events."""

    @hookimpl
    def on_event(self, exchange: Exchange, event: Event) -> Event | Iterable[Event] | None:
        """Hear it."""
        return None


def plan(*plugins: Plugin) -> Plan:
    return compile_plan([Step(number, f"s{number}", plugin) for number, plugin in enumerate(plugins)])


def test_requests_go_down_in_file_order_and_completions_up() -> None:
    compiled = plan(Both(), Both(), Both())
    assert [call.step for call in compiled.on_request] == ["s0", "s1", "s2"]
    assert [call.step for call in compiled.on_complete] == ["s2", "s1", "s0"]


def test_an_answer_meets_only_the_steps_above_it() -> None:
    compiled = plan(Both(), Everything(), Both())
    assert [call.step for call in compiled.upward(2).events[Text]] == ["s1", "s0"]
    assert [call.step for call in compiled.upward(1).events[Text]] == ["s0"]
    assert compiled.upward(0).events == {}
    assert [call.step for call in compiled.upward(2, frozenset({"s0"})).events[Text]] == ["s1"]
    assert compiled.upward(1, frozenset({"s0"})).wanted == frozenset()


def test_a_plan_without_some_of_its_steps_keeps_everybodys_place() -> None:
    compiled = plan(Both(), Everything(), Both())
    without = compiled.without(frozenset({"s1", "s2"}))
    assert [call.step for call in without.on_request] == ["s0"]
    assert [call.step for call in without.upward(3).events[Text]] == ["s0"]
    assert without is compiled.without(frozenset({"s2", "s1"}))
    assert compiled.without(frozenset()) is compiled


def test_what_clients_can_leave_out_of_a_plan_is_not_kept_without_bound() -> None:
    compiled = plan(*(Both() for _ in range(9)))
    made = [compiled.without(frozenset(f"s{bit}" for bit in range(9) if mask >> bit & 1)) for mask in range(1, 512)]
    again = [compiled.without(frozenset(f"s{bit}" for bit in range(9) if mask >> bit & 1)) for mask in range(1, 512)]
    assert sum(a is b for a, b in zip(made, again, strict=True)) <= 64
    assert [len(one.on_request) for one in made] == [len(one.on_request) for one in again]


def test_annotations_say_which_events_a_step_hears() -> None:
    assert plan(Both()).upward(1).wanted == {Text, Usage}
    assert Finish in plan(Everything()).upward(1).wanted


def test_an_implementation_may_name_a_part_of_the_arguments() -> None:
    (call,) = plan(Both()).on_complete
    assert call.function("an exchange") is None


def test_equal_plugins_can_stand_side_by_side() -> None:
    assert len(plan(Both(), Both()).steps) == 2


class Misspelled(Plugin):
    """Names a hook that does not exist."""

    @hookimpl
    def on_requst(self, exchange: Exchange) -> None: ...


class WrongArgument(Plugin):
    """Names an argument that does not exist."""

    @hookimpl
    def on_request(self, exchnge: Exchange) -> None: ...


class NoHook(Plugin):
    """Marks something that is no hook at all."""

    @hookimpl
    def jump(self) -> None: ...


class NoArgument(Plugin):
    """Names an argument like none there is."""

    @hookimpl
    def on_failure(self, why: str) -> None: ...


class Unmarked(Plugin):
    """Forgot the mark."""

    def on_request(self, exchange: Exchange) -> None: ...


class WithDefault(Plugin):
    """Gives an argument a default."""

    @hookimpl
    def on_request(self, exchange: Any = None) -> None: ...


class OwnOrder(Plugin):
    """Wants to be first."""

    @hookimpl(tryfirst=True)
    def on_request(self, exchange: Exchange) -> None: ...


class AsyncEvent(Plugin):
    """Awaits in the event path."""

    @hookimpl
    async def on_event(self, event: Event) -> None: ...


class NoEvent(Plugin):
    """Listens to something that is no event."""

    @hookimpl
    def on_event(self, event: str) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (Misspelled(), r"test_plan\.py:\d+: there is no hook 'on_requst'; did you mean 'on_request'\?"),
        (NoHook(), r"test_plan\.py:\d+: there is no hook 'jump'; there are: startup, shutdown, on_request, "),
        (WrongArgument(), r"test_plan\.py:\d+: on_request has no argument 'exchnge'; did you mean 'exchange'\?"),
        (NoArgument(), r"test_plan\.py:\d+: on_failure has no argument 'why'; there are: exchange, attempt, error"),
        (Unmarked(), "not marked with @hookimpl"),
        (WithDefault(), "default value"),
        (OwnOrder(), "the pipeline file decides the order"),
        (AsyncEvent(), "plain `def`"),
        (NoEvent(), "is not an event"),
    ],
)
def test_a_broken_contract_is_refused_when_loaded(plugin: Plugin, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        check_plugin(plugin)
