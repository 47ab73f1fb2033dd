"""A pipeline file compiled: order checked, one plan per team, every plugin instance ready to start."""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

from penstock.deadlines import Deadlines
from penstock.engine import Course, Timing
from penstock.pipelinefile import PipelineFile, StepFile, TeamFile
from penstock.plan import PlanError, Step, check_plugin, compile_plan
from penstock.plugin import Identify
from penstock.problems import Problem
from penstock.store import PrefixedStore, Store
from penstock.upstream import Pool

_PROVIDERS = {
    "principal": "auth",
    "targets": "models",
    "prices": "prices",
}  # for messages: the built-in step that provides a fact


class Surroundings(NamedTuple):
    """What the core gives to each plugin."""

    store: Store
    clock: Callable[[], float]
    timing: Timing


class Pipeline:
    """One pipeline of a generation. It is `open` to anybody when no step that is on says who is asking.

    `guards` counts those steps, `identifiers` are how they tell it at the endpoints of plugins.
    """

    def __init__(self, file: PipelineFile, course: Course, instances: list[Step]) -> None:
        self.file = file
        self.name = file.name
        self.path = file.path
        self.course = course
        self.instances = instances
        self.identifiers: list[Identify] = []
        self.guards = sum("principal" in step.plugin.provides for step in course.plan.steps)
        self.open = not self.guards


def compile_pipeline(file: PipelineFile, around: Surroundings) -> tuple[Pipeline | None, list[Problem]]:
    """The pipeline, or all that is wrong with its order and its plugins' hooks."""
    problems = [*_broken_plugins(file)] or [*_wrong_order(file), *_wrong_teams(file)]
    if problems or not file.complete:
        return None, problems
    instances = _instances(file)
    for step in instances:
        _equip(step, file, around)
    plan = compile_plan(_steps_of(file, None))
    teams = {name: compile_plan(_steps_of(file, team)) for name, team in file.teams.items()}
    pools = {name: Pool(upstream, file.reaches[name]) for name, upstream in file.upstreams.items()}
    course = Course(plan, teams, pools, around.timing, Deadlines())
    return Pipeline(file, course, instances), []


def _steps_of(file: PipelineFile, team: TeamFile | None) -> list[Step]:
    """The steps that are on for a team (None: for everybody else), with its own instances."""
    steps = []
    for position, step in enumerate(file.steps):
        if team.enabled.get(step.id, step.enabled) if team else step.enabled:
            plugin = team.instances.get(step.id, step.instance) if team else step.instance
            steps.append(Step(position, step.id, plugin))
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
                if message := _missing_fact(file, source, fact):
                    yield file.document.problem(at, message)
            known |= step.plugin.provides


def _missing_fact(file: PipelineFile, step: StepFile, fact: str) -> str:
    """The complaint; nothing when it may be one of the unreadable steps that provides the fact, or none has to."""
    below = next((other for other in file.steps if fact in other.plugin.provides), None)
    needed = fact in step.plugin.requires
    if below is None:
        complaint = f"{step.id!r} needs the {fact}, which no step provides; '{_PROVIDERS[fact]}' above it would"
        return complaint if file.complete and needed else ""
    if file.steps.index(below) > file.steps.index(step):
        return f"{step.id!r} needs the {fact}, which {below.id!r} provides further down: move it up"
    if not needed:
        return ""
    return f"{step.id!r} needs the {fact}, which {below.id!r} would provide, but that is off"


def _wrong_teams(file: PipelineFile) -> Iterator[Problem]:
    if not file.teams:
        return
    guard = next((i for i, s in enumerate(file.steps) if s.enabled and "principal" in s.plugin.provides), None)
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
