"""Timers: what they tell of calls, what debug mode sees beyond that, and what clients are told."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from penstock import Attempt, Exchange, Target, Upstream
from penstock.request import Prompt, Request
from penstock.timings import TRACE, Timer, Timers, server_timing
from tests.core.lines import Lines


def exchange() -> Exchange:
    request = Request(b'{"model":"m"}', lambda _: Prompt())
    return Exchange(
        pipeline="p", protocol=Lines(), operation="generate", request=request, headers={}, upstreams={}, started=10.0
    )


def test_a_timer_sums_up() -> None:
    timer = Timer()
    for nanoseconds in (100, 300, 200):
        timer.note(nanoseconds)
    assert (timer.calls, timer.total, timer.longest, timer.busy) == (3, 600, 300, None)


@pytest.mark.parametrize(
    ("taken", "share", "bound"),
    [
        ([100] * 99 + [5000], 0.5, 128),
        ([100] * 99 + [5000], 0.99, 128),
        ([100] * 90 + [5000] * 10, 0.99, 5000),
        ([], 0.5, 0),
    ],
    ids=["median", "most", "the slow ones", "none"],
)
def test_a_share_of_the_calls_stays_within_a_bound(taken: list[int], share: float, bound: int) -> None:
    timer = Timer()
    for nanoseconds in taken:
        timer.note(nanoseconds)
    assert timer.below(share) == bound


def test_hours_are_counted_too() -> None:
    timer = Timer()
    timer.note(10**15)
    assert timer.below(0.5) == timer.longest == 10**15


def test_what_was_not_asked_is_no_call() -> None:
    timer = Timer()
    timer.note(5)
    timer.skip()
    assert (timer.calls, timer.skipped) == (0, 1)


def test_plans_share_the_timers_of_an_instance() -> None:
    timers, one, other = Timers(), object(), object()
    assert timers.timer(one, "on_request") is timers.timer(one, "on_request")
    assert timers.timer(one, "on_request") is not timers.timer(one, "on_complete")
    assert timers.timer(one, "on_request") is not timers.timer(other, "on_request")


def test_without_debug_a_hook_stays_as_it_is() -> None:
    def hook(_: Exchange) -> None: ...

    assert Timers().watched("step", "on_request", hook, Timer()) is hook
    assert Timers().watched("step", "on_event", hook, Timer()) is hook


def watched(hook: str, function: Callable[..., Any]) -> tuple[Callable[..., Any], Timer]:
    timer = Timer()
    return Timers(debug=True).watched("guard", hook, function, timer), timer


def test_debug_times_each_event_and_makes_what_a_generator_would() -> None:
    def doubled(_: Exchange, event: str) -> Any:
        yield event
        yield event

    def broken(_: Exchange, event: str) -> Any:
        raise ValueError(event)

    call, timer = watched("on_event", doubled)
    assert call(exchange(), "a") == ("a", "a")
    assert timer.calls == 1
    call, timer = watched("on_event", broken)
    with pytest.raises(ValueError, match="a"):
        call(exchange(), "a")
    assert timer.calls == 1


async def test_debug_tells_running_from_waiting() -> None:
    gate = asyncio.Event()

    async def waits(_: Exchange) -> str:
        await gate.wait()
        return "answer"

    call, timer = watched("on_request", waits)
    asked = exchange()
    waiting = asyncio.ensure_future(call(asked))
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, gate.set)
    assert await waiting == "answer"
    ((step, hook, nanoseconds),) = asked.stash[TRACE]
    assert (step, hook) == ("guard", "on_request")
    assert nanoseconds >= 40_000_000
    assert timer.busy is not None
    assert 0 < timer.busy < nanoseconds / 2


async def test_debug_lets_a_hook_hear_of_its_cancellation() -> None:
    heard: list[str] = []
    begun = asyncio.Event()

    async def waits(_: Exchange) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            heard.append("cancelled")
            raise

    call, _ = watched("on_request", waits)
    waiting = asyncio.ensure_future(call(exchange()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert heard == ["cancelled"]


async def test_debug_passes_on_what_a_plain_hook_raises() -> None:
    def refuses(_: Exchange) -> None:
        raise ValueError("no")

    call, timer = watched("on_request", refuses)
    asked = exchange()
    with pytest.raises(ValueError, match="no"):
        await call(asked)
    assert len(asked.stash[TRACE]) == 1
    assert timer.busy


def test_the_header_names_steps_upstreams_and_the_whole() -> None:
    asked = exchange()
    asked.stash[TRACE] = [("a:b é", "on_request", 1_500_000), ("models", "on_complete", 1)]
    for seconds in (0.25, 0.5):
        attempt = Attempt(1, Target('odd "name"'), Upstream(name="x", protocol=None))  # type: ignore[arg-type]
        attempt.seconds = seconds
        asked.attempts.append(attempt)
    assert server_timing(asked, 12.0).split(", ") == [
        'a_b__;dur=1.500;desc="on_request"',
        'upstream;dur=750.000;desc="odd__name_ until its first event"',
        'total;dur=2000.000;desc="until the headers"',
    ]


def test_the_header_is_one_that_can_be_read() -> None:
    asked = exchange()
    asked.stash[TRACE] = [("auth", "on_request", 5), ("limits.v2", "on_request", 7)]
    metric = r'[!#$%&\'*+.^_`|~\w-]+;dur=\d+\.\d+;desc="[^"\\]*"'
    assert re.fullmatch(rf"{metric}(, {metric})*", server_timing(asked, 10.0), re.ASCII)
