"""A generation: everything that one load of the files produced, from its start until its last exchange has left."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from penstock.asking import Asker
from penstock.config import Files
from penstock.database import Database, Schema
from penstock.databases import Databases
from penstock.document import Document
from penstock.gatewayfile import GatewayFile
from penstock.instances import Instances
from penstock.money import Prices
from penstock.options import decode_hook
from penstock.outbound import Outbound
from penstock.pipeline import Pipeline
from penstock.plan import Step, compile_plan
from penstock.plugin import Gateway, Handler, Identify
from penstock.problems import ConfigError, Problem
from penstock.protocol import ClientProtocol, Operation
from penstock.proxies import Proxies
from penstock.stats import PATH as STATS
from penstock.stats import stats_handler
from penstock.typed import convert
from penstock.watching import fingerprint
from penstock.web import HttpClient

T = TypeVar("T")
log = logging.getLogger("penstock")


class Owner(Protocol):
    """The process that a generation lives in, as the generation sees it."""

    clock: Callable[[], float]

    @property
    def databases(self) -> Databases:
        """The database of the process."""
        ...

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a task that the process owns."""
        ...

    def forget(self, files: Files) -> None:
        """The generation of these files is no more."""


class Endpoint(NamedTuple):
    """What answers a method and path: a protocol's operation, or a plugin's handler."""

    pipeline: Pipeline
    protocol: ClientProtocol | None = None
    operation: Operation = "probe"
    handler: Handler | None = None


class Generation:
    """Everything one load of the files produced. Retires when it is replaced and its last exchange has left.

    Its `id`, known once it has started, is a fingerprint of all its files: hosts can be compared by it.
    """

    def __init__(self, files: Files, pipelines: list[Pipeline], owner: Owner) -> None:
        self.files = files
        self.pipelines = pipelines
        self.endpoints: dict[str, dict[str, Endpoint]] = {
            pipeline.path + STATS: {"GET": Endpoint(pipeline, handler=stats_handler(pipeline, lambda: self.id))}
            for pipeline in pipelines
        }
        self.watched: set[Path] = {*files.read, *files.catalogue.local_files()}
        self.contents = dict(files.read)  # as they were when they were read
        self.id = ""
        self.proxies = Proxies(files.gateway.trusted_proxies)
        self._owner = owner
        self._started: list[tuple[Step, _StepGateway]] = []
        self._exchanges = 0
        self._replaced = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clients: list[Outbound] = []
        self.askers = {
            pipeline.name: Asker(pipeline.course, owner.spawn, owner.clock, self.enter, self.leave)
            for pipeline in pipelines
        }

    @property
    def gateway(self) -> GatewayFile:
        """The options all pipelines share."""
        return self.files.gateway

    async def start(self) -> None:
        """Run all `startup` hooks. On a failure those started are shut down again and ConfigError is raised."""
        for pipeline in self.pipelines:
            for step in pipeline.instances:
                try:
                    await self.start_step(pipeline, step)
                except ConfigError:
                    await self._shut_down()
                    raise
                except Exception as error:
                    await self._shut_down()
                    log.debug("startup of step %r", step.id, exc_info=error)
                    at = pipeline.file.steps[step.position].at
                    message = f"step {step.id!r} did not start: {str(error) or type(error).__name__}"
                    raise ConfigError([pipeline.file.document.problem(at, message)]) from error
        self.id = fingerprint(self.watched, self.contents)

    async def start_step(self, pipeline: Pipeline, step: Step) -> None:
        """Run one step's `startup` hook. Raises what it raises."""
        gateway = _StepGateway(self, pipeline, step)
        await _call_hooks("startup", step, gateway)
        self._started.append((step, gateway))

    def enter(self) -> None:
        """An exchange begins."""
        self._exchanges += 1

    def leave(self) -> None:
        """An exchange has ended, its steps completed."""
        self._exchanges -= 1
        self._retire_when_idle()

    def replace(self) -> None:
        """Another generation is current now."""
        self._replaced = True
        self._retire_when_idle()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task that is cancelled when the generation retires."""
        task = self._owner.spawn(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def database(self, schema: Schema) -> Database:
        """The database of the process, as a plugin with this schema sees it. Raises ValueError."""
        return self._owner.databases.database(schema)

    def http(self, allow: Iterable[str]) -> HttpClient:
        """A client that is closed when the generation retires."""
        client = Outbound(allow)
        self._clients.append(client)
        return client

    def _retire_when_idle(self) -> None:
        if self._replaced and self._exchanges == 0:
            self._owner.spawn(self._shut_down(), f"retire {self.id}")

    async def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        while self._started:
            step, gateway = self._started.pop()
            try:
                await _call_hooks("shutdown", step, gateway)
            except Exception as error:
                log.error("shutdown of step %r", step.id, exc_info=error)
        for client in self._clients:
            await client.close()
        self.askers.clear()  # they know this generation, and would keep it until the next garbage collection
        for pipeline in self.pipelines:
            pipeline.course.deadlines.close()
            for pool in pipeline.course.pools.values():
                await pool.close()
        self._owner.forget(self.files)


async def _call_hooks(hook: str, step: Step, gateway: Gateway) -> None:
    for call in compile_plan([step]).calls[hook]:
        result = call.function(gateway)
        if hasattr(result, "__await__"):
            await result


class _StepGateway(Gateway):
    """What one instance of a step may ask for."""

    def __init__(self, generation: Generation, pipeline: Pipeline, step: Step) -> None:
        self.pipeline = pipeline.name
        self.upstreams = MappingProxyType(pipeline.file.upstreams)
        self._generation = generation
        self._pipeline = pipeline
        self._step = step

    def serve_protocol(self, name: str) -> None:
        protocol = self._generation.files.catalogue.client_protocol(name)
        for route in protocol.routes:
            self._add(route.method, route.path, Endpoint(self._pipeline, protocol, route.operation))

    def add_route(
        self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",), *, shared: bool = False
    ) -> None:
        for method in methods:
            self._route(method, f"/-/{path.strip('/')}", handler, shared)

    def identify_by(self, identify: Identify) -> None:
        self._pipeline.identifiers.append(identify)

    def price_by(self, prices: Prices) -> None:
        self._pipeline.prices = self._pipeline.prices or prices  # everybody's start before those of teams

    def read_file(self, path: Path, kind: type[T]) -> T:
        self.watch(path)
        try:
            content = self._generation.contents[path] = path.read_bytes()
            text = content.decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise ConfigError([Problem(str(path), 1, 1, f"cannot be read: {reason}", "")]) from None
        document = Document.parse(text, str(path), self._generation.files.env)
        value, problems = convert(document, (), kind, decode_hook())
        if value is None or document.problems:
            raise ConfigError([*document.problems, *problems])
        return value

    def database(self, schema: Schema) -> Database:
        return self._generation.database(schema)

    def http(self, allow: Iterable[str] = ()) -> HttpClient:
        return self._generation.http(allow)

    def watch(self, path: Path) -> None:
        self._generation.watched.add(path)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._generation.spawn(work, name)

    def _route(self, method: str, path: str, handler: Handler, shared: bool) -> None:
        """Serve a path, perhaps beside other instances of the same step."""
        found = self._methods(path).get(method)
        instances = found.handler if found and found.pipeline is self._pipeline else None
        if not isinstance(instances, Instances) or instances.step != self._step.id:
            instances = Instances(self._step.id, self._pipeline.course, shared=shared)
            self._add(method, path, Endpoint(self._pipeline, handler=instances))
        if not instances.add(self._step.plugin, handler):
            raise ValueError(f"{method} {self._full(path)} is already served")

    def _add(self, method: str, path: str, endpoint: Endpoint) -> None:
        methods = self._methods(path)
        if method in methods:
            raise ValueError(f"{method} {self._full(path)} is already served")
        methods[method] = endpoint

    def _methods(self, path: str) -> dict[str, Endpoint]:
        return self._generation.endpoints.setdefault(self._full(path), {})

    def _full(self, path: str) -> str:
        return (self._pipeline.path + path).rstrip("/") or "/"
