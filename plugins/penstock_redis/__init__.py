"""The store `redis://HOST`: state that all workers of all hosts share, on one Redis or Valkey server."""

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock import Store, Take

from . import scripts
from .address import parse

PAGE = 1000
"""Keys that one step of `clear` or `keys` looks at."""
CENTURY = 100 * 365 * 86_400
"""Seconds; longer times are as good as that."""


class RedisStore(Store):
    """A store on a Redis server, version 6 or later, or Valkey. Every verb is one round trip.

    Only `clear` and `keys` are several: they look at the server's keys page by page, to leave it time for others.
    """

    def __init__(self, url: str, folder: Path) -> None:
        """Connects to nothing yet. Raises ValueError for a wrong url, or when the client library is missing."""
        address = parse(url)
        try:
            from .client import Client
        except ImportError as error:
            raise ValueError(f"it needs the extra 'redis': pip install 'penstock[redis]' ({error})") from None
        self._client = Client(address)

    async def open(self) -> None:
        await self._client.check()

    async def get(self, key: str, type: Any) -> Any:
        data = await self._client.command("GET", _value(key))
        return None if data is None else msgspec.json.decode(data, type=type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        data = msgspec.json.encode(value)
        if ttl is None:
            await self._client.command("SET", _value(key), data)
        elif ttl > 0:
            await self._client.command("SET", _value(key), data, "PX", _milliseconds(ttl))
        else:
            await self._client.command("DEL", _value(key))

    async def delete(self, key: str) -> None:
        await self._client.command("UNLINK", _value(key), _bucket(key), _leases(key))

    async def clear(self, prefix: str) -> int:
        pattern = b"penstock:[vbl]:" + _beginning(prefix)
        count, cursor = 0, b"0"
        while True:
            page: tuple[bytes, int] = await self._client.script(scripts.CLEAR, [], cursor, pattern, PAGE)
            cursor, count = page[0], count + page[1]
            if cursor == b"0":
                return count

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        pattern, cursor = _value("") + _beginning(prefix), b""
        while cursor != b"0":
            page: tuple[bytes, list[bytes]]
            page = await self._client.command("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", PAGE)
            cursor = page[0]
            for key in page[1]:
                yield key.removeprefix(_value("")).decode()

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        until = "" if ttl is None else _milliseconds(ttl)
        total = await self._client.script(scripts.ADD, [_value(key)], float(amount), until)
        return msgspec.json.decode(total, type=float)

    async def take(self, takes: Sequence[Take]) -> float:
        return await self._take("take", takes)

    async def settle(self, takes: Sequence[Take]) -> None:
        await self._take("settle", takes)

    async def levels(self, takes: Sequence[Take]) -> list[float]:
        if not takes:
            return []
        numbers = [number for take in takes for number in (take.capacity, take.rate)]
        found: list[bytes] = await self._client.script(scripts.LEVELS, [_bucket(take.key) for take in takes], *numbers)
        return [float(level) for level in found]

    async def hold(self, key: str, limit: int, holder: str, ttl: float) -> bool:
        given: int = await self._client.script(scripts.HOLD, [_leases(key)], limit, holder, _milliseconds(ttl))
        return given == 1

    async def release(self, key: str, holder: str) -> None:
        await self._client.command("ZREM", _leases(key), holder)

    async def held(self, key: str) -> int:
        count: int = await self._client.script(scripts.HELD, [_leases(key)])
        return count

    async def close(self) -> None:
        await self._client.close()

    async def _take(self, verb: str, takes: Sequence[Take]) -> float:
        if not takes:
            return 0.0
        numbers = [float(number) for take in takes for number in (take.capacity, take.rate, take.amount)]
        return float(await self._client.script(scripts.TAKE, [_bucket(take.key) for take in takes], verb, *numbers))


def _value(key: str) -> bytes:
    return b"penstock:v:" + key.encode()


def _bucket(key: str) -> bytes:
    return b"penstock:b:" + key.encode()


def _leases(key: str) -> bytes:
    return b"penstock:l:" + key.encode()


def _beginning(prefix: str) -> bytes:
    """A pattern of the server for what begins with these very characters."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix.encode()) + b"*"


def _milliseconds(seconds: float) -> int:
    """The server counts in whole ones, of which none would be an error."""
    return max(1, round(min(seconds, CENTURY) * 1000))
