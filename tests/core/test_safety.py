"""Circuits: when they open, who may try, and what closes them; and what stands around a hook."""

import asyncio
from typing import Any

import pytest

from penstock import Forbidden
from penstock.deadlines import Deadlines
from penstock.safety import Circuit, CircuitOpen, CircuitOptions, Guard, HookTimedOut, Safety
from penstock.testing.clock import Clock


def circuit(clock: Clock, failures: int = 2) -> Circuit:
    return Circuit("guard", CircuitOptions(failures=failures, pause=10.0), clock)


def is_open(circuit: Circuit) -> bool:
    try:
        circuit.check()
    except CircuitOpen:
        return True
    return False


def test_failures_in_a_row_open_it_and_a_success_starts_anew(clock: Clock) -> None:
    tested = circuit(clock)
    for call in ("broke", "worked", "broke"):
        getattr(tested, call)("on_request")
        assert not is_open(tested)
    tested.broke("on_request")
    assert is_open(tested)


def test_each_hook_counts_for_itself(clock: Clock) -> None:
    tested = circuit(clock)
    tested.broke("on_complete")
    tested.worked("on_request")
    tested.broke("on_complete")
    assert is_open(tested)
    tested.worked("on_request")
    assert is_open(tested)
    tested.worked("on_complete")
    assert not is_open(tested)


def test_after_the_pause_one_may_try(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    tested = circuit(clock)
    tested.broke("on_request")
    tested.broke("on_request")
    clock.advance(9.5)
    with pytest.raises(CircuitOpen) as refused:
        tested.check()
    assert refused.value.seconds == 0.5
    clock.advance(0.5)
    assert [is_open(tested) for _ in range(3)] == [False, True, True]
    tested.broke("on_request")
    clock.advance(9.5)
    assert is_open(tested)
    clock.advance(0.5)
    assert not is_open(tested)
    tested.worked("on_request")
    assert not is_open(tested)
    assert [record.getMessage() for record in caplog.records] == [
        "step 'guard' broke 2 times in a row (on_request): it is paused for 10 s",
        "step 'guard' works again",
    ]


def test_a_trial_that_never_comes_to_the_point_leaves_room_for_another(clock: Clock) -> None:
    tested = circuit(clock, failures=1)
    tested.broke("on_attempt")
    clock.advance(10)
    assert not is_open(tested)
    clock.advance(10)
    assert not is_open(tested)
    assert is_open(tested)


async def refuse(_: Any) -> None:
    raise Forbidden("on purpose")


async def fail(_: Any) -> None:
    raise KeyError("by mistake")


async def test_a_refusal_is_no_failure_and_neither_is_a_client_that_leaves(clock: Clock) -> None:
    guard = Guard("guard", Safety(circuit=CircuitOptions(failures=1, pause=10.0)), Deadlines(), clock)
    refusing, failing = (guard.around("on_request", hook) for hook in (refuse, fail))
    waiting = guard.around("on_request", lambda _: asyncio.get_running_loop().create_future())
    for _ in range(3):
        with pytest.raises(Forbidden):
            await refusing(None)
    task = asyncio.ensure_future(waiting(None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(KeyError):
        await failing(None)
    with pytest.raises(CircuitOpen):
        failing(None)


async def test_a_time_limit_is_the_steps_own_and_no_others(clock: Clock) -> None:
    deadlines = Deadlines()
    guard = Guard("guard", Safety(timeout=0.02), deadlines, clock)

    async def slow() -> None:
        await asyncio.get_running_loop().create_future()

    async def own_limit() -> None:
        async with asyncio.timeout(0.001):
            await slow()

    with pytest.raises(HookTimedOut, match="on_attempt took longer than 0"):
        await guard.around("on_attempt", slow)()
    with pytest.raises(TimeoutError):
        await guard.around("on_attempt", own_limit)()
    assert await guard.around("on_response", lambda: "plain")() == "plain"
    task = asyncio.ensure_future(Guard("g", Safety(timeout=60.0), deadlines, clock).around("on_attempt", slow)())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


def test_what_has_no_words_is_left_as_it_is(clock: Clock) -> None:
    guard = Guard("guard", Safety(on_error="skip"), Deadlines(), clock)
    assert all(guard.around(hook, refuse) is refuse for hook in ("on_request", "on_event", "on_complete"))
    timed = Guard("guard", Safety(timeout=1.0), Deadlines(), clock)
    assert all(timed.around(hook, refuse) is refuse for hook in ("startup", "shutdown", "on_event"))
