"""Several processes at one store, whose accounts must come out exactly; for stores that processes share."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from penstock import Store, Take
from penstock.gateway import Host
from penstock.testing import PATIENCE
from tests.core.places import PLUGINS, write
from tests.plugins.stores import SLOW

ROOT = Path(__file__).parent.parent.parent
CROWD = 3


class Place:
    """A store's url and folder, for other processes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    async def process(self, deed: str, count: int = 1) -> Process:
        """A process that is about to begin."""
        command = (sys.executable, "-m", "tests.plugins.hammer", self.url, str(self.folder), deed, str(count))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=ROOT)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"ready\n"
        return process

    async def crowd(self, deed: str, count: int) -> list[float]:
        """What several processes have to say when they have done a deed so often, all at the same time."""
        processes = await asyncio.gather(*(self.process(deed, count) for _ in range(CROWD)))
        outputs = await asyncio.wait_for(asyncio.gather(*(p.communicate() for p in processes)), 60)
        assert [process.returncode for process in processes] == [0] * CROWD
        return [float(output) for output, _ in outputs]


class CrowdContract:
    """Inherit, and have fixtures `store` and `place`, which lead to the same store."""

    async def test_nobody_takes_more_than_there_is(self, store: Store, place: Place) -> None:
        assert sum(await place.crowd("take", 200)) == 100
        assert await store.take([Take("first", 100, SLOW, 1)]) > 0
        assert await store.take([Take("second", 1000, SLOW, 901)]) > 0
        assert await store.take([Take("second", 1000, SLOW, 900)]) == 0

    async def test_what_was_used_is_what_was_charged(self, store: Store, place: Place) -> None:
        used = sum(await place.crowd("settle", 200))
        assert used == CROWD * 200 * 5
        assert await store.take([Take("tokens", 1e6, SLOW, 1e6 - used + 1)]) > 0
        assert await store.take([Take("tokens", 1e6, SLOW, 1e6 - used)]) == 0

    async def test_sums_come_out(self, store: Store, place: Place) -> None:
        assert sum(await place.crowd("add", 200)) == await store.get("sum", float)

    async def test_no_more_inside_than_the_door_lets_in(self, store: Store, place: Place) -> None:
        assert await place.crowd("hold", 200) == [0] * CROWD
        assert await store.get("inside", int) == 0
        assert (await store.get("visits", int) or 0) > 0
        assert all([await store.hold("door", 5, f"next {number}", 60) for number in range(5)])

    async def test_the_lease_of_the_dead_ends(self, store: Store, place: Place) -> None:
        process = await place.process("stay")
        assert process.stdout is not None
        assert await process.stdout.readline() == b"inside\n"
        process.kill()
        await process.wait()
        assert not await store.hold("door", 1, "the next", 60)
        await eventually(lambda: store.hold("door", 1, "the next", 60))

    async def test_whoever_dies_at_work_leaves_no_half_of_it(self, store: Store, place: Place) -> None:
        process = await place.process("both", 1_000_000)
        await eventually(lambda: _begun(store))
        process.kill()
        await process.wait()
        this, that = [await store.take([Take(key, 1e6, SLOW, 1e6)]) for key in ("this", "that")]
        assert this > 0
        assert this == pytest.approx(that, rel=1e-6)


async def two_gateways_share(root: Path, store: str, env: Mapping[str, str]) -> None:
    """Start two gateways of the same files, with a store in gateway.yaml: what one counts, the other knows."""
    write(root, {**PLUGINS, "pipelines/a.yaml": "plugins: [knobs]\n", "pipelines/gateway.yaml": f"store: {store}\n"})
    hosts = [Host(root / "pipelines", env) for _ in range(2)]
    for host in hosts:
        await host.start()
    one, two = (host.current.pipelines[0].instances[0].plugin.store for host in hosts)
    assert [await one.add("n", 1), await two.add("n", 1), await one.get("n", int)] == [1, 2, 2]
    for host in hosts:
        await host.stop()


async def _begun(store: Store) -> bool:
    return (await store.get("taken", float) or 0) > 50


async def eventually(ask: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the answer is yes."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await ask():
                return
            await asyncio.sleep(0.02)
