"""What must be kept, in tables: what a plugin brings, what it gets. No library for databases is imported here."""

import re
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.ext.asyncio import AsyncConnection

SQLITE = "sqlite:"
POSTGRES = ("postgresql://", "postgres://")

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\],]*)(?::\d+)?"
_SERVER = re.compile(
    rf"postgres(?:ql)?://(?:[^/?#\[\]]*@)?{_HOST}(?:,{_HOST})*(?:/[^/?#@]*)?(?:\?(?:[\w.-]+=[^&#@]*(?:&|$))*)?"
)


class DatabaseUnavailable(Exception):
    """The database could not be reached, or did not answer in time. Whether it has done what was asked is unknown.

    The message is one short sentence for the log.
    """


class Schema(NamedTuple):
    """The tables of one plugin, and a folder of alembic migrations that make them, which is part of its package.

    A migration adds; it never takes away or changes what an older release that still runs may use. The revision is
    kept in a table `penstock_<name>_version`. Names of tables begin with `penstock_`, for the database may be shared.
    """

    name: str
    metadata: "MetaData"
    migrations: Path


class Database(ABC):
    """The gateway's database, as one plugin sees it: with its own tables, which `open` has made.

    Only for what waits for nobody: no request may wait for a database.
    """

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make or update the tables; what has been done is not done again.

        Raises ValueError if that can never work: tables of these names belong to something else or to a newer
        release, the login is refused. Raises DatabaseUnavailable if it may work later.
        """

    @abstractmethod
    def begin(self) -> AbstractAsyncContextManager["AsyncConnection"]:
        """A transaction that writes: committed at the end, or undone by an exception. Raises DatabaseUnavailable.

        SQLite has one writer at a time, and others wait for it: keep it short.
        """

    @abstractmethod
    def read(self) -> AbstractAsyncContextManager["AsyncConnection"]:
        """A transaction that only reads, and waits for no writer. Raises DatabaseUnavailable."""

    @abstractmethod
    def insert(self, table: "Table") -> "sqlite.Insert | postgresql.Insert":
        """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""


def check_url(url: str) -> None:
    """Whether this names a database: `sqlite:` and a path, or `postgresql://...`. Raises ValueError.

    The message repeats nothing of it: of a password that is not encoded, libraries take a part for something else.
    """
    if url.startswith(SQLITE) and url != SQLITE and not url.startswith("sqlite://"):
        return
    if not _SERVER.fullmatch(url):
        raise ValueError(
            "expected sqlite: and the path of a file, or postgresql://user:password@host:port/database; in a password,"
            " characters such as / ? # [ ] must be written as %2F %3F %23 %5B %5D"
        )
