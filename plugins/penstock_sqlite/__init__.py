"""The store `sqlite:PATH`: one file that all workers of a host share, and that outlives them."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from penstock import Store, StoreUnavailable, Take

from .file import ForeignFile, open_file
from .lane import Lane
from .state import State

T = TypeVar("T")

DEADLINE = 1.0
"""Seconds after which a verb gives up, half of them for a locked file: a slow disk may take some to write back."""


class SQLiteStore(Store):
    """A store in one file on a local disk. The event loop waits for no lock and no disk: a thread of its own does."""

    def __init__(
        self, url: str, folder: Path, *, deadline: float = DEADLINE, clock: Callable[[], float] = time.time
    ) -> None:
        """`url` is `sqlite:PATH`, relative to `folder`. Touches no file yet. Raises ValueError for another form."""
        scheme, _, path = url.partition(":")
        if scheme != "sqlite" or not path or path.startswith("//"):
            raise ValueError("write sqlite:PATH, as in sqlite:state.db or sqlite:/var/lib/penstock/state.db")
        self._path = folder / path
        self._deadline = deadline
        self._lane = Lane(lambda: State(open_file(self._path, deadline / 2), clock))

    async def open(self) -> None:
        try:
            await self._do(lambda state: state.get(b""))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ForeignFile):
                raise error.__cause__ from None
            raise

    async def get(self, key: str, type: Any) -> Any:
        data = await self._do(lambda state: state.get(key.encode()))
        return None if data is None else msgspec.json.decode(data, type=type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        data = msgspec.json.encode(value)
        await self._do(lambda state: state.set(key.encode(), data, ttl))

    async def delete(self, key: str) -> None:
        await self._do(lambda state: state.delete(key.encode()))

    async def clear(self, prefix: str) -> int:
        count, more = 0, True
        while more:
            some, more = await self._do(lambda state: state.clear(prefix.encode()))
            count += some
        return count

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        last: bytes | None = None
        while page := await self._do(partial(State.keys, prefix=prefix.encode(), after=last)):
            for key in page:
                yield key.decode()
            last = page[-1]

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        return await self._do(lambda state: state.add(key.encode(), float(amount), ttl))

    async def take(self, takes: Sequence[Take]) -> float:
        return await self._do(lambda state: state.take(takes))

    async def settle(self, takes: Sequence[Take]) -> None:
        await self._do(lambda state: state.settle(takes))

    async def levels(self, takes: Sequence[Take]) -> list[float]:
        return await self._do(lambda state: state.levels(takes))

    async def hold(self, key: str, limit: int, holder: str, ttl: float) -> bool:
        return await self._do(lambda state: state.hold(key.encode(), limit, holder.encode(), ttl))

    async def release(self, key: str, holder: str) -> None:
        await self._do(lambda state: state.release(key.encode(), holder.encode()))

    async def held(self, key: str) -> int:
        return await self._do(lambda state: state.held(key.encode()))

    async def close(self) -> None:
        await self._lane.close()

    async def _do(self, verb: Callable[[State], T]) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._lane.do(verb)
        except TimeoutError:
            raise StoreUnavailable(f"{self._path} did not answer within {self._deadline:g} s") from None
        except (sqlite3.Error, OSError, ForeignFile) as error:
            raise StoreUnavailable(f"{self._path} cannot be used: {error}") from error
