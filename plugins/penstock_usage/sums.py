"""Sums over the ledger, by one of the names that it can be asked by."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from penstock import DOLLAR, Database

from .asking import Question
from .tables import DAY, USAGE

_MODEL = {"model": "asked_model"}  # what the column is called that the days sum up by
_CANCELLED = ("cancelled", "killed")


class Sums(msgspec.Struct, kw_only=True):
    """What some exchanges used. Costs in nano-dollars; `saved` by prompt caches, `replayed` by answers from a cache."""

    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    attempts: int = 0
    estimated: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    cache_saved_nano: int = 0
    replays: int = 0
    replayed_tokens: int = 0
    replayed_nano: int = 0
    duration_ms: int = 0
    searches: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens that were sent: fresh, read from a cache, written to one."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.cache_write_1h_tokens

    @property
    def cache_hit_rate(self) -> float:
        """The part of the tokens sent that came from a cache."""
        return self.cache_read_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    def add(self, other: "Sums") -> None:
        """Take in the sums of others."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def told(self) -> dict[str, Any]:
        """For JSON and CSV: money in dollars, all cache writes together."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "cancelled": self.cancelled,
            "attempts": self.attempts,
            "input_tokens": self.input_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens + self.cache_write_1h_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "web_searches": self.searches,
            "cost_usd": self.cost_nano / DOLLAR,
            "cache_hit_rate": round(self.cache_hit_rate, 4),
            "cache_saved_usd": self.cache_saved_nano / DOLLAR,
            "replays": self.replays,
            "replayed_tokens": self.replayed_tokens,
            "replays_saved_usd": self.replayed_nano / DOLLAR,
            "estimated": self.estimated,
            "unpriced": self.unpriced,
            "mean_seconds": round(self.duration_ms / 1000 / self.requests, 3) if self.requests else 0.0,
        }


class Line(NamedTuple):
    """One name and its sums. `about` is what else is known of a session; `costs` by day, in nano-dollars."""

    name: str
    sums: Sums
    about: Mapping[str, str]
    costs: dict[str, int]


async def lines(database: Database, by: str, asked: Question) -> list[Line]:
    """The sums by a name of BY: days in order, everything else by what it cost. Raises DatabaseUnavailable."""
    async with database.read() as connection:
        rows = list((await connection.execute(_by_day(by, asked))).mappings())
        about = {}
        if by == "session":
            about = {row["name"]: row for row in (await connection.execute(_sessions(asked))).mappings()}
    found = {
        name: Line(name, Sums(), _about(about.get(name)), {}) for name in dict.fromkeys(row["name"] for row in rows)
    }
    for row in rows:
        line, sums = found[row["name"]], _sums(row)
        line.sums.add(sums)
        line.costs[row["day"]] = sums.cost_nano
    return sorted(found.values(), key=_by_name if by == "day" else _by_cost)


async def remembered_since(database: Database, asked: Question) -> str:
    """The first day of which single exchanges are known, "" if none of those asked for have left the ledger.

    Raises DatabaseUnavailable.
    """
    names = {column.key for column in DAY.primary_key}
    asked = asked._replace(filters={name: value for name, value in asked.filters.items() if name in names})
    async with database.read() as connection:
        days = await connection.scalar(sa.select(sa.func.min(DAY.c.day)).where(*chosen(DAY, asked)))
        known = await connection.scalar(sa.select(sa.func.min(USAGE.c.day)).where(*chosen(USAGE, asked)))
    return "" if days is None or days == known else known or "today"


def total(found: list[Line]) -> Sums:
    """The sums of all lines."""
    result = Sums()
    for line in found:
        result.add(line.sums)
    return result


def _by_name(line: Line) -> Any:
    return line.name


def _by_cost(line: Line) -> Any:
    return -line.sums.cost_nano, -line.sums.requests, line.name


def _sums(row: Any) -> Sums:
    return Sums(**{name: int(row[name] or 0) for name in Sums.__struct_fields__})


def _about(row: Any) -> dict[str, str]:
    if row is None:
        return {}
    moments = {
        name: datetime.isoformat(row[name].replace(tzinfo=UTC), timespec="seconds") for name in ("first", "last")
    }
    return {"user": row["user"], "team": row["team"], "agent": row["agent"], **moments}


def _by_day(by: str, asked: Question) -> sa.Select[Any]:
    """Sums by name and day: from those of the days if they know the name, else from the exchanges."""
    table, sums = (DAY, _of_days()) if days_know(by, asked) else (USAGE, _of_exchanges())
    name, day = column(table, by).label("name"), table.c.day
    return sa.select(name, day.label("day"), *sums).where(*chosen(table, asked)).group_by(name, day).order_by(day)


def days_know(by: str, asked: Question) -> bool:
    """Whether the sums of the days have the answer; else it takes the exchanges."""
    return {by, *asked.filters} <= {column.key for column in DAY.primary_key}


def column(table: sa.Table, name: str) -> sa.Column[Any]:
    """The column of a name of BY."""
    return table.c[_MODEL.get(name, name) if table is USAGE else name]


def chosen(table: sa.Table, asked: Question) -> Iterator[sa.ColumnElement[bool]]:
    """The conditions under which a row is asked for."""
    yield table.c.day.between(asked.since, asked.until)
    if table is USAGE:
        yield table.c.operation == "generate"
    yield from (column(table, name) == value for name, value in asked.filters.items())


def _of_days() -> Iterator[sa.Label[Any]]:
    return (sa.func.sum(DAY.c[name]).label(name) for name in Sums.__struct_fields__)


def _of_exchanges() -> Iterator[sa.Label[Any]]:
    counted = {
        "requests": sa.true(),
        "errors": USAGE.c.outcome == "error",
        "cancelled": USAGE.c.outcome.in_(_CANCELLED),
        "estimated": USAGE.c.estimated,
        "unpriced": sa.and_(USAGE.c.answered == "upstream", sa.not_(USAGE.c.price_known)),
        "replays": USAGE.c.replayed_tokens > 0,
    }
    for name in Sums.__struct_fields__:
        amount = sa.case((counted[name], 1), else_=0) if name in counted else USAGE.c[name]
        yield sa.func.sum(amount).label(name)


def _sessions(asked: Question) -> sa.Select[Any]:
    first, last = sa.func.min(USAGE.c.time).label("first"), sa.func.max(USAGE.c.time).label("last")
    who = (sa.func.max(USAGE.c[name]).label(name) for name in ("user", "team", "agent"))
    name = USAGE.c.session.label("name")
    return sa.select(name, first, last, *who).where(*chosen(USAGE, asked)).group_by(name)
