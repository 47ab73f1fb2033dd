"""A thousand new generations while requests come: none of them fails, and nothing of the old ones stays."""

import asyncio
import gc
import itertools
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from penstock import Plugin
from penstock.generation import Generation
from penstock.testing import PATIENCE, MakeGateway, RunningGateway, ScriptedUpstream, messages
from penstock.upstream import Pool
from tests.integration.talk import Said, opened, prompt, until

PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - mark: {number: NUMBER}
  - models: {routes: {"*": main}}
  - translation
"""
PLUGIN = '''
"""Mark answers with the number of this version."""

import asyncio

from penstock import Event, Exchange, Gateway, Plugin, Response, hookimpl

BALLAST = bytes(50_000)


class Mark(Plugin):
    """Says which version has answered, of the code and of the file."""

    number: int

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        gateway.spawn(self._wait(), "wait for ever")

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        response.headers["x-mark"] = f"{self.number}/NUMBER"

    @hookimpl
    def on_event(self, exchange: Exchange, event: Event) -> None:
        pass

    async def _wait(self) -> None:
        await asyncio.Event().wait()
'''
BROKEN = {
    "../plugins/mark.py": ("class Mark(Plugin): ...", "NameError: name 'Plugin' is not defined"),
    "": ("plugins: [nonexistent]", "unknown plugin 'nonexistent'"),
}
RELOADS = 1000
SETTLED = 200  # reloads after which caches have filled
CLIENTS = 2


def write(gate: RunningGateway, number: int) -> None:
    """A new pipeline, and a new plugin for it."""
    gate.place.write(PLUGIN.replace("NUMBER", str(number)), "../plugins/mark.py")
    gate.place.write(PIPELINE.replace("NUMBER", str(number)))


@asynccontextmanager
async def load(gate: RunningGateway, upstream: ScriptedUpstream) -> AsyncIterator[list[str]]:
    """Requests one after the other, from several clients; the marks of their answers."""
    marks: list[str] = []
    over = False

    async def client(stream: bool) -> None:
        async with aiohttp.ClientSession() as session:
            while not over:
                url = f"{gate.url}/v1/messages"
                async with session.post(url, json=prompt(stream=stream)) as response:
                    said = Said(response.status, response.headers, await response.read())
                assert said.status == 200, said.body
                assert said.text == "hello"
                marks.append(response.headers["x-mark"])
                upstream.calls.clear()

    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(client(stream=bool(number)))
        try:
            yield marks
        finally:
            over = True


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is logged: pytest would keep all of it."""
    monkeypatch.setattr(logging.getLogger("penstock"), "disabled", True)


class Census(NamedTuple):
    """What there is in this process."""

    generations: int
    pools: int
    plugins: int
    modules: int
    tasks: int
    loggers: int
    files: int
    objects: int
    resident: int  # MB

    @classmethod
    async def take(cls) -> "Census":
        """Once the last but one generation has retired."""
        await until(lambda: len(_living(Generation)) == 1)
        return cls(
            len(_living(Generation)),
            len(_living(Pool)),
            sum(plugin.__name__ == "Mark" for plugin in Plugin.__subclasses__()),
            sum(name.startswith("penstock_local_") and name.endswith("_mark") for name in sys.modules),
            sum(task.get_name() == "wait for ever" for task in asyncio.all_tasks()),
            len(logging.root.manager.loggerDict),
            len(list(Path("/proc/self/fd").iterdir())),
            len(gc.get_objects()),
            int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20,
        )


def _living(kind: type) -> list[object]:
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is kind]


@pytest.mark.timeout(300)  # on a machine that does much else; 25 s of CPU
@pytest.mark.usefixtures("silence")
async def test_memory_does_not_grow_over_a_thousand_reloads(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.stream("hello"))
    first = PIPELINE.replace("NUMBER", "0")
    gate = await gateway(first, url=upstream.url, files={"../plugins/mark.py": PLUGIN.replace("NUMBER", "0")})
    await _reload_often(gate, upstream, range(1, SETTLED + 1))
    settled = await Census.take()
    await _reload_often(gate, upstream, range(SETTLED + 1, RELOADS + 1))
    grown = await Census.take()
    assert grown[:5] == (1, 1, 1, 1, 1), grown
    assert (grown.loggers, grown.files) <= (settled.loggers, settled.files + 10)
    assert grown.objects < settled.objects * 1.02, (settled, grown)
    assert grown.resident <= settled.resident + 8, (settled, grown)


async def _reload_often(gate: RunningGateway, upstream: ScriptedUpstream, numbers: range) -> None:
    """A new generation for each number, each of which answers; now and then one that does not work."""
    breaks = itertools.cycle(BROKEN.items())
    async with load(gate, upstream) as marks:
        for number in numbers:
            write(gate, number)
            assert await gate.host.reload()
            await _answered(marks, f"{number}/{number}")
            if number % 20 == 0:
                await _break(gate, *next(breaks))
    assert {f"{number}/{number}" for number in (numbers[0] - 1, *numbers)} >= set(marks)  # code and file fit together


async def _answered(marks: list[str], mark: str) -> None:
    """Wait until a generation has answered."""
    async with asyncio.timeout(PATIENCE):
        while not marks or marks[-1] != mark:  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # nobody announces it


async def _break(gate: RunningGateway, name: str, broken: tuple[str, str]) -> None:
    """Code and a file that do not work are not used, and it is said why."""
    code, reason = broken
    before = gate.host.current
    gate.place.write(code, name)
    assert not await gate.host.reload()
    assert gate.host.current is before
    assert reason in gate.host.reload_problem


async def test_files_that_are_saved_are_noticed_under_load(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.always(messages.stream("hello"))
    first = PIPELINE.replace("NUMBER", "0")
    gate = await gateway(first, url=upstream.url, files={"../plugins/mark.py": PLUGIN.replace("NUMBER", "0")})
    async with load(gate, upstream) as marks:
        for number in (1, 2):
            write(gate, number)
            await until(lambda number=number: bool(marks) and marks[-1] == f"{number}/{number}")  # type: ignore[misc]
            gate.place.write("class Mark(Plugin): ...", "../plugins/mark.py")
            await until(lambda: "NameError" in caplog.text)
            caplog.clear()
            assert marks[-1] == f"{number}/{number}"
    assert (await Census.take())[:5] == (1, 1, 1, 1, 1)


async def test_a_generation_stays_for_as_long_as_one_of_its_streams(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    go_on = asyncio.Event()
    reply = messages.stream("hello")
    upstream.answers(reply.at(b"event: content_block_stop", go_on))
    first = PIPELINE.replace("NUMBER", "0")
    gate = await gateway(first, url=upstream.url, files={"../plugins/mark.py": PLUGIN.replace("NUMBER", "0")})
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = await response.content.readuntil(b"text_delta")
        for number in range(1, 6):
            write(gate, number)
            assert await gate.host.reload()
        await until(lambda: len(_living(Generation)) == 2)
        go_on.set()
        seen += await response.read()
    assert response.headers["x-mark"] == "0/0"
    assert seen == reply.payload
    await until(lambda: len(_living(Generation)) == 1)
    assert (await Census.take())[:5] == (1, 1, 1, 1, 1)
