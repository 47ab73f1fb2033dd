"""From the exchanges to the journal, and from there to the database: nothing here is waited for by a request."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from penstock import Database, Exchange, Usage

from .journal import BATCH, Journal
from .record import Record, record
from .writer import Writer

PAUSE = 0.2
"""Seconds for which records are gathered before they are written to the journal together."""
GLANCE_EVERY = 0.75
"""Seconds after which the tokens of an exchange that is under way are written down again."""
CARRY_EVERY = 0.5
"""Seconds between two transactions, lest their own cost outweighs that of the records."""
RETRY = 1.0
"""Seconds until a database that was away is asked again."""
LOOK_EVERY = 10.0
"""Seconds between two looks for the journals of the dead."""
KEEP = 4 << 20
"""Bytes of a journal that may stay although the database has them."""
MOST = 20_000
"""Records that are held in memory while the journal cannot be written."""
FAREWELL = 3.0
"""Seconds that the end of a generation waits for the database."""


class _Open:
    """An exchange under way: when it was or will be looked at, and what had been seen then."""

    __slots__ = ("exchange", "next", "seen")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.next = exchange.started + GLANCE_EVERY
        self.seen: tuple[int, Usage] | None = None

    def changed(self, now: float) -> bool:
        """Whether it is time to write it down, and there is something new to say."""
        seen = len(self.exchange.attempts), self.exchange.usage
        if now < self.next or seen == self.seen:
            return False
        self.seen, self.next = seen, now + GLANCE_EVERY
        return True


class Keeper:
    """Keeps the records of one step."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        log: logging.LoggerAdapter[logging.Logger],
        clock: Callable[[], float],
        keep: float,
    ) -> None:
        """`folder` is that of the journals. `clock` is the one of the exchanges.

        Records are kept for `keep` seconds, 0 for ever. Raises OSError.
        """
        self._folder = folder
        self._database = database
        self._writer = Writer(database)
        self._log = log
        self._clock = clock
        self._keep = timedelta(seconds=keep)
        self._journal = Journal.create(folder)
        self._carried = 0
        self._open: dict[str, _Open] = {}
        self._waiting: deque[Record] = deque()
        self._troubles: set[str] = set()
        self._wake, self._full, self._more = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._flushing, self._carrying = asyncio.Lock(), asyncio.Lock()
        self._looked = clock() - LOOK_EVERY

    # ------------------------------------------------------------ from the exchanges

    def begin(self, exchange: Exchange) -> None:
        """An exchange is under way."""
        self._open[exchange.id] = _Open(exchange)
        self._wake.set()

    def end(self, exchange: Exchange) -> None:
        """An exchange has ended."""
        self._open.pop(exchange.id, None)
        self._waiting.append(record(exchange, datetime.now(UTC), self._clock()))
        self._make_room()
        self._wake.set()
        if len(self._waiting) >= BATCH:
            self._full.set()

    # ------------------------------------------------------------ to the journal

    async def keep(self) -> None:
        """Write what comes to the journal, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._full.wait()
            self._full.clear()
            try:
                await self.flush()
            except Exception:  # somebody's prices, for example; the others' records must go on
                self._log.exception("mistake in a record")
                await asyncio.sleep(RETRY)
            if self._open or self._waiting:
                self._wake.set()

    async def flush(self) -> None:
        """Write to the journal what waits; if that fails to the database; if both fail it goes on waiting."""
        async with self._flushing:
            self._glance()
            batch, taken = list(self._waiting), False
            self._waiting.clear()
            try:
                taken = not batch or await self._take(batch)
            finally:
                if not taken:
                    self._waiting.extendleft(reversed(batch))
                    self._make_room()

    async def _take(self, batch: list[Record]) -> bool:
        try:
            await asyncio.to_thread(self._journal.append, batch)
        except OSError as error:
            self._trouble("journal", f"the journal {self._journal.path} cannot be written: {error.strerror}")
            return await self._without_journal(batch)
        self._well("journal", "the journal can be written again")
        self._more.set()
        return True

    def _glance(self) -> None:
        """Write down the tokens of exchanges that are under way: they count if this process is killed."""
        now = self._clock()
        self._waiting += [
            record(each.exchange, datetime.now(UTC), now) for each in self._open.values() if each.changed(now)
        ]

    async def _without_journal(self, batch: list[Record]) -> bool:
        try:
            await self._database.open()
            await self._writer.write([each for each in batch if each.outcome != "open"])
        except Exception as error:
            self._trouble("database", _words(error))
            return False
        return True

    def _make_room(self) -> None:
        """The oldest records go when neither journal nor database has taken any for long."""
        while len(self._waiting) > MOST:
            self._waiting.popleft()
            self._trouble("memory", "records of the ledger are lost: neither the journal nor the database takes them")

    # ------------------------------------------------------------ to the database

    async def carry(self) -> None:
        """Carry records from the journals to the database, for ever."""
        while True:
            try:
                await self._database.open()
                await self.carry_own()
                await self._carry_left()
            except Exception as error:
                self._trouble("database", f"{_words(error)}; records wait in {self._folder}")
                await asyncio.sleep(RETRY)
                continue
            self._well("database", "the database takes records again")
            await asyncio.sleep(CARRY_EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._more.wait()
            self._more.clear()

    async def carry_own(self) -> None:
        """Carry everything that is in this step's own journal."""
        async with self._carrying:
            while await self._carry_batch():
                pass

    async def _carry_batch(self) -> bool:
        """Carry some records; whether there may be more."""
        records, behind = await asyncio.to_thread(self._journal.read, self._carried)
        await self._writer.write([each for each in records if each.outcome != "open"])
        self._carried = behind
        if behind > KEEP and await asyncio.to_thread(self._journal.clear, behind):
            self._carried = 0
            for each in self._open.values():  # what was seen of them is gone with the rest
                each.seen = None
        return len(records) >= BATCH

    async def _carry_left(self) -> None:
        """Carry what writers have left who were killed, or had no database at their end."""
        if self._clock() - self._looked < LOOK_EVERY:
            return
        self._looked = self._clock()
        for journal in Journal.left(self._folder):
            done = False
            try:
                count = await self._carry_over(journal)
                done = True
                self._log.warning("%d records of %s, whose writer is gone, are in the ledger", count, journal.path.name)
            finally:
                journal.close(remove=done)

    async def _carry_over(self, journal: Journal) -> int:
        """Carry a whole journal; what was under way at its end counts as it was when it was last seen."""
        position, count = 0, 0
        under_way: dict[str, Record] = {}
        while True:
            records, behind = await asyncio.to_thread(journal.read, position)
            if behind == position:
                break
            records = self._young(records, journal)
            ended = [each for each in records if each.outcome != "open"]
            under_way.update((each.id, each) for each in records if each.outcome == "open")
            for each in ended:
                under_way.pop(each.id, None)
            count += await self._writer.write(ended)
            position = behind
        for each in under_way.values():
            each.outcome = "killed"
        return count + await self._writer.write(list(under_way.values()))

    def _young(self, records: list[Record], journal: Journal) -> list[Record]:
        """Those that are still in the database if they have ever been there: others might be counted twice."""
        if not self._keep:
            return records
        since = datetime.now(UTC) - self._keep + timedelta(days=1)
        young = [each for each in records if each.time > since]
        if left_out := len(records) - len(young):
            self._log.warning("%d records of %s are older than `keep`: they are left out", left_out, journal.path.name)
        return young

    # ------------------------------------------------------------ the end, and trouble

    async def close(self) -> None:
        """Write what is left; what the database does not take in time stays in the journal for the next to start."""
        await self.flush()
        done = False
        try:
            async with asyncio.timeout(FAREWELL):
                if not self._journal.clear(self._carried):
                    await self._database.open()
                    await self.carry_own()
                done = not self._waiting
        except Exception as error:
            self._log.warning("records of the ledger wait in %s: %s", self._journal.path, _words(error))
        self._journal.close(remove=done)

    def _trouble(self, what: str, message: str) -> None:
        """Once for each time that something stops working: a full disk must not fill another one."""
        if what not in self._troubles:
            self._troubles.add(what)
            self._log.error("%s", message)

    def _well(self, what: str, message: str) -> None:
        if what in self._troubles:
            self._troubles.discard(what)
            self._log.warning("%s", message)


def _words(error: Exception) -> str:
    return str(error) or "no answer in time"
