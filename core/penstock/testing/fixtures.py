"""What pytest loads: the fixtures of the kit, and a clear word to a project whose tests cannot await them.

Nothing heavy is imported before a test asks for it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from penstock import Plugin, Principal
from penstock.testing.asking import native
from penstock.testing.client import Client
from penstock.testing.clock import Clock
from penstock.testing.gateway import GatewayProcess, Place, RunningGateway, clean_environment
from penstock.testing.playbook import Playbook
from penstock.testing.shortened import link_plugins, plugin_folder, whole
from penstock.testing.upstream import ScriptedUpstream

_ADVICE = (
    "the fixtures of penstock.testing are asynchronous: install pytest-asyncio and put\n"
    "    [tool.pytest.ini_options]\n"
    '    asyncio_mode = "auto"\n'
    "into pyproject.toml (or asyncio_mode = auto under [pytest] into pytest.ini)"
)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    """Say what is missing before pytest stumbles over an asynchronous fixture of ours."""
    if fixturedef.func.__module__ == __name__ and fixturedef.argname != "clock" and not _awaits(request.config):
        pytest.fail(_ADVICE, pytrace=False)


def _awaits(config: pytest.Config) -> bool:
    """Whether pytest-asyncio is there and takes every asynchronous fixture."""
    if not config.pluginmanager.hasplugin("asyncio"):
        return False
    return str(config.getoption("asyncio_mode", None) or config.getini("asyncio_mode")).endswith("auto")


# ---------------------------------------------------------------- what the fixtures give


class MakeUpstream(Protocol):
    """`await make_upstream()`: one more scripted upstream."""

    async def __call__(self) -> ScriptedUpstream: ...


class MakePipeline(Protocol):
    """`pipeline("plugins: [{cache: {ttl: 1m}}]")`: a gateway for that pipeline, which starts when it is first asked.

    A short text is made whole: `path: /`; an upstream `main`, which is the fixture `upstream` and speaks the format
    `speaks`, if the text names no `upstreams`; the step `translation` at the end, if no step is called that. A step
    that changes nothing is put on top, so that `ask` returns when all are through and `answer.exchange` is known.
    Local plugins are found by name: those in the folder `plugins/` that the test's file stands in, else in that of the
    project (pytest's root).

    `{word}` in the text becomes the text of the keyword of that name (`{url}` is the upstream's address); a keyword
    whose value is a plugin's class says that the step of that name is this class. The rest is as for MakeGateway.
    """

    def __call__(
        self,
        pipeline: str,
        /,
        *,
        speaks: str = "",
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str | type[Plugin],
    ) -> RunningGateway: ...


class MakeGateway(Protocol):
    """`await gateway(pipeline, url=upstream.url)`: a gateway with exactly that pipeline, started.

    `{word}` in the texts becomes the value of the keyword of that name. `files` are more files of the folder by
    name, `gateway.yaml` among them; `env` is what `${VARIABLE}` finds. `name` is the pipeline's.
    """

    async def __call__(
        self,
        pipeline: str,
        /,
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str,
    ) -> RunningGateway: ...


class MakeProcess(Protocol):
    """`await gateway_process(pipeline, url=upstream.url)`: the same as a process started with `penstock serve`.

    `arguments` are further ones of the command; `env` is added to a clean environment.
    """

    async def __call__(
        self,
        pipeline: str,
        /,
        *arguments: str,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str,
    ) -> GatewayProcess: ...


class MakeClient(Protocol):
    """`client(protocol)`: a client of the gateway that the test has made last, or of `gate`."""

    def __call__(self, protocol: str = "", gate: RunningGateway | None = None) -> Client: ...


class MakePlaybook(Protocol):
    """`playbook(plugin)`: plays scenes to one plugin, without a socket; see Playbook."""

    def __call__(self, plugin: Plugin, *, principal: Principal | None = None) -> Playbook: ...


class Gates:
    """The gateways of one test: made here, closed at its end."""

    def __init__(self, root: Path, clock: Callable[[], float] | None, stack: AsyncExitStack) -> None:
        self.root = root
        self.made: list[RunningGateway] = []
        self._clock = clock
        self._stack = stack

    def add(self, place: Place, env: Mapping[str, str] | None, finish: Callable[[str], str] = str) -> RunningGateway:
        """A gateway that is not started."""
        gate = RunningGateway(place, env or {}, clock=self._clock, finish=finish)
        self.made.append(gate)
        self._stack.push_async_callback(gate.close)
        return gate


# ---------------------------------------------------------------- the fixtures


@pytest.fixture
def clock() -> Clock:
    """The time of the gateways and playbooks of a test that asks for it: it stands still until it is moved."""
    return Clock()


@pytest.fixture
async def make_upstream() -> AsyncIterator[MakeUpstream]:
    """A function that starts scripted upstreams."""
    async with AsyncExitStack() as stack:

        async def make() -> ScriptedUpstream:
            upstream = ScriptedUpstream()
            await upstream.start()
            stack.push_async_callback(upstream.close)
            return upstream

        yield make


@pytest.fixture
async def upstream(make_upstream: MakeUpstream) -> ScriptedUpstream:
    """One scripted upstream."""
    return await make_upstream()


@pytest.fixture
async def gates(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Gates]:
    """For the fixtures below: the gateways of the test."""
    async with AsyncExitStack() as stack:
        yield Gates(tmp_path, _clock_of(request), stack)


@pytest.fixture
def pipeline(
    gates: Gates, upstream: ScriptedUpstream, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> MakePipeline:
    """A function that makes a gateway for a pipeline text, which may be short; see MakePipeline."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")

    def make(
        pipeline: str,
        /,
        *,
        speaks: str = "",
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str | type[Plugin],
    ) -> RunningGateway:
        classes = {word: value for word, value in values.items() if isinstance(value, type)}
        words = {word: value for word, value in values.items() if isinstance(value, str)}
        place = Place(gates.root, name, {"url": upstream.url, **words})
        link_plugins(plugin_folder(request.path, request.config.rootpath), gates.root / "plugins")

        def finish(text: str) -> str:
            fmt = speaks or native().name
            return whole(place.filled(text), url=upstream.url, speaks=fmt, classes=classes, env=env or {})

        _write(place, finish(pipeline), files)
        return gates.add(place, env, finish)

    return make


@pytest.fixture
def gateway(gates: Gates) -> MakeGateway:
    """A function that starts gateways in this process; see MakeGateway."""

    async def make(
        pipeline: str,
        /,
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "test",
        **values: str,
    ) -> RunningGateway:
        place = Place(gates.root, name, values)
        _write(place, pipeline, files)
        gate = gates.add(place, env)
        await gate.start()
        return gate

    return make


@pytest.fixture
def client(gates: Gates) -> MakeClient:
    """A function that makes clients; see MakeClient."""

    def make(protocol: str = "", gate: RunningGateway | None = None) -> Client:
        if gate is None and not gates.made:
            raise LookupError("there is no gateway yet: make one with `pipeline(...)` before its client")
        return (gate or gates.made[-1]).client(protocol)

    return make


@pytest.fixture
async def playbook(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[MakePlaybook]:
    """A function that takes a plugin and plays its hooks; see Playbook."""
    async with AsyncExitStack() as stack:

        def make(plugin: Plugin, *, principal: Principal | None = None) -> Playbook:
            play = Playbook(plugin, tmp_path, principal=principal, clock=_clock_of(request))
            stack.push_async_callback(play.close)
            return play

        yield make


@pytest.fixture
async def gateway_process(tmp_path: Path) -> AsyncIterator[MakeProcess]:
    """A function that starts gateways as processes; see MakeProcess."""
    async with AsyncExitStack() as stack:

        async def make(
            pipeline: str,
            /,
            *arguments: str,
            files: Mapping[str, str] | None = None,
            env: Mapping[str, str] | None = None,
            name: str = "test",
            **values: str,
        ) -> GatewayProcess:
            place = Place(tmp_path, name, values)
            _write(place, pipeline, files)
            process = await GatewayProcess.start(place, arguments, clean_environment(**(env or {})))
            stack.push_async_callback(process.close)
            return process

        yield make


def _clock_of(request: pytest.FixtureRequest) -> Clock | None:
    """The test's clock, if it has asked for one."""
    if "clock" not in request.fixturenames:
        return None
    clock = request.getfixturevalue("clock")
    return clock if isinstance(clock, Clock) else None


def _write(place: Place, pipeline: str, files: Mapping[str, str] | None) -> None:
    place.write(pipeline)
    for file, text in (files or {}).items():
        place.write(text, file)
