"""The verbs of the store as SQL on one connection."""

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from penstock import Take

SWEEP_EVERY = 1.0
"""Seconds between two removals of what has expired."""
ROWS = 500
"""Rows that one removal takes at most: others are waiting."""

_TABLES = ("value", "bucket", "lease")
_SWEEPS = (
    "delete from value where rowid in (select rowid from value where expires <= ? limit ?)",
    "delete from bucket where key in (select key from bucket where expires <= ? limit ?)",
    "delete from lease where (key, holder) in (select key, holder from lease where expires <= ? limit ?)",
)
_PUT_VALUE = """insert into value values (?, ?, ?)
on conflict (key) do update set data = excluded.data, expires = excluded.expires"""
_PUT_BUCKET = """insert into bucket values (?, ?, ?, ?)
on conflict (key) do update set level = excluded.level, at = excluded.at, expires = excluded.expires"""
_PUT_LEASE = """insert into lease select ?1, ?2, ?3
where exists (select 1 from lease where key = ?1 and holder = ?2 and expires > ?4)
or (select count(*) from lease where key = ?1 and holder <> ?2 and expires > ?4) < ?5
on conflict (key, holder) do update set expires = excluded.expires"""


class State:
    """Not for several threads at once. Every verb may raise sqlite3.Error.

    The first verb that writes begins a transaction, which shuts out all other processes until `commit`. Times are those
    of the machine's clock, told inside the transaction: they mean the same to all processes, and after a restart.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._swept = clock()

    def commit(self) -> None:
        """Keep what the verbs have done since the last time."""
        if self._connection.in_transaction:
            self._sweep(self._clock())
            self._connection.commit()

    def close(self) -> None:
        """Let go of the file, and undo what the verbs have done since the last `commit`."""
        self._connection.close()

    def get(self, key: bytes) -> bytes | None:
        query = "select data from value where key = ? and (expires is null or expires > ?)"
        row = self._connection.execute(query, (key, self._clock())).fetchone()
        return None if row is None else row[0]

    def set(self, key: bytes, data: bytes, ttl: float | None) -> None:
        now = self._write()
        self._connection.execute(_PUT_VALUE, (key, data, None if ttl is None else now + ttl))

    def delete(self, key: bytes) -> None:
        self._write()
        for table in _TABLES:
            self._connection.execute(f"delete from {table} where key = ?", (key,))

    def clear(self, prefix: bytes) -> tuple[int, bool]:
        """Forget some of what is under a prefix: how many values that were, and whether there may be more."""
        now = self._write()
        part = "where key >= ? and key < ? order by key limit ?"
        span = (prefix, prefix + b"\xff", ROWS)  # no UTF-8 has that byte
        live = f"select count(*) from (select expires from value {part}) where expires is null or expires > ?"
        (count,) = self._connection.execute(live, (*span, now)).fetchone()
        forget = (f"delete from {table} where key in (select key from {table} {part})" for table in _TABLES)
        gone = [self._connection.execute(statement, span).rowcount for statement in forget]
        return count, max(gone) >= ROWS

    def keys(self, prefix: bytes, after: bytes | None) -> list[bytes]:
        """Some of the keys under a prefix, in order: the first ones, or those behind `after`."""
        begins, first = (">=", prefix) if after is None else (">", after)
        live = "(expires is null or expires > ?)"
        query = f"select key from value where key {begins} ? and key < ? and {live} order by key limit ?"
        rows = self._connection.execute(query, (first, prefix + b"\xff", self._clock(), ROWS))  # no UTF-8 has that byte
        return [row[0] for row in rows]

    def add(self, key: bytes, amount: float, ttl: float | None) -> float:
        now = self._write()
        query = "select data, expires from value where key = ? and (expires is null or expires > ?)"
        row = self._connection.execute(query, (key, now)).fetchone()
        total, expires = amount, None if ttl is None else now + ttl
        if row is not None:
            total, expires = msgspec.json.decode(row[0], type=float) + amount, row[1]
        self._connection.execute(_PUT_VALUE, (key, b"%.17g" % total, expires))
        return total

    def take(self, takes: Sequence[Take]) -> float:
        now = self._write()
        levels = [self._level(take, now) for take in takes]
        wait = max(map(Take.wait, takes, levels), default=0.0)
        if not wait:
            self._charge(takes, levels, now)
        return wait

    def settle(self, takes: Sequence[Take]) -> None:
        now = self._write()
        self._charge(takes, [self._level(take, now) for take in takes], now)

    def levels(self, takes: Sequence[Take]) -> list[float]:
        now = self._clock()
        return [self._level(take, now) for take in takes]

    def hold(self, key: bytes, limit: int, holder: bytes, ttl: float) -> bool:
        now = self._write()
        return self._connection.execute(_PUT_LEASE, (key, holder, now + ttl, now, limit)).rowcount > 0

    def release(self, key: bytes, holder: bytes) -> None:
        self._write()
        self._connection.execute("delete from lease where key = ? and holder = ?", (key, holder))

    def held(self, key: bytes) -> int:
        query = "select count(*) from lease where key = ? and expires > ?"
        (count,) = self._connection.execute(query, (key, self._clock())).fetchone()
        return int(count)

    def _level(self, take: Take, now: float) -> float:
        query = "select level, at from bucket where key = ?"
        row = self._connection.execute(query, (take.key.encode(),)).fetchone()
        return take.capacity if row is None else take.level(row[0], now - row[1])

    def _charge(self, takes: Sequence[Take], levels: Sequence[float], now: float) -> None:
        for take, level in zip(takes, levels, strict=True):
            rest = take.rest(level)
            self._connection.execute(_PUT_BUCKET, (take.key.encode(), rest, now, now + take.refill(rest)))

    def _write(self) -> float:
        """Begin to write, unless that was done; the time."""
        if not self._connection.in_transaction:
            self._connection.execute("begin immediate")
        return self._clock()

    def _sweep(self, now: float) -> None:
        if not 0 <= now - self._swept < SWEEP_EVERY:
            self._swept = now
            for statement in _SWEEPS:
                self._connection.execute(statement, (now, ROWS))
