"""Shared state in five verbs, and the store that lives in this process's memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")


class Store(ABC):
    """What several exchanges, and perhaps several processes, share. Keys are strings; times are in seconds."""

    @abstractmethod
    async def get(self, key: str, type: Any) -> Any:
        """The value decoded as `type`, or None when there is none or it has expired."""

    @abstractmethod
    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or for good. Anything msgspec can encode as JSON, events among it."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Forget a value; no error if there is none."""

    @abstractmethod
    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        """Add to a number (0 if missing) and return the total. `ttl` starts with the first add."""

    @abstractmethod
    async def take(self, key: str, capacity: float, rate: float, amount: float) -> float:
        """Take from a token bucket that holds `capacity` and refills by `rate` a second.

        Returns 0 when taken, else the seconds until `amount` could be taken (then nothing was). An amount above the
        capacity needs a full bucket; a negative amount gives back; settling a higher use than reserved may leave debt.
        """

    async def close(self) -> None:
        """Release connections, if there are any."""


class PrefixedStore(Store):
    """A part of another store, so that two steps cannot meet."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def get(self, key: str, type: Any) -> Any:
        return await self._store.get(self._prefix + key, type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        await self._store.set(self._prefix + key, value, ttl)

    async def delete(self, key: str) -> None:
        await self._store.delete(self._prefix + key)

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        return await self._store.add(self._prefix + key, amount, ttl)

    async def take(self, key: str, capacity: float, rate: float, amount: float) -> float:
        return await self._store.take(self._prefix + key, capacity, rate, amount)


class _Entry(NamedTuple):
    value: bytes
    expires: float | None


class MemoryStore(Store):
    """State of one process; gone when it ends. Values are kept encoded, so nobody can change them from outside."""

    def __init__(self, clock: Callable[[], float], capacity: int = 100_000) -> None:
        """`clock` gives seconds and never goes back; beyond `capacity` entries the oldest written are dropped."""
        self._clock = clock
        self._capacity = capacity
        self._entries: dict[str, _Entry] = {}
        self._buckets: dict[str, tuple[float, float]] = {}  # level, when

    async def get(self, key: str, type: Any) -> Any:
        entry = self._live(key)
        return None if entry is None else msgspec.json.decode(entry.value, type=type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        self._put(key, value, None if ttl is None else self._clock() + ttl)

    async def delete(self, key: str) -> None:
        self._entries.pop(key, None)
        self._buckets.pop(key, None)

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        entry = self._live(key)
        if entry is None:
            total, expires = amount, None if ttl is None else self._clock() + ttl
        else:
            total, expires = msgspec.json.decode(entry.value, type=float) + amount, entry.expires
        self._put(key, total, expires)
        return total

    async def take(self, key: str, capacity: float, rate: float, amount: float) -> float:
        now = self._clock()
        level, then = self._buckets.get(key, (capacity, now))
        level = min(capacity, level + (now - then) * rate)
        need = min(amount, capacity)
        wait = 0.0 if level >= need or amount <= 0 else (need - level) / rate
        self._buckets[key] = (level if wait else min(capacity, level - amount), now)
        return wait

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires is not None and entry.expires <= self._clock():
            del self._entries[key]
            return None
        return entry

    def _put(self, key: str, value: Any, expires: float | None) -> None:
        self._entries.pop(key, None)
        self._entries[key] = _Entry(msgspec.json.encode(value), expires)
        while len(self._entries) > self._capacity:
            del self._entries[next(iter(self._entries))]
