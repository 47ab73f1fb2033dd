"""The store in one SQLite file: its own tests, those of all stores, and several processes at one file."""

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import StoreUnavailable, Take
from penstock.testing import PATIENCE
from penstock_sqlite import SQLiteStore
from tests.plugins.crowd import CrowdContract, Place, eventually, two_gateways_share
from tests.plugins.stores import QUARTERS, Clock, Deed, Later, StoreContract, check, deeds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def later(clock: Clock) -> Later:
    return clock.later


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore("sqlite:state.db", tmp_path, clock=clock)
    yield store
    await store.close()


class TestSQLite(StoreContract):
    """The contract, in a file."""


class TestProcesses(CrowdContract):
    """Several processes at one file."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place("sqlite:state.db", tmp_path)

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        store = SQLiteStore("sqlite:state.db", tmp_path)
        yield store
        await store.close()


@settings(max_examples=50)
@given(deeds(st.sampled_from([0.5, 1.0, 2.0]), QUARTERS))
def test_it_does_what_the_model_does(done: list[Deed]) -> None:
    async def play(folder: str) -> None:
        clock = Clock()
        store = SQLiteStore("sqlite:state.db", Path(folder), clock=clock)
        await check(store, clock, done)
        await store.close()

    with TemporaryDirectory() as folder:
        asyncio.run(play(folder))


async def test_gateways_share_it(tmp_path: Path) -> None:
    await two_gateways_share(tmp_path, "sqlite:../state.db", {})
    assert (tmp_path / "state.db").is_file()


# ---------------------------------------------------------------- the file


async def test_the_file_is_made_with_its_folder_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    store = SQLiteStore("sqlite:var/state.db", tmp_path)
    assert not (tmp_path / "var").exists()
    await store.set("k", 1)
    files = list((tmp_path / "var").iterdir())
    assert {file.name for file in files} == {"state.db", "state.db-wal", "state.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await store.close()
    assert [file.name for file in (tmp_path / "var").iterdir()] == ["state.db"]


async def test_everything_outlives_the_process(store: SQLiteStore, tmp_path: Path, clock: Clock) -> None:
    await store.set("k", "kept")
    await store.take([Take("b", 10, 1, 10)])
    await store.hold("l", 1, "me", 10)
    await store.close()
    again = SQLiteStore(f"sqlite:{tmp_path}/state.db", Path("/nowhere"), clock=clock)
    assert await again.get("k", str) == "kept"
    assert await again.take([Take("b", 10, 1, 10)]) == 10
    assert not await again.hold("l", 1, "you", 10)
    await again.close()


async def test_a_clock_that_is_set_back_takes_nothing_away(store: SQLiteStore, clock: Clock) -> None:
    await store.take([Take("b", 10, 1, 4)])
    clock.now -= 3600
    assert await store.take([Take("b", 10, 1, 6)]) == 0
    clock.now += 2
    assert await store.take([Take("b", 10, 1, 3)]) == 1


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://state.db", "sqlite:///var/state.db"])
def test_a_url_of_another_form_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write sqlite:PATH"):
        SQLiteStore(url, tmp_path)


async def test_the_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table precious (things text)")
    connection.close()
    await refused(tmp_path, "state.db is the database of something else: give the store a file of its own")
    file.write_bytes(b"Dear diary, " * 100)
    await refused(tmp_path, "state.db is no SQLite file: give the store a file of its own")
    assert file.read_bytes() == b"Dear diary, " * 100


async def test_a_file_of_another_version_is_not_touched(store: SQLiteStore, tmp_path: Path) -> None:
    await store.open()
    await store.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("pragma user_version = 2")
    connection.close()
    await refused(tmp_path, "state.db has version 2, this Penstock needs 1: remove it or use another file")


async def refused(folder: Path, message: str) -> None:
    before = (folder / "state.db").read_bytes()
    store = SQLiteStore("sqlite:state.db", folder)
    with pytest.raises(ValueError, match=message):
        await store.open()
    with pytest.raises(StoreUnavailable, match=message):
        await store.get("k", str)
    await store.close()
    assert (folder / "state.db").read_bytes() == before


async def test_expired_rows_leave_the_file(store: SQLiteStore, tmp_path: Path, clock: Clock) -> None:
    for number in range(300):
        await store.set(f"{number}", "x", ttl=5)
        await store.take([Take(f"{number}", 5, 1, 5)])
        await store.hold(f"{number}", 1, "me", 5)
    await store.set("stays", "x")
    clock.now += 6
    await store.add("n", 1)
    await store.close()
    connection = sqlite3.connect(tmp_path / "state.db")
    counts = [connection.execute(f"select count(*) from {table}").fetchone()[0] for table in TABLES]
    connection.close()
    assert counts == [2, 0, 0]


TABLES = ("value", "bucket", "lease")


# ---------------------------------------------------------------- when it is away


async def test_a_locked_file_holds_up_neither_the_caller_nor_the_loop(tmp_path: Path) -> None:
    store = SQLiteStore("sqlite:state.db", tmp_path, deadline=0.1)
    await store.add("n", 1)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("begin exclusive")
    loop = asyncio.get_running_loop()
    begin = loop.time()
    failures = await asyncio.gather(*(store.add("n", 1) for _ in range(20)), return_exceptions=True)
    assert loop.time() - begin < 0.4
    assert {str(failure) for failure in failures} == {f"{tmp_path}/state.db cannot be used: database is locked"}
    assert all(isinstance(failure, StoreUnavailable) for failure in failures)
    assert await store.get("n", int) == 1
    other.execute("rollback")
    other.close()
    assert await store.add("n", 1) == 2
    await store.close()


async def test_a_disk_that_hangs_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    works = threading.Event()

    def slow_clock() -> float:
        works.wait(PATIENCE)
        return 1000.0

    store = SQLiteStore("sqlite:state.db", tmp_path, deadline=0.1, clock=slow_clock)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=r"state\.db did not answer within 0\.1 s"):
            await store.add("n", 1)
    works.set()
    await eventually(lambda: _added(store))
    assert (await store.get("n", float) or 0) <= 2  # who has given up is not served behind his back, save the first
    await store.close()


async def _added(store: SQLiteStore) -> bool:
    try:
        await store.add("n", 1)
    except StoreUnavailable:
        return False
    return True


async def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = SQLiteStore("sqlite:file/state.db", tmp_path)
    with pytest.raises(StoreUnavailable, match=r"state\.db cannot be used: .*file"):
        await store.open()
    (tmp_path / "file").unlink()
    assert await store.add("n", 1) == 1
    await store.close()


async def test_a_damaged_file_is_opened_anew_when_it_was_replaced(store: SQLiteStore, tmp_path: Path) -> None:
    await store.set("k", "x" * 100_000)
    for file in tmp_path.iterdir():
        file.write_bytes(b"rubbish" * 1000)
    with pytest.raises(StoreUnavailable, match=r"state\.db cannot be used"):
        await asyncio.gather(*(store.set(f"{number}", "x" * 10_000) for number in range(100)))
    for file in tmp_path.iterdir():
        file.unlink()
    await store.set("k", 2)
    assert await store.get("k", int) == 2


async def test_many_may_make_the_file_at_once(tmp_path: Path) -> None:
    for number in range(10):
        stores = [SQLiteStore(f"sqlite:{number}.db", tmp_path) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        assert sorted(await asyncio.gather(*(store.add("n", 1) for store in stores))) == list(range(1, 9))
        await asyncio.gather(*(store.close() for store in stores))
