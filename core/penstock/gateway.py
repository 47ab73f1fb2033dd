"""Generations: load the files, start what they describe, swap it in, retire the old; and the tasks they own."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from penstock.asking import Asker
from penstock.catalogue import MEMORY, Catalogue
from penstock.config import Files, GatewayFile, load, plugin_folder
from penstock.database import Database, Schema
from penstock.databases import Databases
from penstock.document import Document
from penstock.errors import GatewayError
from penstock.instances import Instances
from penstock.journey import Timing
from penstock.money import Prices
from penstock.options import decode_hook
from penstock.outbound import Outbound
from penstock.pipeline import Pipeline, Surroundings, compile_pipeline
from penstock.plan import Step, compile_plan
from penstock.plugin import Gateway, Handler, Identify
from penstock.problems import ConfigError, Problem
from penstock.protocol import ClientProtocol, Operation
from penstock.proxies import Proxies
from penstock.stats import PATH as STATS
from penstock.stats import stats_handler
from penstock.store import MemoryStore, Store, StoreUnavailable
from penstock.typed import convert
from penstock.watching import State, fingerprint, state
from penstock.web import HttpClient

T = TypeVar("T")
log = logging.getLogger("penstock")

_AT_START = (
    "bind",
    "workers",
    "store",
    "database",
    "tls",
    "graceful_timeout",
)  # of gateway.yaml: what is read only once


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

    def __init__(self, files: Files, pipelines: list[Pipeline], host: "Host") -> None:
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
        self._host = host
        self._started: list[tuple[Step, _PipelineGateway]] = []
        self._exchanges = 0
        self._replaced = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clients: list[Outbound] = []
        self.askers = {
            pipeline.name: Asker(pipeline.course, host.spawn, host.clock, self.enter, self.leave)
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
        gateway = _PipelineGateway(self, pipeline, step)
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
        task = self._host.spawn(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def database(self, schema: Schema) -> Database:
        """The database of the process, as a plugin with this schema sees it. Raises ValueError."""
        return self._host.databases.database(schema)

    def http(self, allow: Iterable[str]) -> HttpClient:
        """A client that is closed when the generation retires."""
        client = Outbound(allow)
        self._clients.append(client)
        return client

    def _retire_when_idle(self) -> None:
        if self._replaced and self._exchanges == 0:
            self._host.spawn(self._shut_down(), f"retire {self.id}")

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
        self._host.forget(self.files)


async def _call_hooks(hook: str, step: Step, gateway: Gateway) -> None:
    for call in compile_plan([step]).calls[hook]:
        result = call.function(gateway)
        if hasattr(result, "__await__"):
            await result


class _PipelineGateway(Gateway):
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


class Host:
    """Owns the current generation, the store and all tasks of one process."""

    def __init__(self, place: Path, env: Mapping[str, str], *, public: bool = False, debug: bool = False) -> None:
        """`place` is a pipeline file or a folder of them; `public` refuses pipelines that anybody may use.

        `debug` takes the time of every event, and tells clients what took how long, whatever gateway.yaml says.
        """
        self._place = place
        self._env = env
        self._public = public
        self._debug = debug
        self._tasks: set[asyncio.Task[Any]] = set()
        self._store: Store | None = None
        self._databases: Databases | None = None
        self._seen: State = {}
        self._suspects: set[Path] = set()
        self._generation: Generation | None = None
        self._catalogues: set[Catalogue] = set()
        self._at_start = GatewayFile()
        self.clock: Callable[[], float] = time.monotonic
        self.reload_problem = ""

    @property
    def started(self) -> bool:
        """Whether there is a current generation."""
        return self._generation is not None

    @property
    def current(self) -> Generation:
        """The generation that new exchanges enter."""
        if self._generation is None:
            raise RuntimeError("the gateway has not started")
        return self._generation

    @property
    def databases(self) -> Databases:
        """The database of gateway.yaml as it was at the start."""
        if self._databases is None:
            raise RuntimeError("the gateway has not started")
        return self._databases

    async def start(self) -> None:
        """Load the files and start the first generation. Raises ConfigError."""
        try:
            self._generation = await self._new_generation()
        except BaseException:
            await self._close_shared()
            raise
        self._at_start = self._generation.gateway
        self._seen = state(self._generation.watched, self._place)

    async def reload(self) -> bool:
        """Swap in a new generation; a mistake keeps the old one and is logged. Returns whether it was swapped."""
        try:
            new = await self._new_generation()
        except Exception as error:
            self.reload_problem, self._suspects = str(error), self._suspected(error)
            unforeseen = error if not isinstance(error, ConfigError) else None
            log.error("the changed files are not used, the old configuration stays:\n%s", error, exc_info=unforeseen)
            return False
        old, self._generation, self.reload_problem = self.current, new, ""
        self._suspects = set()
        old.replace()
        log.warning("reloaded: generation %s replaces %s", new.id, old.id)
        if changed := [name for name in _AT_START if getattr(new.gateway, name) != getattr(self._at_start, name)]:
            log.warning("gateway.yaml: start again for what has changed there: %s", ", ".join(changed))
        return True

    async def watch(self, seconds: float = 1.0) -> None:
        """Look every `seconds`; reload when a file of the generation changes, or one that keeps a new one away."""
        while True:
            await asyncio.sleep(seconds)
            now = state(self.current.watched | self._suspects, self._place)
            if now != self._seen:
                self._seen = now
                await self.reload()
                fresh = state(self.current.watched | self._suspects, self._place)
                self._seen = {file: now.get(file, state) for file, state in fresh.items()}

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a task the process owns; a failure that is no GatewayError is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def forget(self, files: Files) -> None:
        """Let go of what files have brought into this process, once nobody runs it."""
        self._catalogues.discard(files.catalogue)
        files.catalogue.forget(self._catalogues)

    async def stop(self, seconds: float = 10.0) -> None:
        """Let completions finish, retire the current generation, and wait at most `seconds` for it."""
        if self._generation is not None:
            self._generation.replace()
        deadline = self.clock() + seconds
        while self._tasks and self.clock() < deadline:
            await asyncio.wait(self._tasks, timeout=deadline - self.clock())
        for task in self._tasks:
            task.cancel()
        await self._close_shared()

    async def _close_shared(self) -> None:
        """Let go of what outlives generations."""
        if self._databases is not None:
            await self._databases.close()
        if self._store is not None:
            await self._store.close()

    def _suspected(self, error: Exception) -> set[Path]:
        """The files that may have to change before a reload succeeds."""
        named = {Path(problem.path) for problem in error.problems} if isinstance(error, ConfigError) else set()
        return named | set(Catalogue(plugin_folder(self._place)).local_files())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, GatewayError):
            log.error("task %r failed", task.get_name(), exc_info=error)

    async def _new_generation(self) -> Generation:
        files = load(self._place, self._env)
        self._catalogues.add(files.catalogue)
        try:
            return await self._started_with(files)
        except BaseException:
            self.forget(files)
            raise

    async def _started_with(self, files: Files) -> Generation:
        if self._store is None and not files.problems:
            self._store = await _open_store(files, self.clock)
        debug = self._debug or files.gateway.debug
        store = self._store or MemoryStore(self.clock)
        pipelines, problems = compile_all(files, store, self.clock, debug=debug)
        if self._public:
            problems += open_to_all(pipelines)
        if problems:
            raise ConfigError(problems)
        if self._databases is None:
            self._databases = Databases(files.gateway.database, files.folder)
        generation = Generation(files, pipelines, self)
        await generation.start()
        if debug:
            log.warning("debug is on: every answer tells in `server-timing` which steps and upstreams took how long")
        return generation


def compile_all(
    files: Files, store: Store, clock: Callable[[], float], *, debug: bool = False
) -> tuple[list[Pipeline], list[Problem]]:
    """All pipelines of the files, and everything that is wrong with files and pipelines."""
    options = files.gateway
    timing = Timing(ping=options.ping, commit_after=options.commit_after)
    around = Surroundings(store, clock, timing, debug)
    compiled = [compile_pipeline(file, around) for file in files.pipelines]
    wrong = [problem for _, found in compiled for problem in found]
    return [pipeline for pipeline, _ in compiled if pipeline is not None], [*files.problems, *wrong]


async def _open_store(files: Files, clock: Callable[[], float]) -> Store:
    """The store of gateway.yaml; one that is away for now is no reason not to start. Raises ConfigError."""
    url, document = files.gateway.store, files.gateway_document
    if url in MEMORY:
        return MemoryStore(clock)
    store = files.catalogue.store(url, Path(document.name).parent)  # loading the files has shown that this works
    try:
        await store.open()
    except StoreUnavailable as error:
        log.warning("the store is away; until it is back, plugins do without or refuse: %s", error)
    except ValueError as error:
        await store.close()
        raise ConfigError([document.problem(("store",), f"the store cannot be used: {error}")]) from None
    return store


def open_to_all(pipelines: Iterable[Pipeline]) -> list[Problem]:
    """What keeps these pipelines from being served to more than this machine."""
    message = (
        "nobody has to say who they are here, so this pipeline is served on loopback only:"
        " add the step 'auth', or bind to 127.0.0.1"
    )
    return [pipeline.file.document.problem(("plugins",), message) for pipeline in pipelines if pipeline.open]
