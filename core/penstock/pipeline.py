"""A pipeline file compiled: order checked, one plan per team, every plugin instance ready to start."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from penstock.deadlines import Deadlines
from penstock.journey import Course, Timing
from penstock.money import Prices
from penstock.pipelinefile import PipelineFile, StepFile, TeamFile
from penstock.plan import HOOKS, PlanError, Step, check_plugin, compile_plan
from penstock.plugin import Identify
from penstock.problems import Problem
from penstock.safety import Guard, Safety
from penstock.store import PrefixedStore, Store
from penstock.tally import Tally
from penstock.timings import Timers
from penstock.upstream import Pool

_PROVIDERS = {
    "principal": "auth",
    "targets": "models",
    "prices": "prices",
}  # for messages: the built-in step that provides a fact


class Surroundings(NamedTuple):
    """What the core gives to each plugin. With `debug` each event's time is taken, too."""

    store: Store
    clock: Callable[[], float]
    timing: Timing
    debug: bool = False


class Pipeline:
    """One pipeline of a generation. It is `open` to anybody when no step that is on says who is asking.

    `guards` counts those steps, `identifiers` are how they tell it at the endpoints of plugins, who learn
    of the `prices`, too. `timers` hold what its hooks have taken.
    """

    def __init__(self, file: PipelineFile, course: Course, instances: list[Step], timers: Timers) -> None:
        self.file = file
        self.name = file.name
        self.path = file.path
        self.course = course
        self.instances = instances
        self.timers = timers
        self.identifiers: list[Identify] = []
        self.prices: Prices | None = None
        self.guards = sum("principal" in step.plugin.provides for step in course.plan.steps)
        self.open = not self.guards


def compile_pipeline(file: PipelineFile, around: Surroundings) -> tuple[Pipeline | None, list[Problem]]:
    """The pipeline, or all that is wrong with its order and its plugins' hooks."""
    problems = [*_broken_plugins(file)] or [*_wrong_order(file), *_wrong_teams(file), *_unsafe(file)]
    if problems or not file.complete:
        return None, problems
    instances = _instances(file)
    for step in instances:
        _equip(step, file, around)
    timers, deadlines = Timers(debug=around.debug), Deadlines()
    guards = _guards(file, deadlines, around.clock)
    plan = compile_plan(_steps_of(file, None, guards), timers)
    teams = {name: compile_plan(_steps_of(file, team, guards), timers) for name, team in file.teams.items()}
    pools = {name: Pool(upstream, file.reaches[name]) for name, upstream in file.upstreams.items()}
    course = Course(plan, teams, pools, around.timing, deadlines, Tally())
    return Pipeline(file, course, instances, timers), []


def _guards(file: PipelineFile, deadlines: Deadlines, clock: Callable[[], float]) -> dict[str, Guard]:
    """What stands around the steps that have words for it, by id."""
    guarded = {step.id: step.safety for step in file.steps if step.safety != Safety()}
    return {id_: Guard(id_, safety, deadlines, clock) for id_, safety in guarded.items()}


def _steps_of(file: PipelineFile, team: TeamFile | None, guards: Mapping[str, Guard] | None = None) -> list[Step]:
    """The steps that are on for a team (None: for everybody else), with its own instances."""
    steps = []
    for position, step in enumerate(file.steps):
        if team.enabled.get(step.id, step.enabled) if team else step.enabled:
            plugin = team.instances.get(step.id, step.instance) if team else step.instance
            steps.append(Step(position, step.id, plugin, (guards or {}).get(step.id)))
    return steps


def _instances(file: PipelineFile) -> list[Step]:
    """Each plugin instance that some plan uses, in file order."""
    found = {id(step.plugin): step for team in (None, *file.teams.values()) for step in _steps_of(file, team)}
    return sorted(found.values(), key=lambda step: step.position)


def _equip(step: Step, file: PipelineFile, around: Surroundings) -> None:
    given = {
        "step": step.id,
        "log": logging.LoggerAdapter(logging.getLogger(f"penstock.{file.name}.{step.id}"), {}),
        "store": PrefixedStore(around.store, f"{file.name}/{step.id}/"),
        "clock": around.clock,
        "folder": file.file.resolve().parent,
    }
    for name, value in given.items():
        setattr(step.plugin, name, value)


# ---------------------------------------------------------------- what can be wrong


def _broken_plugins(file: PipelineFile) -> Iterator[Problem]:
    for step in file.steps:
        try:
            check_plugin(step.instance)
        except PlanError as error:
            yield file.document.problem((*step.at, step.name), str(error), at_key=True)


def _wrong_order(file: PipelineFile) -> Iterator[Problem]:
    for name, team in (("", None), *file.teams.items()):
        known: set[str] = set()
        for step in _steps_of(file, team):
            for fact in sorted((step.plugin.requires | step.plugin.uses) - known):
                source = file.steps[step.position]
                at = ("teams", name, source.id) if team and not source.enabled else source.at
                if message := _missing_fact(file, source, fact, needed=fact in step.plugin.requires):
                    yield file.document.problem(at, message)
            yield from _team_unknown(file, file.steps[step.position], known)
            if not file.steps[step.position].unsure:
                known |= step.plugin.provides


def _team_unknown(file: PipelineFile, step: StepFile, known: set[str]) -> Iterator[Problem]:
    """Whether a step asks for a team where nobody knows yet which that is."""
    by_team = step.safety.when.by_team if step.safety.when else ()
    if by_team and "principal" not in known and (message := _missing_fact(file, step, "principal", needed=True)):
        yield file.document.problem((*step.at, "when", *by_team), message, at_key=True)


def _missing_fact(file: PipelineFile, step: StepFile, fact: str, *, needed: bool) -> str:
    """The complaint; nothing when it may be one of the unreadable steps that provides the fact, or none has to."""
    below = next((other for other in file.steps if fact in other.instance.provides), None)
    if below is None:
        complaint = f"{step.id!r} needs the {fact}, which no step provides; '{_PROVIDERS[fact]}' above it would"
        return complaint if file.complete and needed else ""
    if file.steps.index(below) > file.steps.index(step):
        return f"{step.id!r} needs the {fact}, which {below.id!r} provides further down: move it up"
    if not needed:
        return ""
    if below.unsure:
        some = f"which {below.id!r} provides to some exchanges only"
        return f"{step.id!r} needs the {fact}, {some}: {_made_sure(below)}"
    return f"{step.id!r} needs the {fact}, which {below.id!r} would provide, but that is off"


def _wrong_teams(file: PipelineFile) -> Iterator[Problem]:
    if not file.teams:
        return
    guard = next((i for i, s in enumerate(file.steps) if s.enabled and "principal" in s.instance.provides), None)
    if guard is None:
        if file.complete:
            message = "teams need a step that says who is asking, such as 'auth'"
            yield file.document.problem(("teams",), message, at_key=True)
        return
    fixed = [step.id for step in file.steps[: guard + 1]]
    for name, team in file.teams.items():
        for id_ in team.enabled:
            if id_ in fixed:
                message = f"a team cannot change {id_!r}: it runs before {fixed[-1]!r} has said which team it is"
                yield file.document.problem(("teams", name, id_), message, at_key=True)


def _unsafe(file: PipelineFile) -> Iterator[Problem]:
    """Words beside a step that would let everybody in, or do nothing."""
    for step in file.steps:
        if "principal" in step.instance.provides and step.unsure:
            message = f"{step.id!r} says who is asking, and no exchange goes on without that: {_made_sure(step)}"
            yield file.document.problem((*step.at, step.unsure), message, at_key=True)
        if step.safety.timeout is not None and not _interruptible(step):
            message = f"no hook of {step.id!r} is an `async def`, and only those can be interrupted"
            yield file.document.problem((*step.at, "timeout"), message, at_key=True)


def _made_sure(step: StepFile) -> str:
    return "take `when` away" if step.unsure == "when" else "say `on_error: fail` or `on_error: deny`"


def _interruptible(step: StepFile) -> bool:
    hooks = (getattr(step.instance, hook, None) for hook in HOOKS if hook not in ("startup", "shutdown"))
    return any(map(inspect.iscoroutinefunction, hooks))
