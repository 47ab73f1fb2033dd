"""The steps of one exchange: who takes part, who is told what when one breaks, and what is counted."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock import Exchange, Forbidden, GatewayError, Internal, Overloaded, Plugin, hookimpl
from penstock.calling import Calling
from penstock.deadlines import Deadlines
from penstock.plan import Plan, Step, compile_plan
from penstock.plugin import IfBroken
from penstock.safety import CircuitOptions, Guard, HookTimedOut, Safety
from penstock.testing.clock import Clock
from tests.core.lines import Lines


class Does(Plugin):
    """Does what a test wants, on the way down and at the end."""

    act: Callable[[], Any]

    @hookimpl
    def on_request(self) -> Any:
        return self.act()

    @hookimpl
    def on_complete(self) -> Any:
        return self.act()


def raises(error: Exception) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


def plan(*steps: tuple[Callable[[], Any], Safety], clock: Callable[[], float] = lambda: 0.0) -> Plan:
    """The steps s0, s1 ..., with the words beside their names."""
    guards = [Guard(f"s{number}", safety, Deadlines(), clock) for number, (_, safety) in enumerate(steps)]
    made = [Step(number, f"s{number}", Does(act=act), guards[number]) for number, (act, _) in enumerate(steps)]
    return compile_plan(made)


def calling(of: Plan, **teams: Plan) -> tuple[Calling, Exchange]:
    exchange = Exchange(
        pipeline="test",
        protocol=Lines(),
        operation="generate",
        request=Lines().read(json.dumps({"model": "m"}).encode(), {}),
        headers={},
        upstreams={},
        started=0.0,
    )
    return Calling(exchange, of, teams), exchange


def steps_of(calls: tuple[Any, ...]) -> list[str]:
    return [call.step for call in calls]


@pytest.mark.parametrize(("policy", "kind"), [("fail", Internal), ("deny", Forbidden)])
async def test_a_step_that_broke_fails_the_exchange_or_refuses_it(policy: IfBroken, kind: type[GatewayError]) -> None:
    tested, exchange = calling(plan((raises(KeyError("inner")), Safety(on_error=policy))))
    call = tested.plan.on_request[0]
    with pytest.raises(kind) as raised:
        await tested.call(call, exchange)
    assert type(raised.value) is kind
    assert exchange.id in raised.value.message
    assert "inner" not in raised.value.message
    assert "KeyError" in (raised.value.detail or "")
    assert (call.timer.calls, call.timer.failures, call.timer.skipped) == (1, 1, 0)


async def test_a_step_that_may_break_is_left_out_but_for_its_end() -> None:
    tested, exchange = calling(plan((raises(KeyError("x")), Safety(on_error="skip")), (lambda: None, Safety())))
    first = tested.plan.on_request[0]
    assert await tested.call(first, exchange) is None
    assert steps_of(tested.plan.on_request) == ["s1"]
    assert steps_of(tested.completing) == ["s1", "s0"]


async def test_a_step_that_awaits_what_was_cancelled_has_broken(caplog: pytest.LogCaptureFixture) -> None:
    """Its exchange was not."""

    async def stumbles() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    tested, exchange = calling(plan((stumbles, Safety(on_error="skip"))))
    assert await tested.call(tested.plan.on_request[0], exchange) is None
    assert f"mistake in step 's0' at {__file__}:" in caplog.text


async def test_a_step_that_took_no_part_is_left_out_altogether() -> None:
    tested, _ = calling(plan((lambda: None, Safety()), (lambda: None, Safety())))
    call = tested.plan.on_request[0]
    tested.leave_out(call)
    assert steps_of(tested.plan.on_request) == steps_of(tested.completing) == ["s1"]
    assert (call.timer.skipped, call.timer.failures) == (1, 0)


async def test_who_was_left_out_stays_so_in_the_plan_of_a_team() -> None:
    idle = (lambda: None, Safety())
    tested, _ = calling(plan(idle, idle, idle), red=plan(idle, idle), blue=plan(idle))
    tested.leave_out(tested.plan.on_request[0])
    tested.switch("red")
    assert steps_of(tested.plan.on_request) == steps_of(tested.plan.calls["on_complete"]) == ["s1"]
    tested.switch("nobody")
    assert steps_of(tested.plan.on_request) == ["s1"]


async def test_an_error_on_purpose_passes_as_it_is() -> None:
    error = Overloaded("enough")
    tested, exchange = calling(plan((raises(error), Safety(on_error="skip"))))
    call = tested.plan.on_request[0]
    with pytest.raises(Overloaded) as raised:
        await tested.call(call, exchange)
    assert raised.value is error
    assert (call.timer.refusals, call.timer.failures) == (1, 0)


async def test_a_paused_step_is_refused_without_a_word_in_the_log(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    safety = Safety(on_error="deny", circuit=CircuitOptions(failures=1, pause=10.0))
    of = plan((raises(KeyError("x")), safety), clock=clock)
    with pytest.raises(Forbidden):
        await calling(of)[0].call(of.on_request[0], None)
    caplog.clear()
    tested, exchange = calling(of)
    with pytest.raises(Forbidden, match="step 's0' is paused after repeated failures"):
        await tested.call(of.on_request[0], exchange)
    assert tested.completing == ()
    assert caplog.records == []
    assert of.on_request[0].timer.skipped == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "mistake in step 's0' at "),
        (HookTimedOut("late"), "timeout in step 's0' at "),
        (Overloaded("the disk is full"), "on_complete of step 's0': the disk is full"),
    ],
)
async def test_what_goes_wrong_at_the_end_is_logged_once_and_harms_nobody(
    caplog: pytest.LogCaptureFixture, error: Exception, told: str
) -> None:
    tested, exchange = calling(plan((raises(error), Safety(on_error="deny"))))
    await tested.complete(tested.completing[0])
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{exchange.id}: {told}")
    assert "refused" not in record.getMessage()


async def test_a_mistake_of_the_gateway_is_nobodys_step(caplog: pytest.LogCaptureFixture) -> None:
    tested, exchange = calling(plan())
    failure = tested.mistake(ValueError("x"))
    assert failure.message == f"internal error in the gateway; the log has request {exchange.id}"
    assert "mistake in the gateway at unknown place" in caplog.text
