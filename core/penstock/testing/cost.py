"""What a step costs in CPU, measured against the same pipeline without it, in the same run."""

import gc
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock import Event, Plugin, Response, Text
from penstock.testing.answers import events_of
from penstock.testing.asking import Content
from penstock.testing.parts import ToolCall
from penstock.testing.rig import NOBODY, Mistakes, Rig, Scene, Stage, World

_EVENTS = 1000
_EXCHANGES = 20  # in one sample: what one costs is too little for the clock
_FEWEST, _ENOUGH, _MOST = 5, 10, 40  # rounds: at least, for what is twice too slow, and at most
_MICRO = 1e6


@dataclass(frozen=True)
class Costs:
    """Microseconds of CPU that a step adds; `noise` is what the same run without it differs from itself."""

    per_request: float
    per_event: float
    noise: "Costs | None" = None


async def costs(
    plugin: Plugin,
    *,
    per_request: float = math.inf,
    per_event: float = math.inf,
    content: Content = "hi",
    events: Sequence[Event] | None = None,
) -> Costs:
    """Fail if a step adds more CPU than this, in microseconds, to a request or to an event of an answer.

        async def test_it_is_quick():
            await costs(Guard(), per_request=50, per_event=2)

    Exchanges with the step, and without any, take turns; the fastest of each count, and there are more rounds as long
    as the step seems too slow. So neither a busy machine nor a hiccup fails the test. Allowances are not for less than
    the machine can tell: what a run without the step differs from another one like it is allowed on top. What a step
    waits for costs no CPU and is not seen. `content` is what is asked; `events` is the answer, by default a long text
    and a tool call in a thousand increments. Raises AssertionError, and ValueError for an allowance of nothing.
    """
    if not (per_request > 0 and per_event > 0):
        raise ValueError("nothing costs nothing: allow more than 0 microseconds")
    answer = list(events) if events is not None else _long_answer()
    allowed = Costs(per_request, per_event)
    with tempfile.TemporaryDirectory() as folder:
        rigs = [
            await Rig.start(Path(folder), [("stage", Stage()), *step, ("world", World())])
            for step in ([], [], [("measured", plugin)])
        ]
        try:
            found = await _measured([_Bench(rig, content, answer) for rig in rigs], allowed, len(answer))
        finally:
            for rig in rigs:
                await rig.close()
    _check(found, allowed, type(plugin).__name__)
    return found


def _check(found: Costs, allowed: Costs, name: str) -> None:
    noise = found.noise or Costs(0.0, 0.0)
    for what, cost, limit, slack in (
        ("request", found.per_request, allowed.per_request, noise.per_request),
        ("event", found.per_event, allowed.per_event, noise.per_event),
    ):
        if cost > limit + slack:
            raise AssertionError(
                f"{name} is too slow: it adds {cost:.2f} us of CPU to each {what}, allowed are {limit:g} us"
                f" (measured against a pipeline without it, which differs from itself by {slack:.2f} us)"
            )


class _Bench:
    """Takes the time of one pipeline: of exchanges with a short answer, and of one with a long answer."""

    def __init__(self, rig: Rig, content: Content, answer: Sequence[Event]) -> None:
        self._rig = rig
        self._content = content
        self._answer = answer
        self._short = events_of("hello")
        self.short = self.long = math.inf

    async def rehearse(self) -> None:
        """See that both kinds of exchange go well: what fails is quick. Raises what went wrong."""
        for events in (self._short, self._answer):
            exchange = self._rig.exchange(Scene(answer=Response(events), principal=NOBODY), self._content)
            with Mistakes() as mistakes:
                await self._rig.run(exchange)
            if mistakes.found or exchange.error:
                raise mistakes.found[0] if mistakes.found else AssertionError(f"nothing to measure: {exchange.error}")

    async def sample(self) -> None:
        """One round; the fastest counts."""
        self.short = min(self.short, await self._time(self._short, _EXCHANGES) / _EXCHANGES)
        self.long = min(self.long, await self._time(self._answer, 1))

    async def _time(self, events: Sequence[Event], times: int) -> float:
        exchanges = [
            self._rig.exchange(Scene(answer=Response(events), principal=NOBODY), self._content) for _ in range(times)
        ]
        started = time.process_time()
        for exchange in exchanges:
            await self._rig.run(exchange)
        return time.process_time() - started


async def _measured(benches: Sequence[_Bench], allowed: Costs, events: int) -> Costs:
    for bench in benches:
        await bench.rehearse()
    collecting = gc.isenabled()
    gc.disable()
    try:
        return await _rounds(benches, allowed, events)
    finally:
        if collecting:
            gc.enable()


async def _rounds(benches: Sequence[_Bench], allowed: Costs, events: int) -> Costs:
    """As many rounds as it takes to find the step quick enough, or to give up."""
    base, twin, stepped = benches
    number = 0
    while True:
        number += 1
        for bench in benches:
            await bench.sample()
        found = _compared(base, twin, stepped, events)
        excess = max(found.per_request / allowed.per_request, found.per_event / allowed.per_event)
        if number >= (_FEWEST if excess <= 1 else _ENOUGH if excess > 2 else _MOST):
            return found


def _compared(base: _Bench, twin: _Bench, stepped: _Bench, events: int) -> Costs:
    """What the step adds to the faster of two runs without it, and by what those two differ."""
    short, long = min(base.short, twin.short), min(base.long, twin.long)
    request = stepped.short - short
    event = (stepped.long - long - request) / events
    noise = Costs(abs(base.short - twin.short) * _MICRO, abs(base.long - twin.long) / events * _MICRO)
    return Costs(max(0.0, request) * _MICRO, max(0.0, event) * _MICRO, noise)


def _long_answer() -> list[Event]:
    """A text and a tool call whose increments are as many as in a long answer of an agent."""
    call = ToolCall("Write", {"content": "x" * (_EVENTS // 4)}, size=1)
    start, opened, *_, stop = events_of("x")[:4]
    texts = [Text(0, "word ") for _ in range(_EVENTS - len(call.fragments()))]
    later = events_of("x", call)[4:]
    return [start, opened, *texts, stop, *later]
