"""The answers in the store. A store that is away is as good as an empty one."""

import asyncio
from collections.abc import AsyncIterator
from logging import Logger, LoggerAdapter

import msgspec

from penstock import Clock, Store, StoreUnavailable

from .entry import Entry

_ANSWER = "answer/2/"  # another number if Entry changes
_CARD = "card/2/"
_HITS = "hits/2/"
_PATIENCE = 0.25  # seconds for the store to answer: a client waits
_REST = 5.0  # seconds before a store that was away is asked again


class Card(msgspec.Struct, frozen=True):
    """What is told of an answer. `made` and `expires` are in seconds since 1970, `size` is in bytes."""

    made: float
    expires: float
    size: int


class Shelf:
    """Finds, keeps and forgets answers. Only what is not for clients' requests raises StoreUnavailable."""

    def __init__(self, store: Store, ttl: float, clock: Clock, log: "LoggerAdapter[Logger]") -> None:
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._log = log
        self._away_until: float | None = None

    async def find(self, name: str) -> Entry | None:
        """The answer under a name."""
        if self._is_away():
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                entry: Entry | None = await self._store.get(_ANSWER + name, Entry)
        except (StoreUnavailable, TimeoutError) as error:
            self._note_away(error)
            return None
        except msgspec.DecodeError:
            return None  # of another version of the gateway
        self._note_back()
        return entry

    async def keep(self, name: str, entry: Entry) -> None:
        """Put an answer there for its time, and first its card: where room is scarce, the oldest goes."""
        if self._is_away():
            return
        data = msgspec.json.encode(entry)
        try:
            card = Card(entry.made, entry.made + self._ttl, len(data))
            await self._store.set(_CARD + name, card, self._ttl)
            await self._store.set(_ANSWER + name, msgspec.Raw(data), self._ttl)
        except StoreUnavailable as error:
            self._note_away(error)
        else:
            self._note_back()

    # ------------------------------------------------------------ for admins

    async def names(self, beginning: str) -> AsyncIterator[str]:
        """The names of the answers that are there, in no order."""
        async for key in self._store.keys(_ANSWER + beginning):
            yield key.removeprefix(_ANSWER)

    async def card(self, name: str) -> Card | None:
        """What is told of an answer, None if it has gone."""
        card: Card | None = await self._store.get(_CARD + name, Card)
        return card

    async def hits(self, name: str, card: Card) -> int:
        """How often an answer was given again."""
        return await self._store.get(hits_key(name, card.made), int) or 0

    async def entry(self, name: str) -> Entry | None:
        """The answer itself."""
        entry: Entry | None = await self._store.get(_ANSWER + name, Entry)
        return entry

    async def forget(self, name: str) -> int:
        """Forget one answer; says whether there was one."""
        found = await self.card(name)
        for kind in (_ANSWER, _CARD):
            await self._store.delete(kind + name)
        return int(found is not None)

    async def clear(self, beginning: str = "") -> int:
        """Forget all answers whose names begin so; says how many there were."""
        for kind in (_CARD, _HITS):
            await self._store.clear(kind + beginning)
        return await self._store.clear(_ANSWER + beginning)

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


def hits_key(name: str, made: float) -> str:
    """Where the hits of an answer are counted: one that replaces it begins anew."""
    return f"{_HITS}{name}/{made:.3f}"
