"""Exchanges along steps that are given as objects: no files, the protocol of `lines`, real upstreams."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from penstock import (
    Attempt,
    BlockStart,
    BlockStop,
    ClientProtocol,
    Event,
    Exchange,
    Finish,
    GatewayError,
    Operation,
    Plugin,
    Response,
    Secret,
    Start,
    Text,
    Upstream,
    UpstreamProtocol,
    Usage,
    hookimpl,
)
from penstock.deadlines import Deadlines
from penstock.engine import Reply, Run
from penstock.journey import Course, Timing
from penstock.plan import Step, compile_plan
from penstock.reach import Limits, Reach
from penstock.tally import Tally
from penstock.testing import PATIENCE
from penstock.upstream import Pool
from tests.core.lines import Lines, NoQuirks

LIMITS = Limits(connect=5.0, first_byte=5.0, idle=5.0, total=30.0, connections=0)


def answer(*texts: str, model: str = "m") -> list[Event]:
    """A complete answer of one block."""
    return [
        Start(model=model, id="msg_1", usage=Usage(input=3)),
        BlockStart(0),
        *(Text(0, text) for text in texts),
        BlockStop(0),
        Usage(input=3, output=len(texts)),
        Finish(),
    ]


class Witness(Plugin):
    """Writes down which of its hooks runs, and does there what the test wants. Hears no events."""

    name: str
    diary: list[str] = []
    does: dict[str, Callable[..., Any]] = {}

    def note(self, hook: str, *arguments: Any) -> Any:
        self.diary.append(f"{self.name}.{hook}")
        return self.does[hook](*arguments) if hook in self.does else None

    @hookimpl
    def on_request(self, exchange: Exchange) -> Any:
        return self.note("on_request", exchange)

    @hookimpl
    def on_attempt(self, exchange: Exchange, attempt: Attempt) -> Any:
        return self.note("on_attempt", exchange, attempt)

    @hookimpl
    def on_failure(self, exchange: Exchange, attempt: Attempt, error: GatewayError) -> Any:
        return self.note("on_failure", exchange, attempt, error)

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> Any:
        return self.note("on_response", exchange, response)

    @hookimpl
    def on_error(self, exchange: Exchange, error: GatewayError) -> Any:
        return self.note("on_error", exchange, error)

    @hookimpl
    def on_complete(self, exchange: Exchange) -> Any:
        return self.note("on_complete", exchange)


def replies(response: Response) -> dict[str, Any]:
    """A step that answers by itself."""
    return {"on_request": lambda _: response}


class Render(Plugin):
    """Builds the request for the upstream, as the step `translation` does."""

    @hookimpl
    def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        attempt.request = attempt.upstream.protocol.render(exchange, attempt.target, attempt.upstream.quirks)


class Said(NamedTuple):
    """What a client got, and the exchange it was."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    exchange: Exchange

    @property
    def events(self) -> list[Event]:
        """The events of the answer, streamed or whole."""
        if self.body.startswith((b'{"events"', b'{ "events"')):
            return msgspec.json.decode(self.body, type=dict[str, list[Event]])["events"]
        return [msgspec.json.decode(line, type=Event) for line in self.body.splitlines()]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def error(self) -> tuple[str, str]:
        """Kind and message of the refusal, or of the failure at the end of the stream."""
        last = json.loads(self.body.splitlines()[-1])
        return last.get("error") or last["failed"], last["message"]


class Exchanging(NamedTuple):
    """An exchange under way."""

    exchange: Exchange
    run: Run
    done: asyncio.Event

    async def completed(self) -> None:
        """Wait for the last `on_complete`."""
        async with asyncio.timeout(PATIENCE):
            await self.done.wait()


class Lane:
    """One pipeline; `tasks` are the ones it was asked to own."""

    def __init__(self, course: Course, upstreams: Mapping[str, Upstream], protocol: ClientProtocol) -> None:
        self._course = course
        self._upstreams = upstreams
        self._protocol = protocol
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        return task

    def begin(
        self, operation: Operation = "generate", stream: bool = True, headers: Mapping[str, str] | None = None
    ) -> Exchanging:
        body = json.dumps({"model": "model-a", "stream": stream}).encode()
        exchange = Exchange(
            pipeline="test",
            protocol=self._protocol,
            operation=operation,
            request=self._protocol.read(body, {}),
            headers=headers or {},
            upstreams=self._upstreams,
            started=time.monotonic(),
        )
        done = asyncio.Event()
        return Exchanging(exchange, Run(exchange, self._course, self.spawn, time.monotonic, done.set), done)

    async def ask(
        self, operation: Operation = "generate", stream: bool = True, headers: Mapping[str, str] | None = None
    ) -> Said:
        """One exchange from its beginning to its last `on_complete`."""
        begun = self.begin(operation, stream, headers)
        async with asyncio.timeout(PATIENCE):
            reply = await begun.run.reply()
            body = await read(reply)
        begun.run.close()
        await begun.completed()
        return Said(reply.status, reply.headers, body, begun.exchange)


async def read(reply: Reply) -> bytes:
    """The body to its end."""
    if isinstance(reply.body, bytes):
        return reply.body
    return b"".join([part async for part in reply.body])


@asynccontextmanager
async def along(
    *steps: Plugin,
    teams: Mapping[str, Sequence[Plugin | None]] | None = None,
    upstreams: Mapping[str, str] | None = None,
    speaks: UpstreamProtocol | None = None,
    missing: Mapping[str, str] | None = None,
    timing: Timing | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[Lane]:
    """A lane of `steps`, named s0, s1 ...; a team has as many, or None for those that are off for it.

    `upstreams` are URLs by name, `speaks` is their protocol, `missing` what one lacks.
    """
    protocol = speaks or Lines()
    made = {
        name: Upstream(name=name, protocol=protocol, missing=(missing or {}).get(name, ""), quirks=NoQuirks())
        for name in upstreams or {}
    }
    pools = {name: Pool(made[name], reach(url, limits)) for name, url in (upstreams or {}).items()}
    plans = {name: compile_plan(_numbered(own)) for name, own in (teams or {}).items()}
    deadlines = Deadlines()
    lane = Lane(
        Course(compile_plan(_numbered(steps)), plans, pools, timing or Timing(), deadlines, Tally()), made, Lines()
    )
    try:
        yield lane
    finally:
        await ended_well(lane.tasks)
        deadlines.close()
        for pool in pools.values():
            await pool.close()


async def ended_well(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait for tasks and see that they end, and with nothing worse than an error of the exchange."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=PATIENCE)
        assert not late
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    assert all(isinstance(error, GatewayError) for error in errors), errors


def reach(url: str, limits: Limits = LIMITS, **more: Any) -> Reach:
    """How to reach an upstream with the key `upstream-key`."""
    given = {"auth": "bearer", "key": Secret("upstream-key"), "headers": {}, **more}
    return Reach(url=url, limits=limits, **given)


def _numbered(steps: Sequence[Plugin | None]) -> list[Step]:
    return [Step(number, f"s{number}", plugin) for number, plugin in enumerate(steps) if plugin is not None]
