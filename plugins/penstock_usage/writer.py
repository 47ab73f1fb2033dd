"""Records into the database: each once, with its attempts, and into the sums of its day."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock import Database

from .record import Record
from .tables import ATTEMPT, DAY, USAGE

Row = dict[str, Any]

_KEY = [column.key for column in DAY.primary_key]
_SUMS = [column.key for column in DAY.c if not column.primary_key]
_SAME = [name for name in _SUMS if name.endswith(("_tokens", "_nano", "_ms", "searches"))]
"""The sums of what stands in a record by the same name."""


class Writer:
    """Writes batches of records."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = sa.select(USAGE.c.id).where(USAGE.c.id.in_(sa.bindparam("ids", expanding=True)))
        self._insert = sa.insert(USAGE)
        self._insert_attempts = sa.insert(ATTEMPT)
        insert = database.insert(DAY)
        sums = {DAY.c[name]: DAY.c[name] + insert.excluded[name] for name in _SUMS}
        self._add = insert.on_conflict_do_update(index_elements=list(DAY.primary_key), set_=sums)

    async def write(self, records: Sequence[Record]) -> int:
        """Write what is not there yet, in one transaction; how many that were. A record counts once, by its id.

        Raises what the database raises, and then nothing was written.
        """
        rows = {record.id: record for record in records}
        if not rows:
            return 0
        async with self._database.begin() as connection:
            for known in await connection.scalars(self._known, {"ids": list(rows)}):
                del rows[known]
            new = list(rows.values())
            if new:
                await connection.execute(self._insert, [_row(record) for record in new])
            if attempts := [_attempt(record, number) for record in new for number in range(len(record.attempts))]:
                await connection.execute(self._insert_attempts, attempts)
            if sums := summed(new):
                await connection.execute(self._add, sums)
        return len(new)


def _row(record: Record) -> Row:
    return {**msgspec.structs.asdict(record), "day": record.day, "attempts": len(record.attempts)}


def _attempt(record: Record, number: int) -> Row:
    return {"exchange": record.id, **msgspec.structs.asdict(record.attempts[number])}


def summed(records: Iterable[Record]) -> list[Row]:
    """The sums of answers by day, pipeline, team, user, key, model and upstream, in the order of these."""
    sums: dict[tuple[str, ...], Row] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for record in records:
        if record.operation == "generate":
            key = (record.day, record.pipeline, record.team, record.user, record.key)
            total = sums[(*key, record.asked_model, record.upstream)]
            for name, amount in _amounts(record).items():
                total[name] += amount
    # All writers go through the rows in one order, lest two of them wait for each other.
    return [{**dict(zip(_KEY, key, strict=True)), **sums[key]} for key in sorted(sums)]


def _amounts(record: Record) -> dict[str, int]:
    """What one record adds to the sums of its day."""
    return {
        **{name: getattr(record, name) for name in _SAME},
        "requests": 1,
        "errors": record.outcome == "error",
        "cancelled": record.outcome in ("cancelled", "killed"),
        "attempts": len(record.attempts),
        "estimated": record.estimated,
        "unpriced": record.answered == "upstream" and not record.price_known,
        "replays": record.replayed_tokens > 0,
    }
