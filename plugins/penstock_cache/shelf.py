"""The answers in the store. A store that is away is as good as an empty one."""

import asyncio
from logging import Logger, LoggerAdapter

import msgspec

from penstock import Clock, Store, StoreUnavailable
from penstock_cache.entry import Entry

_PREFIX = "answer/1/"  # another number if Entry changes
_PATIENCE = 0.25  # seconds for the store to answer: a client waits
_REST = 5.0  # seconds before a store that was away is asked again


class Shelf:
    """Finds, keeps and forgets answers. Only `clear` ever raises StoreUnavailable."""

    def __init__(self, store: Store, ttl: float, clock: Clock, log: "LoggerAdapter[Logger]") -> None:
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._log = log
        self._away_until: float | None = None

    async def find(self, key: str) -> Entry | None:
        """The answer under a key."""
        if self._is_away():
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                entry: Entry | None = await self._store.get(_PREFIX + key, Entry)
        except (StoreUnavailable, TimeoutError) as error:
            self._note_away(error)
            return None
        except msgspec.DecodeError:
            return None  # of another version of the gateway
        self._note_back()
        return entry

    async def keep(self, key: str, entry: Entry) -> None:
        """Put an answer there for its time."""
        if self._is_away():
            return
        try:
            await self._store.set(_PREFIX + key, entry, self._ttl)
        except StoreUnavailable as error:
            self._note_away(error)
        else:
            self._note_back()

    async def clear(self) -> int:
        """Forget all answers; says how many there were. Raises StoreUnavailable."""
        return await self._store.clear(_PREFIX)

    # ------------------------------------------------------------ outages

    def _is_away(self) -> bool:
        return self._away_until is not None and self._clock() < self._away_until

    def _note_away(self, error: Exception) -> None:
        if self._away_until is None:
            reason = str(error) or f"it did not answer within {_PATIENCE:g} s"
            self._log.warning("the store is away, nothing is answered from the cache: %s", reason)
        self._away_until = self._clock() + _REST

    def _note_back(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            self._log.warning("the store is back")
