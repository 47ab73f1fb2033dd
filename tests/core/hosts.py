"""A plugin that keeps a diary and one that asks for everything, a folder for them, and the host of a gateway."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.gateway import Host
from penstock.problems import ConfigError
from penstock.testing import PATIENCE
from tests.core.places import PLUGINS, told, write

LIFE = '''
"""Writes down what happens to it."""
from penstock import Exchange, Gateway, Plugin, hookimpl

class Life(Plugin):
    """Has a diary beside the pipelines."""
    name: str = "a"
    fails: bool = False

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        self._note("startup")
        if self.fails:
            raise ValueError("there is no room")

    @hookimpl
    def shutdown(self) -> None:
        self._note("shutdown")

    def _note(self, what: str) -> None:
        with (self.folder.parent / "diary").open("a") as diary:
            diary.write(f"{self.name}.{what}\\n")
'''
READS = '''
"""Reads a file and asks for more."""
import asyncio
from pathlib import Path
import msgspec
from penstock import Gateway, Plugin, hookimpl

class Words(msgspec.Struct, forbid_unknown_fields=True):
    words: list[str]

class Reads(Plugin):
    """Reads words.yaml beside the pipelines, and keeps an eye on other.txt."""
    protocol: str = ""
    routes: list[str] = []
    works: bool = False

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self.words = gateway.read_file(self.folder.parent / "words.yaml", Words).words
        gateway.watch(self.folder.parent / "other.txt")
        if self.protocol:
            gateway.serve_protocol(self.protocol)
        for route in self.routes:
            gateway.add_route(route, self.answer)
        if self.works:
            gateway.spawn(self.work(), "endless work")

    async def answer(self, asked): ...

    async def work(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            (self.folder.parent / "worked").touch()
'''
HERE = {**PLUGINS, "plugins/life.py": LIFE, "plugins/reads.py": READS, "words.yaml": "words: [one]\n"}
ONE = "plugins: [life]\n"
OTHER = "plugins: [life: {name: other}]\n"


class Place:
    """A folder with pipelines, and the host of a gateway that reads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = Host(root / "pipelines", {"WORD": "from the environment"})
        write(root, HERE)

    def write(self, text: str | bytes, name: str = "pipelines/a.yaml") -> None:
        write(self.root, {name: text})

    @property
    def diary(self) -> list[str]:
        path = self.root / "diary"
        return path.read_text().split() if path.exists() else []

    async def start(self, text: str) -> None:
        self.write(text)
        await self.host.start()

    async def refused(self, text: str) -> list[str]:
        """Why the gateway does not start."""
        self.write(text)
        with pytest.raises(ConfigError) as caught:
            await self.host.start()
        return told(self.root, caught.value)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in iter(condition, True):
                await asyncio.sleep(0.005)
