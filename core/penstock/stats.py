"""`GET <pipeline>/-/stats`: what one process has seen of one pipeline, as JSON."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from penstock.errors import Forbidden
from penstock.pipeline import Pipeline
from penstock.plan import HOOKS, Call
from penstock.plugin import EndpointRequest, Handler
from penstock.protocol import Answer
from penstock.tally import Tally

PATH = "/-/stats"

_TIMED = tuple(hook for hook in HOOKS if hook not in ("startup", "shutdown"))


class RequestStats(msgspec.Struct, frozen=True):
    """How many exchanges of one sort have ended."""

    operation: str
    outcome: str
    status: int
    count: int


class UpstreamStats(msgspec.Struct, frozen=True):
    """The attempts at one upstream. A failure is one before the first event, which is as far as `mean_ms` goes."""

    upstream: str
    attempts: int
    failures: int
    mean_ms: float


class HookStats(msgspec.Struct, frozen=True):
    """One hook of one step, of everybody's instance or of a team's own. Null is what was not measured.

    Times are wall time, waiting included; `busy_mean_us` is the part in which the hook ran.
    """

    step: str
    plugin: str
    team: str
    hook: str
    calls: int | None
    mean_us: float | None
    p50_below_us: float | None
    p99_below_us: float | None
    max_us: float | None
    busy_mean_us: float | None
    failures: int
    refusals: int
    skipped: int
    timeouts: int


class Stats(msgspec.Struct, frozen=True):
    """The whole answer, of the process `pid`. `open` exchanges are under way, and counted nowhere else."""

    pipeline: str
    generation: str
    pid: int
    since: str
    debug: bool
    open: int
    requests: list[RequestStats]
    upstreams: list[UpstreamStats]
    steps: list[HookStats]


def stats_handler(pipeline: Pipeline, generation: Callable[[], str]) -> Handler:
    """What answers at `/-/stats`, for admins who belong to no team. `generation` tells its id."""

    async def stats(asked: EndpointRequest) -> Answer:
        who = asked.principal
        if who is not None and (who.team or not who.admin):
            raise Forbidden("this is for admins who belong to no team: it is about the requests of all")
        return Answer.json(stats_of(pipeline, generation()))

    return stats


def stats_of(pipeline: Pipeline, generation: str) -> Stats:
    """All that this process has counted for a pipeline."""
    tally = pipeline.course.tally
    return Stats(
        pipeline=pipeline.name,
        generation=generation,
        pid=os.getpid(),
        since=tally.since.isoformat(timespec="seconds").replace("+00:00", "Z"),
        debug=pipeline.timers.debug,
        open=tally.open,
        requests=[RequestStats(*sort, count) for sort, count in sorted(tally.requests.items())],
        upstreams=_upstreams(tally),
        steps=[_hook_stats(hook, debug=pipeline.timers.debug) for hook in timed_hooks(pipeline)],
    )


def _upstreams(tally: Tally) -> list[UpstreamStats]:
    return [
        UpstreamStats(name, tries.attempts, tries.failures, round(tries.seconds * 1e3 / tries.attempts, 1))
        for name, tries in sorted(tally.upstreams.items())
    ]


class TimedHook(NamedTuple):
    """One hook of one step, and whose own instance of the plugin it is, "" if of no team."""

    plugin: str
    team: str
    hook: str
    call: Call


def timed_hooks(pipeline: Pipeline) -> list[TimedHook]:
    """Each hook of each step once, in file order, those of teams' own instances behind everybody's."""
    return sorted(
        {id(hook.call.timer): hook for hook in _all_hooks(pipeline)}.values(),
        key=lambda hook: (hook.call.position, hook.team, HOOKS.index(hook.hook)),
    )


def _all_hooks(pipeline: Pipeline) -> Iterator[TimedHook]:
    """As often as there are plans with it."""
    file = pipeline.file
    names = {step.id: step.name for step in file.steps}
    for team, plan in (("", pipeline.course.plan), *pipeline.course.team_plans.items()):
        for hook in _TIMED:
            for call in plan.calls[hook]:
                own = team and call.step in file.teams[team].instances
                yield TimedHook(names[call.step], team if own else "", hook, call)


def _hook_stats(hook: TimedHook, *, debug: bool) -> HookStats:
    timer = hook.call.timer
    measured = debug or hook.hook != "on_event"
    timed = measured and timer.calls > 0
    return HookStats(
        step=hook.call.step,
        plugin=hook.plugin,
        team=hook.team,
        hook=hook.hook,
        calls=timer.calls if measured else None,
        mean_us=_us(timer.total / timer.calls) if timed else None,
        p50_below_us=_us(timer.below(0.5)) if timed else None,
        p99_below_us=_us(timer.below(0.99)) if timed else None,
        max_us=_us(timer.longest) if timed else None,
        busy_mean_us=_us(timer.busy / timer.calls) if timed and timer.busy is not None else None,
        failures=timer.failures,
        refusals=timer.refusals,
        skipped=timer.skipped,
        timeouts=timer.timeouts,
    )


def _us(nanoseconds: float) -> float:
    return round(nanoseconds / 1e3, 2)
