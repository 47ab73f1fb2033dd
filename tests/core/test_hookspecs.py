"""The contract: nine hooks, and what an implementation of them may look like."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from penstock import Attempt, Event, Exchange, Gateway, GatewayError, Plugin, Response, hookimpl
from penstock.hookspecs import Hooks
from penstock.plan import HOOKS, Step, check_plugin, compile_plan

CONTRACT = {
    "startup": ["gateway"],
    "shutdown": ["gateway"],
    "on_request": ["exchange"],
    "on_attempt": ["exchange", "attempt"],
    "on_failure": ["exchange", "attempt", "error"],
    "on_response": ["exchange", "response"],
    "on_event": ["exchange", "event"],
    "on_error": ["exchange", "error"],
    "on_complete": ["exchange"],
}


class Everything(Plugin):
    """Implements all nine, each in full."""

    @hookimpl
    async def startup(self, gateway: Gateway) -> None: ...

    @hookimpl
    def shutdown(self, gateway: Gateway) -> None: ...

    @hookimpl
    async def on_request(self, exchange: Exchange) -> Response | None: ...

    @hookimpl
    async def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None: ...

    @hookimpl
    def on_failure(self, exchange: Exchange, attempt: Attempt, error: GatewayError) -> None: ...

    @hookimpl
    async def on_response(self, exchange: Exchange, response: Response) -> Response | None: ...

    @hookimpl
    def on_event(self, exchange: Exchange, event: Event) -> Event | None: ...

    @hookimpl
    async def on_error(self, exchange: Exchange, error: GatewayError) -> GatewayError | Response | None: ...

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None: ...


def arguments(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)[1:]


def test_the_contract_is_these_nine_hooks() -> None:
    assert {name: arguments(getattr(Hooks, name)) for name in HOOKS} == CONTRACT


@pytest.mark.parametrize("name", CONTRACT)
def test_every_hook_says_when_it_runs(name: str) -> None:
    assert inspect.getdoc(getattr(Hooks, name))


def test_a_plugin_may_implement_them_all() -> None:
    check_plugin(Everything())
    plan = compile_plan([Step(0, "everything", Everything())])
    assert {hook for hook, calls in plan.calls.items() if [call.step for call in calls] == ["everything"]} == {
        *CONTRACT
    }


def test_a_plugin_need_not_implement_any() -> None:
    check_plugin(Plugin())
    assert not any(compile_plan([Step(0, "nothing", Plugin())]).calls.values())
