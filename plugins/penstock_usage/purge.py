"""Old records leave the ledger: a few at a time, beside everything else. The sums of their days stay."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from penstock import Database, DatabaseUnavailable

from .tables import ATTEMPT, USAGE

EVERY = 3600.0
"""Seconds between two looks for old records."""
BATCH = 500
"""Records that leave in one transaction: others have to write, too."""
PAUSE = 0.1
"""Seconds between two transactions."""


class Purge:
    """Keeps the records of one pipeline for so many seconds, to the day."""

    def __init__(
        self, database: Database, pipeline: str, keep: float, log: logging.LoggerAdapter[logging.Logger]
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._keep = timedelta(seconds=keep)
        self._log = log

    async def run(self) -> None:
        """Look for old records, for ever. While the database is away they stay."""
        while True:
            try:
                await self._database.open()
                if gone := await self.purge(datetime.now(UTC)):
                    self._log.info("%d records of the ledger were older than `keep` and are gone", gone)
            except (DatabaseUnavailable, TimeoutError) as error:
                self._log.info("old records of the ledger stay for now: %s", str(error) or "no answer in time")
            await asyncio.sleep(EVERY)

    async def purge(self, now: datetime) -> int:
        """Remove what is too old; how many records that were. Raises DatabaseUnavailable."""
        first, total = (now - self._keep).date().isoformat(), 0
        while gone := await self._batch(first):
            total += gone
            await asyncio.sleep(PAUSE)
        return total

    async def _batch(self, first: str) -> int:
        old = sa.select(USAGE.c.id).where(USAGE.c.day < first, USAGE.c.pipeline == self._pipeline)
        async with self._database.begin() as connection:
            found = await connection.scalars(old.order_by(USAGE.c.day, USAGE.c.id).limit(BATCH))
            ids = found.all()
            if ids:
                await connection.execute(sa.delete(ATTEMPT).where(ATTEMPT.c.exchange.in_(ids)))
                await connection.execute(sa.delete(USAGE).where(USAGE.c.id.in_(ids)))
        return len(ids)
