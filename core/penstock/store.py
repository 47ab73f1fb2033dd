"""What exchanges share: values, counters, token buckets and leases; and the store in this process's memory."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from math import inf, isfinite
from typing import Any, Generic, TypeVar, overload

import msgspec

T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store could not be reached, or did not answer in time. Whether it has done what was asked is unknown.

    The message is one short sentence for the log. What is to happen now is for the plugin to say: refuse or allow.
    """


class Take(msgspec.Struct, frozen=True):
    """So much out of one token bucket, which holds `capacity` and refills by `rate` a second.

    Both are above 0. A bucket that nobody has touched is full; one that was charged more than it held is in debt.
    """

    key: str
    capacity: float
    rate: float
    amount: float

    def level(self, before: float, seconds: float) -> float:
        """What the bucket holds `seconds` after it held `before`."""
        return min(self.capacity, before + max(0.0, seconds) * self.rate)

    def wait(self, level: float) -> float:
        """Seconds until a bucket at `level` can give the amount, 0 for now. More than it can hold needs a full one."""
        missing = min(self.amount, self.capacity) - level
        return 0.0 if missing <= self.capacity * 1e-9 else missing / self.rate  # who waited as told is not sent off

    def rest(self, level: float) -> float:
        """What is left of `level` without the amount."""
        return min(self.capacity, level - self.amount)

    def refill(self, level: float) -> float:
        """Seconds until a bucket at `level` is full, and thereby like one that nobody has touched."""
        return (self.capacity - level) / self.rate


class Store(ABC):
    """What several exchanges, and perhaps several processes, share. Keys are strings; times are in seconds.

    The value, the bucket and the leases of a key have nothing to do with each other. Every verb is atomic, `clear` and
    `keys` are not, and every verb raises StoreUnavailable when the store is away.

        seen = await self.store.add(f"seen {user}", 1, ttl=3600.0)
        await self.store.set("limits", {"ann": 3})
        limits = await self.store.get("limits", dict[str, int])  # a dict, or None
    """

    async def open(self) -> None:
        """Make ready. Raises ValueError if that can never work, StoreUnavailable if it may yet."""

    @overload
    async def get(self, key: str, type: type[T]) -> T | None: ...

    @overload
    async def get(self, key: str, type: Any) -> Any: ...

    @abstractmethod
    async def get(self, key: str, type: Any) -> Any:
        """The value decoded as `type`, or None when there is none or it has expired.

        A `type` that is no class, such as a union, is good at run time, but type checkers cannot tell what comes back.
        """

    @abstractmethod
    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or for good. Anything msgspec can encode as JSON, events among it."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Forget the value, the bucket and the leases of a key; no error if there are none."""

    @abstractmethod
    async def clear(self, prefix: str) -> int:
        """As `delete` for every key that begins with `prefix`. Returns how many values there were."""

    @abstractmethod
    def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys with a value that begin with `prefix`, in no order, a page at a time: stop when there are enough.

        What changes meanwhile may be missing, or be there twice.
        """

    @abstractmethod
    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        """Add to a number (0 if missing) and return the total. `ttl` starts with the first add."""

    @abstractmethod
    async def take(self, takes: Sequence[Take]) -> float:
        """Take from all these buckets or from none. Each key may stand once, amounts are not negative.

        Returns 0 when taken, else the seconds until every bucket could give its amount. An amount above the capacity
        needs a full bucket and leaves it in debt; an amount of 0 needs one without debt.
        """

    @abstractmethod
    async def settle(self, takes: Sequence[Take]) -> None:
        """Charge what was used beyond what was taken, or give back, as a negative amount, what was not used.

        May leave debt, which later takes wait for; never more than the capacity. Each key may stand once.
        """

    @abstractmethod
    async def levels(self, takes: Sequence[Take]) -> list[float]:
        """What each of these buckets holds now, below 0 when it is in debt. Nothing is taken, amounts do not matter."""

    @abstractmethod
    async def hold(self, key: str, limit: int, holder: str, ttl: float) -> bool:
        """Take or renew one of `limit` leases; False if others hold them all.

        A lease ends after `ttl` seconds unless the same holder asks again, so nothing leaks when a process dies.
        """

    @abstractmethod
    async def release(self, key: str, holder: str) -> None:
        """Give a lease back; no error if it has ended."""

    @abstractmethod
    async def held(self, key: str) -> int:
        """How many leases of a key are held now."""

    async def close(self) -> None:
        """Release connections, if there are any."""


class PrefixedStore(Store):
    """A part of another store, so that two steps cannot meet. Raises ValueError for what no store can do."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def get(self, key: str, type: Any) -> Any:
        return await self._store.get(self._prefix + key, type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        await self._store.set(self._prefix + key, value, ttl)

    async def delete(self, key: str) -> None:
        await self._store.delete(self._prefix + key)

    async def clear(self, prefix: str) -> int:
        return await self._store.clear(self._prefix + prefix)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._store.keys(self._prefix + prefix):
            yield key.removeprefix(self._prefix)

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        if not isfinite(amount):
            raise ValueError(f"cannot add {amount} to {key!r}")
        return await self._store.add(self._prefix + key, amount, ttl)

    async def take(self, takes: Sequence[Take]) -> float:
        if negative := [take for take in takes if take.amount < 0]:
            raise ValueError(f"cannot take a negative amount: {negative[0]}; give back with settle")
        return await self._store.take(self._placed(takes))

    async def settle(self, takes: Sequence[Take]) -> None:
        await self._store.settle(self._placed(takes))

    async def levels(self, takes: Sequence[Take]) -> list[float]:
        return await self._store.levels(self._placed(takes))

    async def hold(self, key: str, limit: int, holder: str, ttl: float) -> bool:
        if not 0 < ttl < inf:
            raise ValueError(f"a lease of {key!r} must end after some seconds, not {ttl}")
        return await self._store.hold(self._prefix + key, limit, holder, ttl)

    async def release(self, key: str, holder: str) -> None:
        await self._store.release(self._prefix + key, holder)

    async def held(self, key: str) -> int:
        return await self._store.held(self._prefix + key)

    def _placed(self, takes: Sequence[Take]) -> list[Take]:
        placed: dict[str, Take] = {}
        for take in takes:
            if not (0 < take.capacity < inf and 0 < take.rate < inf and -inf < take.amount < inf):
                raise ValueError(f"not a bucket, or not an amount: {take}")
            placed[take.key] = Take(self._prefix + take.key, take.capacity, take.rate, take.amount)
        if len(placed) < len(takes):
            raise ValueError(f"each bucket may stand once: {takes}")
        return list(placed.values())


class _Entry(msgspec.Struct, Generic[T], frozen=True):
    value: T
    expires: float
    size: int


class _Shelf(Generic[T]):
    """Entries that expire, within a bound: the oldest written make room."""

    def __init__(self, clock: Callable[[], float], room: int) -> None:
        self._clock = clock
        self._room = room
        self._used = 0
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._round: Iterator[str] = iter(())

    def get(self, key: str) -> _Entry[T] | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock():
            self.drop(key)
            return None
        return entry

    def put(self, key: str, value: T, expires: float, size: int = 1) -> None:
        if (old := self._entries.pop(key, None)) is not None:
            self._used -= old.size
        else:
            self._look_around()
        if size <= self._room:
            self._entries[key] = _Entry(value, expires, size)
            self._used += size
        while self._used > self._room:
            self._used -= self._entries.popitem(last=False)[1].size

    def drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        self._used -= 0 if entry is None else entry.size

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self._entries if key.startswith(prefix)]

    def clear(self, prefix: str) -> int:
        found = self.keys(prefix)
        count = sum(self.get(key) is not None for key in found)
        for key in found:
            self.drop(key)
        return count

    def _look_around(self) -> None:
        """Look at two entries when one is added, so that what has expired goes even if nobody asks for it."""
        if not (keys := list(islice(self._round, 2))):
            self._round = iter(list(self._entries))
        for key in keys:
            self.get(key)


class MemoryStore(Store):
    """State of one process; gone when it ends. Values are kept encoded, so nobody can change them from outside."""

    def __init__(self, clock: Callable[[], float], room: int = 256 * 1024 * 1024, count: int = 250_000) -> None:
        """`clock` gives seconds and never goes back.

        Beyond `room` bytes of values, and `count` of counters, of buckets and of leased keys, the oldest written go.
        """
        self._clock = clock
        self._values: _Shelf[bytes] = _Shelf(clock, room)
        self._numbers: _Shelf[float] = _Shelf(clock, count)  # apart, lest a cache push counters out
        self._buckets: _Shelf[tuple[float, float]] = _Shelf(clock, count)  # level, when
        self._leases: _Shelf[dict[str, float]] = _Shelf(clock, count)  # holder: when it ends
        self._shelves: tuple[_Shelf[Any], ...] = (self._values, self._numbers, self._buckets, self._leases)

    async def get(self, key: str, type: Any) -> Any:
        if (entry := self._values.get(key)) is not None:
            return msgspec.json.decode(entry.value, type=type)
        number = self._numbers.get(key)
        return None if number is None else msgspec.json.decode(b"%.17g" % number.value, type=type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        data = msgspec.json.encode(value)
        self._numbers.drop(key)
        self._values.put(key, data, self._end(ttl), len(key) + len(data) + 200)

    async def delete(self, key: str) -> None:
        for shelf in self._shelves:
            shelf.drop(key)

    async def clear(self, prefix: str) -> int:
        values, numbers, *_ = [shelf.clear(prefix) for shelf in self._shelves]
        return values + numbers

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        for shelf in (self._values, self._numbers):
            for key in shelf.keys(prefix):
                if shelf.get(key) is not None:
                    yield key

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        total, expires = float(amount), self._end(ttl)
        if (number := self._numbers.get(key)) is not None:
            total, expires = number.value + amount, number.expires
        elif (entry := self._values.get(key)) is not None:
            total, expires = msgspec.json.decode(entry.value, type=float) + amount, entry.expires
            self._values.drop(key)
        self._numbers.put(key, total, expires)
        return total

    async def take(self, takes: Sequence[Take]) -> float:
        now = self._clock()
        levels = [self._level(take, now) for take in takes]
        wait = max(map(Take.wait, takes, levels), default=0.0)
        if not wait:
            self._charge(takes, levels, now)
        return wait

    async def settle(self, takes: Sequence[Take]) -> None:
        now = self._clock()
        self._charge(takes, [self._level(take, now) for take in takes], now)

    async def levels(self, takes: Sequence[Take]) -> list[float]:
        now = self._clock()
        return [self._level(take, now) for take in takes]

    async def hold(self, key: str, limit: int, holder: str, ttl: float) -> bool:
        now = self._clock()
        entry = self._leases.get(key)
        held = {} if entry is None else {who: end for who, end in entry.value.items() if end > now}
        if holder not in held and len(held) >= limit:
            return False
        held[holder] = now + ttl
        self._leases.put(key, held, max(held.values()))
        return True

    async def release(self, key: str, holder: str) -> None:
        entry = self._leases.get(key)
        if entry is not None:
            entry.value.pop(holder, None)
            if not entry.value:
                self._leases.drop(key)

    async def held(self, key: str) -> int:
        entry, now = self._leases.get(key), self._clock()
        return 0 if entry is None else sum(end > now for end in entry.value.values())

    def _end(self, ttl: float | None) -> float:
        return inf if ttl is None else self._clock() + ttl

    def _level(self, take: Take, now: float) -> float:
        entry = self._buckets.get(take.key)
        if entry is None:
            return take.capacity
        level, then = entry.value
        return take.level(level, now - then)

    def _charge(self, takes: Sequence[Take], levels: Sequence[float], now: float) -> None:
        for take, level in zip(takes, levels, strict=True):
            rest = take.rest(level)
            self._buckets.put(take.key, (rest, now), now + take.refill(rest))
