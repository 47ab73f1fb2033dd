"""Plugins as objects, run by the real engine without a socket: a stage above them, and a world below that answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from penstock import (
    Attempt,
    Event,
    Exchange,
    Fact,
    GatewayError,
    Operation,
    Plugin,
    Principal,
    Response,
    StashKey,
    hookimpl,
)
from penstock.testing.answers import events_of
from penstock.testing.asking import Asking, Content, native

if TYPE_CHECKING:
    from penstock.gateway import Host
    from penstock.generation import Generation

_PIPELINE = "path: /\nupstreams: {main: {protocol: %s, url: 'http://127.0.0.1:9', key: none}}\nplugins:\n"
_STEP = "  - penstock.testing.rig:Placeholder: null\n    id: %s\n"
NOBODY = Principal(user="somebody")


@dataclass
class Scene:
    """What happens in one exchange: how the world below behaves, and what came of it above."""

    answer: Response | None = None
    refusal: GatewayError | None = None
    failure: GatewayError | None = None
    principal: Principal = NOBODY
    passed: bool = False
    attempt: Attempt | None = None
    response: Response | None = None
    events: list[Event] = field(default_factory=list)


SCENE = StashKey[Scene]()


class Placeholder(Plugin):
    """Stands in the file for a plugin that is an object; takes that one's place before anything is compiled."""


class Stage(Plugin):
    """The first step: provides the facts that plugins need, so that each can be played alone."""

    provides = frozenset(get_args(Fact))

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        if (scene := exchange.stash.get(SCENE)) is not None:
            exchange.identify(scene.principal)


class Ear(Plugin):
    """The step above a plugin: notes what comes up from it."""

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        if (scene := exchange.stash.get(SCENE)) is not None:
            scene.response = response

    @hookimpl
    def on_event(self, exchange: Exchange, event: Event) -> None:
        if (scene := exchange.stash.get(SCENE)) is not None:
            scene.events.append(event)


class World(Plugin):
    """The last step: answers, refuses, or lets an attempt fail, as the scene says; "hello" to a plugin that asks."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response | None:
        scene = exchange.stash.get(SCENE)
        if scene is None:
            return Response(events_of("hello"))
        scene.passed = True
        if scene.refusal is not None:
            raise scene.refusal
        return None if scene.failure is not None else scene.answer

    @hookimpl
    def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        scene = exchange.stash[SCENE]
        scene.attempt = attempt
        if scene.failure is not None:
            raise scene.failure


class Rig:
    """A started generation with one pipeline of these steps, by their ids."""

    def __init__(self, host: "Host", generation: "Generation") -> None:
        self._host = host
        self._generation = generation
        self._course = generation.pipelines[0].course
        self.protocol = native()

    @classmethod
    async def start(
        cls, folder: Path, steps: Sequence[tuple[str, Plugin]], clock: Callable[[], float] | None = None
    ) -> "Rig":
        """Compile and start, as a gateway would. `folder` is the project's. Raises ConfigError."""
        from penstock.config import load
        from penstock.gateway import Host, compile_all
        from penstock.generation import Generation
        from penstock.problems import ConfigError
        from penstock.store import MemoryStore

        place = folder / "pipelines" / "played.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_PIPELINE % native().name + "".join(_STEP % id for id, _ in steps))
        host = Host(place, {})
        host.clock = clock or host.clock
        files = load(place, {})
        for step, (_, plugin) in zip(files.pipelines[0].steps, steps, strict=True):
            step.plugin, step.instance = type(plugin), plugin
        pipelines, problems = compile_all(files, MemoryStore(host.clock), host.clock)
        if problems:
            raise ConfigError(problems)
        generation = Generation(files, pipelines, host)
        await generation.start()
        return cls(host, generation)

    def exchange(
        self, scene: Scene, content: Content = "hi", asking: Asking | None = None, operation: Operation = "generate"
    ) -> Exchange:
        """An exchange in which the scene will be played."""
        asked = asking or Asking()
        headers = asked.all_headers(content)
        exchange = Exchange(
            pipeline=self._generation.pipelines[0].name,
            protocol=self.protocol,
            operation=operation,
            request=self.protocol.read(asked.body(self.protocol, content), headers),
            headers=headers,
            upstreams=self._generation.pipelines[0].file.upstreams,
            started=self._host.clock(),
        )
        exchange.stash[SCENE] = scene
        exchange.on_ask(self._generation.askers[exchange.pipeline])
        return exchange

    async def run(self, exchange: Exchange) -> None:
        """Run an exchange to its last `on_complete`."""
        from penstock.engine import Run

        done = asyncio.Event()
        run = Run(exchange, self._course, self._host.spawn, self._host.clock, done.set)
        reply = await run.reply()
        if isinstance(reply.body, AsyncIterator):
            async for _ in reply.body:
                pass
        run.close()
        await done.wait()

    async def close(self) -> None:
        """Shut the steps down."""
        self._host.clock = time.monotonic
        self._generation.replace()
        await self._host.stop()


class Mistakes(logging.Handler):
    """Collects what the engine says of mistakes in steps: the exceptions themselves."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None and not isinstance(record.exc_info[1], GatewayError):
            self.found.append(record.exc_info[1])

    def __enter__(self) -> "Mistakes":
        logging.getLogger("penstock").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("penstock").removeHandler(self)
