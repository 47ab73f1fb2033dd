"""The database behind `Database`: engine, migrations, errors. The one module of the core that uses SQLAlchemy."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, event, exc, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from penstock.database import SQLITE, Database, DatabaseUnavailable, Schema, check_url

PATIENCE = 10
"""Seconds for which an answer of a server is waited for, and at the start another that is making tables."""
BUSY = 2.0
"""Seconds for which another writer of an SQLite file is waited for; nothing can cut that wait short."""
CONNECTIONS = 4
"""To one server at once, by each process."""

_READS = "penstock_reads"
_LOCK = 0x50535442  # what PostgreSQL's advisory lock is called while tables are made: "PSTB"
_DONE = 2.0  # seconds for connections to close


class Engine:
    """Connections to the database of a gateway; none is made before it is needed."""

    def __init__(self, url: str, folder: Path) -> None:
        """`url` is `sqlite:` and a path below `folder`, or `postgresql://...`. Raises ValueError."""
        check_url(url)
        self._file = (folder / url.removeprefix(SQLITE)).resolve() if url.startswith(SQLITE) else None
        self.name = str(self._file or "postgresql://" + url.rpartition("@")[2].rpartition("://")[2].partition("?")[0])
        """What messages call it: without login and options."""
        self.writing = _sqlite_engine(self._file) if self._file else _postgres_engine(url, self.name)
        self.reading = self.writing.execution_options(**{_READS: True})
        self._opened: set[str] = set()
        self._opening = asyncio.Lock()

    def database(self, schema: Schema) -> Database:
        """The database as the plugin with this schema sees it."""
        return _Database(self, schema)

    async def open(self, schema: Schema) -> None:
        """Make or update the tables of a schema, unless that has been done. Raises as `Database.open` does."""
        async with self._opening:
            if schema.name not in self._opened:
                self.make_file()
                await self._migrate(schema)
                self._opened.add(schema.name)

    def make_file(self) -> None:
        """Make the file of SQLite if there is none; only its owner may read it. Raises DatabaseUnavailable."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise DatabaseUnavailable(f"the database {self.name} cannot be made: {error.strerror}") from error

    async def close(self) -> None:
        """Close all connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DONE):
                await self.writing.dispose()

    async def _migrate(self, schema: Schema) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                async with transaction(self.writing, self.name) as connection:
                    await connection.run_sync(migrate, schema, self.name)
                return
            except DatabaseUnavailable as error:  # several at a new file: SQLite sends some away without a wait
                if not _is_busy(error) or asyncio.get_running_loop().time() > end:
                    raise
            await asyncio.sleep(0.02)


class _Database(Database):
    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._schema = schema

    async def open(self) -> None:
        await self._engine.open(self._schema)

    def begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return transaction(self._engine.writing, self._engine.name)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return transaction(self._engine.reading, self._engine.name)

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        is_sqlite = self._engine.writing.dialect.name == "sqlite"
        return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


@asynccontextmanager
async def transaction(engine: AsyncEngine, name: str) -> AsyncGenerator[AsyncConnection]:
    """A connection inside a transaction. Raises DatabaseUnavailable when the database is away."""
    with _away(name):
        async with engine.begin() as connection:
            yield connection


@contextmanager
def _away(name: str) -> Iterator[None]:
    """Errors that say the database is away as DatabaseUnavailable; a mistake in a statement stays what it is."""
    try:
        yield
    except TimeoutError:
        raise DatabaseUnavailable(f"the database {name} did not answer in time") from None
    except OSError as error:
        raise DatabaseUnavailable(f"the database {name} cannot be reached: {error.strerror or error}") from error
    except exc.DBAPIError as error:
        if isinstance(error.orig, sqlite3.DatabaseError) and _code(error.orig) == sqlite3.SQLITE_NOTADB:
            raise ValueError(f"{name} is no SQLite file: name another file") from None
        if not isinstance(error, exc.OperationalError | exc.InterfaceError) and not error.connection_invalidated:
            raise
        raise DatabaseUnavailable(f"the database {name} cannot be used: {error.orig}") from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailable(f"the database {name} has no connection to spare") from error


def _is_busy(error: DatabaseUnavailable) -> bool:
    cause = getattr(error.__cause__, "orig", None)
    return isinstance(cause, sqlite3.Error) and _code(cause) == sqlite3.SQLITE_BUSY


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


# ---------------------------------------------------------------- SQLite


def _sqlite_engine(path: Path) -> AsyncEngine:
    try:
        import aiosqlite  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"a database needs more than is installed ({error.name}): {_extra('database')}") from None
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)), connect_args={"timeout": BUSY})
    # Many rows in one statement: after each, the thread that writes would wait for the interpreter, 5 ms if it is busy.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    """WAL: readers and the writer do not wait for each other. `full`: what was committed survives a loss of power."""
    connection.isolation_level = None  # transactions begin where we say
    cursor = connection.cursor()
    for setting in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        cursor.execute(f"pragma {setting}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    """A writer waits for others when it begins: later, what it has read may be old, and it would fail."""
    connection.exec_driver_sql("begin" if connection.get_execution_options().get(_READS) else "begin immediate")


# ---------------------------------------------------------------- PostgreSQL


def _postgres_engine(url: str, name: str) -> AsyncEngine:
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise ValueError(f"PostgreSQL needs more than is installed (asyncpg): {_extra('postgres')}") from None
    may_yet = (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, asyncpg.PostgresConnectionError)

    async def connect() -> Any:
        try:
            return await asyncpg.connect(url, timeout=PATIENCE, command_timeout=PATIENCE)
        except may_yet as error:
            raise DatabaseUnavailable(f"the database {name} cannot be reached: {error}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ValueError(f"the database {name} refuses us: {error}") from None

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=CONNECTIONS, max_overflow=0, pool_pre_ping=True
    )


def _extra(name: str) -> str:
    return f"pip install 'penstock[{name}]'"


# ---------------------------------------------------------------- tables


def migrate(connection: Connection, schema: Schema, name: str) -> None:
    """Bring the tables to the newest revision, one process at a time. Raises ValueError if they are not ours."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
    elif connection.exec_driver_sql("pragma application_id").scalar():
        raise ValueError(f"{name} belongs to something else: name another file")
    version_table = f"penstock_{schema.name}_version"
    _refuse_foreign(connection, schema, version_table, name)
    folder = str(schema.migrations)
    script = ScriptDirectory(folder, version_locations=[folder])
    with EnvironmentContext(_no_config(), script, fn=_steps(script, name)) as environment:
        environment.configure(connection=connection, target_metadata=schema.metadata, version_table=version_table)
        environment.run_migrations()


def _refuse_foreign(connection: Connection, schema: Schema, version_table: str, name: str) -> None:
    there = set(inspect(connection).get_table_names())
    foreign = sorted(there & set(schema.metadata.tables))
    if foreign and version_table not in there:
        raise ValueError(f"{name} has a table {foreign[0]!r} that Penstock did not make: name another database")


def _no_config() -> Any:
    from alembic.config import Config

    return Config()


def _steps(script: Any, name: str) -> Callable[[tuple[str, ...], Any], list[Any]]:
    from alembic.runtime.migration import MigrationStep

    known = {revision.revision for revision in script.walk_revisions()}

    def missing(current: tuple[str, ...], _context: Any) -> list[Any]:
        if unknown := set(current) - known:
            raise ValueError(f"{name} was made by a newer Penstock, with revision {unknown.pop()}: update this one")
        revisions = reversed(list(script.iterate_revisions("head", current or "base")))
        return [MigrationStep.upgrade_from_script(script.revision_map, revision) for revision in revisions]

    return missing
