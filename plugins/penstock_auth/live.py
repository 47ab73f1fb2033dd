"""The keys of the database as this process knows them: in memory, looked after once a second, never waited for."""

import asyncio
import logging
from collections.abc import Callable

from penstock import DatabaseUnavailable, Overloaded

from .keyring import Keyring
from .keystore import KeyStore

POLL = 1.0
"""Seconds between two looks at the version of the keys."""
DEADLINE = 5.0
"""Seconds that a look may take before the database counts as away."""

Log = logging.LoggerAdapter[logging.Logger]


class LiveKeys:
    """The keyring of the last good look. While the database is away it stays in use for `stale` seconds."""

    def __init__(self, store: KeyStore, pepper: bytes, stale: float, log: Log, clock: Callable[[], float]) -> None:
        self._store = store
        self._pepper = pepper
        self._stale = stale
        self._log = log
        self._clock = clock
        self._keyring = Keyring([], [], None)
        self._version = -1
        self._seen = -stale
        self._away = False
        self._looking = asyncio.Lock()

    async def open(self) -> None:
        """Read all keys. Raises ValueError, DatabaseUnavailable."""
        try:
            async with asyncio.timeout(DEADLINE):
                await self._store.open()
                await self._read()
        except TimeoutError:
            raise DatabaseUnavailable("the database with the keys did not answer in time") from None

    async def watch(self) -> None:
        """Look for changes for ever. Whatever goes wrong with that, the keys in use get older, and are told to be."""
        while True:
            await asyncio.sleep(POLL)
            try:
                async with asyncio.timeout(DEADLINE):
                    await self.refresh()
            except Exception as error:
                self._note(error)

    async def refresh(self) -> None:
        """Take over what has changed: also an older version, as of a backup. Raises DatabaseUnavailable."""
        async with self._looking:
            started = self._clock()
            if await self._store.version() != self._version:
                await self._read()
            self._seen = started
        if self._away:
            self._away = False
            self._log.warning("the database with the keys is back")

    def keyring(self) -> Keyring:
        """The keys in use. Raises Overloaded when they are too old to be trusted."""
        if self._clock() - self._seen > self._stale:
            raise Overloaded("the gateway cannot read its API keys at the moment: try again later", retry_after=10.0)
        return self._keyring

    async def _read(self) -> None:
        started = self._clock()
        self._version, keys, hashes = await self._store.snapshot()
        self._keyring = Keyring(keys, hashes, self._pepper)
        self._seen = started

    def _note(self, error: Exception) -> None:
        if not self._away:
            reason = str(error) if isinstance(error, DatabaseUnavailable) else f"{type(error).__name__} {error}".strip()
            self._log.warning("the keys of %g s ago stay in use for at most %g s: %s", self._age, self._stale, reason)
        self._away = True

    @property
    def _age(self) -> float:
        return round(self._clock() - self._seen)
