"""The host of a process: loads the files, swaps generations, watches for changes, owns the store and all tasks."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from penstock.catalogue import MEMORY, Catalogue
from penstock.config import Files, load, plugin_folder
from penstock.databases import Databases
from penstock.errors import GatewayError
from penstock.gatewayfile import GatewayFile
from penstock.generation import Generation
from penstock.journey import Timing
from penstock.pipeline import Pipeline, Surroundings, compile_pipeline
from penstock.problems import ConfigError, Problem
from penstock.store import MemoryStore, Store, StoreUnavailable
from penstock.watching import State, state

log = logging.getLogger("penstock")

_AT_START = ("bind", "workers", "store", "database", "tls", "graceful_timeout")
"""What of gateway.yaml is read only once."""


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
