"""One of several processes at one store: `python -m tests.plugins.hammer URL FOLDER DEED COUNT` prints a number.

A verb that fails because the store is away counts as nothing; other failures end the process with an error.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from penstock import Store, StoreUnavailable, Take
from penstock.catalogue import Catalogue
from tests.plugins.stores import SLOW

AT_ONCE = 8


async def take(store: Store, number: int) -> float:
    """How many were taken out of two buckets."""
    return await store.take([Take("first", 100, SLOW, 1), Take("second", 1000, SLOW, 1)]) == 0


async def both(store: Store, number: int) -> float:
    """How many were taken, out of two buckets that are large."""
    taken = await store.take([Take("this", 1e6, SLOW, 1), Take("that", 1e6, SLOW, 1)]) == 0
    return await store.add("taken", taken)


async def settle(store: Store, number: int) -> float:
    """How much was charged in all: 5 taken, of which 3 or 7 were used."""
    used = 3 if number % 2 else 7
    if await store.take([Take("tokens", 1e6, SLOW, 5)]):
        return 0
    await store.settle([Take("tokens", 1e6, SLOW, used - 5)])
    return used


async def add(store: Store, number: int) -> float:
    """How much was added."""
    await store.add("sum", number)
    return number


async def hold(store: Store, number: int) -> float:
    """How often there were more than five inside."""
    holder = f"{os.getpid()} {number}"
    if not await store.hold("door", 5, holder, 60):
        return 0
    inside = await store.add("inside", 1)
    await store.add("visits", 1)
    await store.add("inside", -1)
    await store.release("door", holder)
    return inside > 5


async def stay(store: Store, number: int) -> float:
    """Hold a lease, say so, and never leave."""
    await store.hold("door", 1, "the dead", 1.5)
    print("inside", flush=True)
    await asyncio.Event().wait()
    return 0


DEEDS: tuple[Callable[[Store, int], Awaitable[float]], ...] = (take, both, settle, add, hold, stay)


async def main(url: str, folder: str, name: str, count: str) -> None:
    """Do the deed, several at once."""
    (deed,) = (deed for deed in DEEDS if deed.__name__ == name)
    store = Catalogue(None).store(url, Path(folder))
    print("ready", flush=True)
    turns = iter(range(int(count)))

    async def work() -> float:
        total = 0.0
        for number in turns:
            try:
                total += await deed(store, number)
            except StoreUnavailable:
                continue
        return total

    totals = await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    print(sum(totals))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
