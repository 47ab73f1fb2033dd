"""Laps of a trial run: the same request many times along a pipeline, and the table of what its hooks took."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from penstock.cli.canned import EVENTS, CannedPool
from penstock.databases import Databases
from penstock.engine import Run
from penstock.errors import GatewayError
from penstock.exchange import Exchange, Principal
from penstock.gateway import Host
from penstock.hookspecs import hookimpl
from penstock.journey import Course
from penstock.pipeline import Pipeline
from penstock.plan import HOOKS, Call, Plan
from penstock.plugin import Plugin
from penstock.protocol import ClientProtocol, Operation
from penstock.request import Message, Prompt, Request, TextBlock

_WARM_UP, _RUNS = 20, 100
_PATIENCE = 60.0  # seconds for one lap
_SYSTEM = "You are an agent that edits files. " * 50
_ANY_MODEL = "a-model"
_USER = "penstock explain"


class Row(NamedTuple):
    """One hook of one step over all runs: how often it was called, and nanoseconds."""

    step: str
    hook: str
    calls: int
    total: int


class Lap(NamedTuple):
    """The same request many times: nanoseconds in all, what hooks took of it, and what went wrong, "" if nothing."""

    what: str
    runs: int
    total: int
    rows: list[Row]
    problem: str


class Broke(Exception):
    """A step cannot do its work here, and why."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class Wish(NamedTuple):
    """Who makes the requests, and for which model; "" is everybody else's team, no key, and the first model offered."""

    team: str = ""
    key: str = ""
    model: str = ""


class Someone(Plugin):
    """Stands for a step that says who is asking, when no key is given: the requests come from this command."""

    team: str = ""

    provides = frozenset({"principal"})

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.identify(Principal(user=_USER, team=self.team))


class Bystander(Host):
    """A host that serves nobody: its database is an empty one, and its clock jumps, so that limits never wait."""

    def __init__(self, place: Path, env: Mapping[str, str], folder: Path) -> None:
        super().__init__(place, env)
        self._jumped = 0.0
        self.clock = lambda: time.monotonic() + self._jumped
        self._own = Databases(f"sqlite:{folder / 'trial.db'}", folder)

    def jump(self) -> None:
        """Let an hour pass."""
        self._jumped += 3600.0

    @property
    def databases(self) -> Databases:
        return self._own

    async def stop(self, seconds: float = 10.0) -> None:
        await super().stop(seconds)
        await self._own.close()


class _Mistakes(logging.Handler):
    """Keeps the last exception that was logged: of what a step breaks with, an exchange may show nothing."""

    last: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.last = record.exc_info[1]


class Runner:
    """Makes one request after the other, and sums up."""

    _log = logging.getLogger("penstock")

    def __init__(self, host: Bystander, pipeline: Pipeline, protocol: ClientProtocol, wish: Wish) -> None:
        self._host = host
        self._pipeline = pipeline
        self._protocol = protocol
        self._wish = wish
        file = pipeline.file
        self._pools = {name: CannedPool(upstream, file.reaches[name]) for name, upstream in file.upstreams.items()}
        self._model = wish.model
        self._number = 0
        self._mistakes = _Mistakes()

    def prepare(self, plans: dict[str, Plan], *, stream: bool) -> None:
        """Take these plans from now on, and streamed answers or whole ones."""
        self._stream = stream
        for pool in self._pools.values():
            pool.stream = stream
        self._plans = plans
        teams = {team: plan for team, plan in plans.items() if team}
        self._course: Course = self._pipeline.course._replace(plan=plans[""], team_plans=teams, pools=self._pools)

    async def lap(self) -> Lap:
        """Many requests, of which the first do not count. Raises Broke."""
        what = f"streamed answers of {len(EVENTS)} events" if self._stream else "whole answers"
        self._log.addHandler(self._mistakes)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._lap(what)
        except TimeoutError:
            problem = f"not done after {_PATIENCE:g} s: a step waits for something"
        except (GatewayError, TypeError) as error:  # a protocol that cannot write the request
            problem = str(error)
        finally:
            self._log.removeHandler(self._mistakes)
        return Lap(what, 0, 0, [], problem)

    async def _lap(self, what: str) -> Lap:
        self._model = self._model or await self._offered()
        for _ in range(_WARM_UP):
            problem = await self._ask()
            self._check_steps()
            if problem:
                return Lap(what, 0, 0, [], problem)
        before = self._rows()
        begun = time.perf_counter_ns()
        for _ in range(_RUNS):
            if problem := await self._ask():
                return Lap(what, 0, 0, [], problem)
        total = time.perf_counter_ns() - begun
        rows = [_since(earlier, row) for earlier, row in zip(before, self._rows(), strict=True)]
        return Lap(what, _RUNS, total, [row for row in rows if row.calls], "")

    def _check_steps(self) -> None:
        """Raises Broke for the first step with a mistake."""
        for call, hook in self._calls():
            if call.timer.failures:
                error = self._mistakes.last
                raise Broke(call.step, f"its {hook} fails with {type(error).__name__}: {error}")

    def _rows(self) -> list[Row]:
        """What was counted so far, in file order. Only the plan of who is asking has counts."""
        return [Row(call.step, hook, call.timer.calls, call.timer.total) for call, hook in self._calls()]

    def _calls(self) -> list[tuple[Call, str]]:
        plans = self._plans.values()
        made_up = {step.id for plan in plans for step in plan.steps if isinstance(step.plugin, Someone)}
        found = {id(call.timer): (call, hook) for plan in plans for hook in HOOKS for call in plan.calls[hook]}
        calls = sorted(found.values(), key=lambda entry: (entry[0].position, HOOKS.index(entry[1])))
        return [(call, hook) for call, hook in calls if call.step not in made_up]

    async def _ask(self) -> str:
        """One request; what went wrong, "" if nothing."""
        exchange = self._exchange("generate")
        await self._run(exchange)
        if exchange.error is None:
            return ""
        return f"refused with {exchange.error.status}: {exchange.error.detail or exchange.error.message}"

    async def _offered(self) -> str:
        exchange = self._exchange("list_models")
        await self._run(exchange)
        models = exchange.response.models if exchange.response else None
        return models[0].id if models else _ANY_MODEL

    def _exchange(self, operation: Operation) -> Exchange:
        self._number += 1
        self._host.jump()
        headers = {"x-api-key": self._wish.key} if self._wish.key else {}
        return Exchange(
            pipeline=self._pipeline.name,
            protocol=self._protocol,
            operation=operation,
            request=self._request(headers),
            headers=headers,
            peer="127.0.0.1",
            upstreams=self._pipeline.file.upstreams,
            started=self._host.clock(),
        )

    def _request(self, headers: Mapping[str, str]) -> Request:
        prompt = Prompt(
            system=(TextBlock(_SYSTEM),),
            messages=(Message("user", (TextBlock(f"Request {self._number}: what is in the file?"),)),),
            max_tokens=1000,
        )
        request = self._protocol.compose(self._model or _ANY_MODEL, prompt, headers)
        request.stream = self._stream
        return request

    async def _run(self, exchange: Exchange) -> None:
        over = asyncio.Event()
        run = Run(exchange, self._course, self._host.spawn, self._host.clock, over.set)
        try:
            reply = await run.reply()
            if not isinstance(reply.body, bytes):
                async for _ in reply.body:
                    pass
        finally:
            run.close()
        await over.wait()


def _since(before: Row, row: Row) -> Row:
    return row._replace(calls=row.calls - before.calls, total=row.total - before.total)
