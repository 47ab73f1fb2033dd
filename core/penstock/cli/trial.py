"""`penstock explain --time`: made-up requests through the true steps, and what each hook took of their time."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.cli.aside import Aside
from penstock.cli.canned import canned
from penstock.cli.laps import Broke, Bystander, Lap, Row, Runner, Someone, Wish
from penstock.config import load
from penstock.gateway import compile_all
from penstock.generation import Generation
from penstock.pipeline import Pipeline
from penstock.plan import Plan, Step, compile_plan
from penstock.plugin import Plugin
from penstock.problems import ConfigError
from penstock.store import MemoryStore
from penstock.timings import Timers

_REMARK = (
    "Wall time on this machine, without HTTP: upstreams answer at once, the store is this process's memory,"
    " the database is an empty one, and files are written to a scratch folder."
)


def timed(place: Path, env: Mapping[str, str], wish: Wish) -> Iterator[str]:
    """Lines with the times of each pipeline of a place. Raises ConfigError."""
    with TemporaryDirectory() as scratch:
        trial = _Trial(place, env, wish, Path(scratch).resolve())
        asked = trial.load(debug=False)
        names = [p.name for p in asked if not wish.team or wish.team in p.course.team_plans]
        for name in names:
            with _quiet():
                lines = asyncio.run(trial.run(name))
            yield from lines
    yield _REMARK


class _Trial:
    """Runs pipelines aside from everything they would touch."""

    def __init__(self, place: Path, env: Mapping[str, str], wish: Wish, scratch: Path) -> None:
        self._place = place
        self._env = env
        self._wish = wish
        self._scratch = scratch
        self._host = Bystander(place, env, scratch)

    def load(self, *, debug: bool) -> list[Pipeline]:
        """The pipelines, compiled. Raises ConfigError."""
        self._files = load(self._place, self._env)
        for file in self._files.pipelines:
            file.upstreams = {name: canned(upstream) for name, upstream in file.upstreams.items()}
        clock = self._host.clock
        pipelines, problems = compile_all(self._files, MemoryStore(clock), clock, debug=debug)
        if problems:
            raise ConfigError(problems)
        return pipelines

    async def run(self, name: str) -> list[str]:
        """The lines about one pipeline."""
        self._host = Bystander(self._place, self._env, self._scratch)
        pipelines = self.load(debug=True)
        pipeline = next(pipeline for pipeline in pipelines if pipeline.name == name)
        self._move(pipeline)
        generation = Generation(self._files, [pipeline], self._host)
        generation.enter()
        with Aside(self._scratch).standing():
            try:
                skipped = await self._start(generation, pipeline)
                laps = await self._laps(generation, pipeline, skipped)
            finally:
                generation.replace()
                generation.leave()
                await self._host.stop()
        left_out = [f"  not timed: {what}" for what in dict.fromkeys(skipped.values())]
        return [*_heading(pipeline, self._wish), *_lines(laps), *left_out]

    def _move(self, pipeline: Pipeline) -> None:
        """Let the steps read the files beside the pipeline and above it, and write theirs in a scratch folder."""
        real = pipeline.file.file.resolve().parent
        folder = self._scratch / pipeline.name / real.name
        folder.mkdir(parents=True)
        for entry in real.iterdir():
            (folder / entry.name).symlink_to(entry)
        for entry in filter(Path.is_file, real.parent.iterdir()):
            (folder.parent / entry.name).symlink_to(entry)
        for step in pipeline.instances:
            step.plugin.folder = folder  # type: ignore[misc]

    async def _start(self, generation: Generation, pipeline: Pipeline) -> dict[int, str]:
        """Start the steps; those that cannot run aside, by the id of their plugin, and why."""
        skipped: dict[int, str] = {}
        for step in pipeline.instances:
            if "principal" in step.plugin.provides and not self._wish.key:
                skipped[id(step.plugin)] = f"{step.id}: give it a key, with --key"
                continue
            try:
                await generation.start_step(pipeline, step)
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                skipped[id(step.plugin)] = f"{step.id}: {reason}"
        return skipped

    async def _laps(self, generation: Generation, pipeline: Pipeline, skipped: dict[int, str]) -> list[Lap]:
        protocol = next((e.protocol for m in generation.endpoints.values() for e in m.values() if e.protocol), None)
        if protocol is None:
            return [Lap("requests", 0, 0, [], "no step serves a client protocol; the step 'translation' would")]
        runner = Runner(self._host, pipeline, protocol, self._wish)
        laps: list[Lap] = []
        while len(laps) < 2:
            runner.prepare(self._plans(pipeline, skipped), stream=not laps)
            try:
                laps.append(await runner.lap())
            except Broke as broke:
                broken = [step for step in pipeline.instances if step.id == broke.step]
                skipped |= {id(step.plugin): f"{broke.step}: {broke}" for step in broken}
        return laps

    def _plans(self, pipeline: Pipeline, skipped: Mapping[int, str]) -> dict[str, Plan]:
        """The plans of the steps that run, by team, with timers that are still at nought."""
        timers = Timers(debug=True)
        someone = Someone(team=self._wish.team)
        plans = {"": pipeline.course.plan, **pipeline.course.team_plans}
        return {
            team: compile_plan(list(_running(plan.steps, skipped, someone)), timers) for team, plan in plans.items()
        }


def _running(steps: Sequence[Step], skipped: Mapping[int, str], someone: Plugin) -> Iterator[Step]:
    for step in steps:
        if id(step.plugin) not in skipped:
            yield step
        elif "principal" in step.plugin.provides:
            yield step._replace(plugin=someone)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing that steps write to the terminal, such as a log, get into the table."""
    kept = [os.dup(1), os.dup(2)]
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _heading(pipeline: Pipeline, wish: Wish) -> Iterator[str]:
    yield f"pipeline {pipeline.name} ({pipeline.file.file}){f', team {wish.team}' if wish.team else ''}"


def _lines(laps: Sequence[Lap]) -> Iterator[str]:
    for lap in laps:
        if lap.problem:
            yield f"  {lap.what}: {lap.problem}"
            continue
        yield f"  {lap.runs} {lap.what}, {lap.total / lap.runs / 1e3:.0f} us each"
        yield from _table(lap)


def _table(lap: Lap) -> Iterator[str]:
    width = max([len("the gateway"), *(len(row.step) for row in lap.rows)])
    yield f"    {'step':<{width}}  {'hook':<11}  {'calls':>6}  {'us per call':>11}  {'us per answer':>13}  {'share':>6}"
    rest = lap.total - sum(row.total for row in lap.rows)
    for row in [*lap.rows, Row("the gateway", "", 0, rest)]:
        calls, each = (f"{row.calls / lap.runs:g}", f"{row.total / row.calls / 1e3:.1f}") if row.calls else ("", "")
        yield (
            f"    {row.step:<{width}}  {row.hook:<11}  {calls:>6}  {each:>11}"
            f"  {row.total / lap.runs / 1e3:>13.1f}  {row.total / lap.total:>6.1%}"
        )
