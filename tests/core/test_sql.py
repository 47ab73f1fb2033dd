"""The database behind `Database`, with real files and a real PostgreSQL server: tables, transactions, failures."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from penstock import Database, DatabaseUnavailable, Schema
from penstock.sql import Engine
from tests.postgres_server import MISSING, PostgresServer, running_postgres

SCHEMAS = Path(__file__).parent / "schemas"
METADATA = sa.MetaData()
THING = sa.Table(
    "penstock_thing",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
)
FIRST = Schema("things", METADATA, SCHEMAS / "first")
SECOND = Schema("things", METADATA, SCHEMAS / "second")

needs_postgres = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def own() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return "sqlite:data/test.db"
    server: PostgresServer = request.getfixturevalue("shared")
    engine = Engine(server.url, tmp_path)
    async with engine.writing.begin() as connection:
        for table in ("penstock_thing", "penstock_things_version"):
            await connection.execute(sa.text(f"drop table if exists {table}"))
    await engine.close()
    return server.url


@pytest.fixture
async def engine(url: str, tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(url, tmp_path)
    yield engine
    await engine.close()


async def opened(engine: Engine, schema: Schema = FIRST) -> Database:
    database = engine.database(schema)
    await database.open()
    return database


async def add(database: Database, name: str, size: int = 1) -> None:
    async with database.begin() as connection:
        await connection.execute(sa.insert(THING), [{"name": name, "size": size}])


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(sa.select(THING.c.name).order_by(THING.c.name))).scalars())


# ---------------------------------------------------------------- tables


async def test_tables_are_made_once_and_kept(engine: Engine, url: str, tmp_path: Path) -> None:
    database = await opened(engine)
    await add(database, "a")
    await database.open()
    again = Engine(url, tmp_path)
    assert await names(await opened(again)) == ["a"]
    await again.close()


async def test_a_newer_release_adds_and_keeps_what_is_there(engine: Engine, url: str, tmp_path: Path) -> None:
    await add(await opened(engine), "a")
    newer = Engine(url, tmp_path)
    database = await opened(newer, SECOND)
    async with database.read() as connection:
        rows = await connection.execute(sa.text("select name, colour from penstock_thing"))
        assert [tuple(row) for row in rows] == [("a", "")]
    await add(engine.database(FIRST), "b")  # the older release still runs
    assert await names(database) == ["a", "b"]
    await newer.close()


async def test_the_tables_of_a_newer_release_are_left_alone(engine: Engine, url: str, tmp_path: Path) -> None:
    await opened(engine, SECOND)
    older = Engine(url, tmp_path)
    with pytest.raises(ValueError, match="made by a newer Penstock, with revision 0002: update this one"):
        await opened(older)
    await older.close()


async def test_foreign_tables_are_refused(engine: Engine) -> None:
    engine.make_file()
    async with engine.writing.begin() as connection:
        await connection.execute(sa.text("create table penstock_thing (colour text)"))
    with pytest.raises(ValueError, match="has a table 'penstock_thing' that Penstock did not make"):
        await opened(engine)
    async with engine.reading.begin() as connection:
        tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    assert "penstock_things_version" not in tables


async def test_other_tables_are_no_obstacle(engine: Engine) -> None:
    engine.make_file()
    async with engine.writing.begin() as connection:
        await connection.execute(sa.text("create table if not exists somebody_elses (colour text)"))
    assert await names(await opened(engine)) == []


MAKER = """
import asyncio, sys
from pathlib import Path
from penstock.sql import Engine
from tests.core.test_sql import SECOND
async def main():
    engine = Engine(sys.argv[1], Path(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    await engine.database(SECOND).open()
    await engine.close()
asyncio.run(main())
"""


async def test_processes_make_them_at_once(url: str, tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, url, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    assert [(maker.communicate()[1], maker.returncode) for maker in makers] == [("", 0)] * 4


# ---------------------------------------------------------------- transactions


async def test_a_failed_block_leaves_nothing(engine: Engine) -> None:
    database = await opened(engine)

    async def write() -> None:
        async with database.begin() as connection:
            await connection.execute(sa.insert(THING), [{"name": "a", "size": 1}])
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await write()
    assert await names(database) == []


async def test_a_cancelled_block_leaves_nothing(engine: Engine) -> None:
    database = await opened(engine)
    written = asyncio.Event()

    async def write() -> None:
        async with database.begin() as connection:
            await connection.execute(sa.insert(THING), [{"name": "a", "size": 1}])
            written.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(write())
    await written.wait()
    task.cancel()
    await asyncio.wait([task])
    await add(database, "b")
    assert await names(database) == ["b"]


async def test_a_mistake_in_the_data_is_not_the_databases_absence(engine: Engine) -> None:
    database = await opened(engine)
    await add(database, "a")
    with pytest.raises(IntegrityError):
        await add(database, "a")


async def test_an_insert_may_meet_what_is_there(engine: Engine) -> None:
    database = await opened(engine)
    await add(database, "a", 1)
    more = database.insert(THING)
    more = more.on_conflict_do_update(index_elements=["name"], set_={"size": THING.c.size + more.excluded.size})
    async with database.begin() as connection:
        await connection.execute(more, [{"name": "a", "size": 5}, {"name": "b", "size": 7}])
    async with database.read() as connection:
        rows = await connection.execute(sa.select(THING).order_by(THING.c.name))
        assert [tuple(row) for row in rows] == [("a", 6), ("b", 7)]


async def test_readers_do_not_wait_for_a_writer(engine: Engine) -> None:
    database = await opened(engine)
    await add(database, "a")
    async with database.begin() as connection:
        await connection.execute(sa.insert(THING), [{"name": "b", "size": 1}])
        assert await names(database) == ["a"]
    assert await names(database) == ["a", "b"]


# ---------------------------------------------------------------- SQLite


async def test_the_file_is_its_owners(tmp_path: Path) -> None:
    engine = Engine("sqlite:deep/down/test.db", tmp_path)
    await add(await opened(engine), "a")
    files = list((tmp_path / "deep/down").iterdir())
    assert {file.name for file in files} >= {"test.db", "test.db-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await engine.close()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk" * 100)
    engine = Engine("sqlite:notes.txt", tmp_path)
    with pytest.raises(ValueError, match=r"notes\.txt is no SQLite file"):
        await opened(engine)
    await engine.close()
    assert (tmp_path / "notes.txt").read_text() == "remember the milk" * 100


async def test_a_file_marked_by_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("pragma application_id = 7")
        other.execute("create table whatever (x)")
    engine = Engine("sqlite:other.db", tmp_path)
    with pytest.raises(ValueError, match=r"other\.db belongs to something else"):
        await opened(engine)
    await engine.close()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DatabaseUnavailable, match="cannot be made: Permission denied"):
        await opened(Engine("sqlite:test.db", tmp_path))


async def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DatabaseUnavailable, match="cannot be made: File exists"):
        await opened(Engine("sqlite:data/test.db", tmp_path))


async def test_a_file_that_somebody_holds_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.sql.BUSY", 0.1)
    engine = Engine("sqlite:test.db", tmp_path)
    database = await opened(engine)
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            await add(database, "a")
    await add(database, "b")
    assert await names(database) == ["b"]
    await engine.close()


# ---------------------------------------------------------------- PostgreSQL


@needs_postgres
async def test_a_server_that_was_away_is_found_again(own: PostgresServer, tmp_path: Path) -> None:
    own.stop()
    engine = Engine(own.url, tmp_path)
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await opened(engine)
    own.start()
    database = await opened(engine)
    await add(database, "a")
    own.stop()
    with pytest.raises(DatabaseUnavailable, match="cannot be"):
        await add(database, "b")
    own.start()
    await add(database, "c")
    assert await names(database) == ["a", "c"]
    await engine.close()


@needs_postgres
async def test_a_server_that_hangs_is_not_waited_for(
    own: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.sql.PATIENCE", 0.3)
    engine = Engine(own.url, tmp_path)
    database = await opened(engine)
    own.freeze()
    with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
        await add(database, "a")
    with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
        await add(database, "a")
    own.thaw()
    await add(database, "b")
    assert await names(database) == ["b"]
    await engine.close()


@needs_postgres
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [(":p%40ss", ":wrong", "refuses us: password authentication"), ("/postgres", "/nowhere", "refuses us: database")],
)
async def test_a_wrong_login_is_no_absence(
    shared: PostgresServer, tmp_path: Path, old: str, new: str, message: str
) -> None:
    engine = Engine(shared.url.replace(old, new), tmp_path)
    with pytest.raises(ValueError, match=message) as raised:
        await opened(engine)
    assert "p@ss" not in str(raised.value)
    assert "word" not in str(raised.value).replace("password", "")
    await engine.close()


@needs_postgres
async def test_options_of_the_url_are_those_of_other_programs(shared: PostgresServer, tmp_path: Path) -> None:
    engine = Engine(f"{shared.url}?sslmode=prefer&application_name=test", tmp_path)
    async with engine.reading.begin() as connection:
        assert (await connection.execute(sa.text("show application_name"))).scalar() == "test"
    await engine.close()


def test_messages_call_it_without_its_login(tmp_path: Path) -> None:
    engine = Engine("postgresql://me:s3cret@db.example:5432/keys?password=s3cret", tmp_path)
    assert engine.name == "postgresql://db.example:5432/keys"
    assert Engine("postgres:///keys", tmp_path).name == "postgresql:///keys"
