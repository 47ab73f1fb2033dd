"""What `check`, `explain` and `plugins` show of a configuration, without starting it."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.catalogue import Catalogue, CatalogueError
from penstock.config import load, plugin_folder
from penstock.gateway import compile_all
from penstock.pipeline import Pipeline
from penstock.plan import HOOKS, Plan
from penstock.problems import ConfigError
from penstock.store import MemoryStore


def compiled(place: Path, env: Mapping[str, str]) -> list[Pipeline]:
    """The pipelines of a place, compiled but not started. Raises ConfigError with every mistake."""
    files = load(place, env)
    pipelines, problems = compile_all(files, MemoryStore(time.monotonic), time.monotonic)
    if problems:
        raise ConfigError(problems)
    return pipelines


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
            yield f"    {field.encode_name}: {_type_name(field.type)}{_default(field)}"


def _type_name(kind: Any) -> str:
    return (
        kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind).replace("typing.", "")
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return f" = {field.default!r}"
    if field.default_factory is not msgspec.NODEFAULT:
        return f" = {field.default_factory()!r}"
    return " (required)"
