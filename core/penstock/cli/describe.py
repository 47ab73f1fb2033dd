"""What `check`, `explain` and `plugins` show of a configuration, without starting it."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from penstock.catalogue import MEMORY, Catalogue, CatalogueError
from penstock.config import load, plugin_folder
from penstock.gateway import compile_all
from penstock.pipeline import Pipeline
from penstock.plan import HOOKS, Plan
from penstock.plugin import IfBroken
from penstock.problems import ConfigError, Problem, in_order
from penstock.store import MemoryStore


def compiled(place: Path, env: Mapping[str, str]) -> list[Pipeline]:
    """The pipelines of a place, compiled but not started. Raises ConfigError with every mistake."""
    files = load(place, env)
    pipelines, problems = compile_all(files, MemoryStore(time.monotonic), time.monotonic)
    if problems:
        raise ConfigError(problems)
    return pipelines


def doubts(pipelines: Iterable[Pipeline], workers: int) -> list[Problem]:
    """What can be served and is most likely not meant: steps that count, where so many workers have a store each."""
    return in_order(
        pipeline.file.document.problem(
            pipeline.file.steps[step.position].at,
            f"warning: {step.id!r} counts in each of {workers} workers apart, which have nothing but their own memory:"
            " give them a store in gateway.yaml, such as `store: sqlite:state.db`",
        )
        for pipeline in pipelines
        if workers > 1 and pipeline.file.gateway.store in MEMORY
        for step in pipeline.instances
        if step.plugin.shared_store
    )


def explained(pipeline: Pipeline, team: str | None) -> Iterator[str]:
    """The plans of a pipeline, line by line; `team` restricts them to one."""
    yield f"pipeline {pipeline.name} ({pipeline.file.file}) at {pipeline.path or '/'}"
    plans = pipeline.course.team_plans
    if team is None:
        yield from _plan_lines(pipeline, "everyone else" if plans else "everyone", pipeline.course.plan)
    for name, plan in plans.items():
        if team in (None, name):
            yield from _plan_lines(pipeline, f"team {name}", plan)


def _plan_lines(pipeline: Pipeline, who: str, plan: Plan) -> Iterator[str]:
    on = {step.id for step in plan.steps}
    order = (step.id if step.id in on else f"({step.id} off)" for step in pipeline.file.steps)
    yield f"{who}: {' > '.join(order)}"
    below = len(pipeline.file.steps)
    upward = plan.upward(below)
    for hook in HOOKS:
        calls = plan.calls[hook]
        if hook in ("shutdown", "on_response", "on_error", "on_complete"):
            calls = tuple(reversed(calls))
        if calls and hook != "on_event":
            yield f"  {hook:<12} {', '.join(call.step for call in calls)}"
    for kind, listeners in sorted(upward.events.items(), key=lambda item: item[0].__name__):
        yield f"  on_event     {kind.__name__:<10} {', '.join(call.step for call in listeners)}"
    yield from _safety_lines(plan)


def _safety_lines(plan: Plan) -> Iterator[str]:
    """What happens if a step breaks, and the words beside the steps' names."""
    for policy in get_args(IfBroken):
        if steps := [step.id for step in plan.steps if step.if_broken == policy]:
            yield f"  if broken    {policy}: {', '.join(steps)}"
    for step in plan.steps:
        if step.guard is not None:
            yield from (f"  {word:<12} {step.id}: {said}" for word, said in step.guard.safety.told())


def plugin_list(place: Path) -> Iterator[str]:
    """Each plugin that can be named: origin, description, options."""
    catalogue = Catalogue(plugin_folder(place))
    for name in catalogue.plugin_names():
        try:
            found = catalogue.plugin(name)
        except CatalogueError as error:
            yield f"{name}  cannot be used: {error}"
            continue
        summary = (found.plugin.__doc__ or "").strip().partition("\n")[0]
        yield f"{name}  ({found.origin})  {summary}"
        for field in msgspec.structs.fields(found.plugin):
            yield f"    {field.encode_name}: {_type_name(field.type)}{_default(field)}{_meaning(field.type)}"


def _type_name(kind: Any) -> str:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    name = plain.__name__ if isinstance(plain, type) and not get_args(plain) else str(plain)
    return re.sub(r"\b(\w+\.)+(?=\w)", "", name)


def _meaning(kind: Any) -> str:
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((f"  {note.description}" for note in notes if isinstance(note, msgspec.Meta) and note.description), "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return f" = {field.default!r}"
    if field.default_factory is not msgspec.NODEFAULT:
        return f" = {field.default_factory()!r}"
    return " (required)"
