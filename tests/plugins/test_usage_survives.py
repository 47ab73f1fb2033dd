"""The ledger when something dies, hangs or is away: no request waits, and no record is lost."""

import asyncio
import json
import os
import random
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from penstock.problems import ConfigError
from penstock.testing import HANG, MakeGateway, MakeProcess, ScriptedUpstream, messages
from penstock_usage.journal import Journal
from penstock_usage.record import Record
from tests.integration.talk import ask, opened, prompt, until
from tests.plugins.ledger import ALICE, BOB, FILES, PIPELINE, in_postgres, in_sqlite, rows, who
from tests.postgres_server import MISSING, PostgresServer, running_postgres

MESSAGES = "/team/v1/messages"
needs_postgres = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def database(url: str) -> dict[str, str]:
    return {**FILES, "gateway.yaml": f"database: {url}\n"}


async def asked(url: str, count: int = 1) -> float:
    """The longest time that one of so many requests took, in seconds."""

    async def one() -> float:
        start = time.monotonic()
        assert (await ask(url, prompt(), path=MESSAGES, headers=who(ALICE))).status == 200
        return time.monotonic() - start

    return max([await one() for _ in range(count)])


def waiting(folder: Path) -> list[str]:
    """The ids in the journals."""
    files = list((folder / "data/usage").glob("*.jsonl"))
    return [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]


def left_by_the_dead(folder: Path, *records: Record) -> None:
    """A journal whose writer is gone."""
    journal = Journal.create(folder / "data/usage")
    journal.append(records)
    journal.close(remove=False)


async def test_a_journal_older_than_the_ledger_is_left_out(
    gateway: MakeGateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its records may have been in the database, and have left it: then they would count twice."""
    now = datetime.now(UTC)

    def of(days: int) -> Record:
        time = now - timedelta(days=days)
        return Record(id=f"req_{days}", time=time, pipeline="test", operation="generate", outcome="ok")

    left_by_the_dead(tmp_path, of(40), of(20))
    await gateway(PIPELINE.replace("- usage", "- usage: {keep: 30d}"), url="http://127.0.0.1:9", files=FILES)
    assert [row["id"] for row in await rows(in_sqlite(tmp_path / "data/penstock.db"))] == ["req_20"]
    await until(lambda: "are older than `keep`: they are left out" in caplog.text)
    (day,) = await in_sqlite(tmp_path / "data/penstock.db")("select * from penstock_usage_day")
    assert day["requests"] == 1


# ---------------------------------------------------------------- a database that is away


@needs_postgres
async def test_a_server_that_comes_and_goes(
    gateway: MakeGateway, upstream: ScriptedUpstream, server: PostgresServer
) -> None:
    upstream.always(messages.whole("hello"))
    server.stop()
    gate = await gateway(PIPELINE, url=upstream.url, files=database(server.url))
    await asked(gate.url, 5)
    server.start()
    query = in_postgres(server.url)
    await rows(query, 5)
    server.stop()
    await asked(gate.url, 5)
    server.start()
    await rows(query, 10)
    (day,) = await query("select requests from penstock_usage_day")
    assert day["requests"] == 10


@needs_postgres
async def test_a_server_that_hangs(
    gateway: MakeGateway, upstream: ScriptedUpstream, server: PostgresServer, tmp_path: Path
) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE, url=upstream.url, files=database(server.url))
    await asked(gate.url, 5)
    await rows(in_postgres(server.url), 5)
    server.freeze()
    assert await asked(gate.url, 20) < 0.5
    await until(lambda: len(waiting(tmp_path)) >= 25)
    server.thaw()
    assert len(await rows(in_postgres(server.url), 25)) == 25


async def test_a_server_that_says_nothing_keeps_nobody(
    gateway: MakeGateway, upstream: ScriptedUpstream, silent: int, tmp_path: Path
) -> None:
    upstream.always(messages.whole("hello"))
    start = time.monotonic()
    gate = await gateway(PIPELINE, url=upstream.url, files=database(f"postgresql://u:p@127.0.0.1:{silent}/x"))
    assert time.monotonic() - start < 5
    assert await asked(gate.url, 20) < 0.5
    start = time.monotonic()
    await gate.close()
    assert time.monotonic() - start < 8
    assert len(set(waiting(tmp_path))) == 20
    later = await gateway(PIPELINE, url=upstream.url, files=database("sqlite:../data/penstock.db"))
    assert len(await rows(in_sqlite(tmp_path / "data/penstock.db"), 20)) == 20
    await until(lambda: not waiting(tmp_path))
    await later.close()


async def test_a_file_that_somebody_holds(gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE, url=upstream.url, files=FILES)
    path = tmp_path / "data/penstock.db"
    await asked(gate.url)
    await rows(in_sqlite(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert await asked(gate.url, 20) < 0.5
        await until(lambda: len(waiting(tmp_path)) == 21)
    assert len(await rows(in_sqlite(path), 21)) == 21


async def test_a_file_that_somebody_holds_from_the_start(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.always(messages.whole("hello"))
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/penstock.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("pragma journal_mode = wal")
        other.execute("begin immediate")
        start = time.monotonic()
        gate = await gateway(PIPELINE, url=upstream.url, files=FILES)
        assert time.monotonic() - start < 5
        assert await asked(gate.url, 5) < 0.5
    assert len(await rows(in_sqlite(path), 5)) == 5


async def test_foreign_tables_keep_the_gateway_from_starting(gateway: MakeGateway, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data/penstock.db")) as other:
        other.execute("create table penstock_usage_day (x)")
    with pytest.raises(ConfigError, match=r"step 'usage' did not start: .* has a table 'penstock_usage_day'"):
        await gateway(PIPELINE, url="http://127.0.0.1:9", files=FILES)


async def test_a_journal_that_cannot_be_written(gateway: MakeGateway, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/usage").write_text("")
    with pytest.raises(ConfigError, match=r"step 'usage' did not start: `journal`: cannot write in .*data/usage"):
        await gateway(PIPELINE, url="http://127.0.0.1:9", files=FILES)


@needs_postgres
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
async def test_a_full_disk(gateway_process: MakeProcess, upstream: ScriptedUpstream, server: PostgresServer) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway_process(PIPELINE, url=upstream.url, files=database(server.url))
    await asked(gate.url)
    await rows(in_postgres(server.url))
    resource.prlimit(gate.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    await asked(gate.url, 5)
    assert len(await rows(in_postgres(server.url), 6)) == 6
    await gate.says("cannot be written: File too large")
    resource.prlimit(gate.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asked(gate.url, 5)
    assert len(await rows(in_postgres(server.url), 11)) == 11


# ---------------------------------------------------------------- a process that is killed


async def test_what_was_under_way_counts_as_it_was_last_seen(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.always(messages.stream("hello", "again", input_tokens=700).at(b"event: content_block_stop", HANG))
    gate = await gateway_process(PIPELINE, url=upstream.url, files=FILES)
    async with opened(gate.url, prompt(stream=True), path=MESSAGES, headers=who(BOB)) as response:
        await response.content.readuntil(b"text_delta")
        await until(lambda: len(waiting(tmp_path)) == 1)
        gate.process.kill()
        await gate.ends()
    await gateway_process(PIPELINE, url=upstream.url, files=FILES)
    (row,) = await rows(in_sqlite(tmp_path / "data/penstock.db"))
    assert (row["outcome"], row["user_name"], row["input_tokens"]) == ("killed", "bob", 700)
    await until(lambda: not waiting(tmp_path))


async def test_a_process_killed_under_load(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """What the upstream has answered is in the ledger, but for the last second; and nothing is there twice."""
    upstream.always(messages.whole("hello", input_tokens=10, output_tokens=3))
    finished: list[float] = []
    query = in_sqlite(tmp_path / "data/penstock.db")
    for _ in range(2):
        gate = await gateway_process(PIPELINE, url=upstream.url, files=FILES)
        loads = [asyncio.ensure_future(_load(gate.url, finished)) for _ in range(8)]
        before = len(finished)
        await until(lambda before=before: len(finished) > before + 300)  # type: ignore[misc]
        gate.process.kill()
        killed = time.monotonic()
        await gate.ends()
        await asyncio.gather(*loads)
        surely = sum(at < killed - 1 for at in finished)
        again = await gateway_process(PIPELINE, url=upstream.url, files=FILES)
        await until(lambda: not waiting(tmp_path))
        told = await rows(query, surely)
        assert surely <= len(told) <= len(upstream.calls)
        (sums,) = await query("select sum(input_tokens) as tokens, sum(requests) as requests from penstock_usage_day")
        assert sums == {"tokens": 10 * len(told), "requests": len(told)}
        await again.close()


async def _load(url: str, finished: list[float]) -> None:
    """Requests one after the other until the gateway is gone."""
    try:
        while True:
            said = await ask(url, prompt(), path=MESSAGES, headers=who(random.choice([ALICE, BOB])))
            assert said.status == 200
            finished.append(time.monotonic())
    except (aiohttp.ClientError, OSError):
        pass


async def test_workers_carry_on_with_what_a_dead_one_left(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway_process(PIPELINE, "--workers", "2", url=upstream.url, files=FILES)
    query = in_sqlite(tmp_path / "data/penstock.db")
    children = Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    await asyncio.gather(*(asked(gate.url) for _ in range(40)))
    await until(lambda: len(set(waiting(tmp_path))) == 40)
    for worker in children.read_text().split():
        os.kill(int(worker), signal.SIGKILL)
    assert len(await rows(query, 40)) == 40
    await gate.close()
    assert waiting(tmp_path) == []


# ---------------------------------------------------------------- journals


async def test_a_torn_or_strange_line_takes_no_other_with_it(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    folder = tmp_path / "data/usage"
    folder.mkdir(parents=True)
    good = '{"id":"%s","time":"2026-11-21T10:00:00Z","pipeline":"p","operation":"generate","outcome":"ok"}\n'
    strange = '{"id": 7}\n\xff\n' + "x" * (3 << 20) + "\n"
    torn = good % "torn"
    text = good % "one" + strange + good % "two" + good % "one" + torn[:40]
    (folder / "1-a.jsonl").write_text(text, "latin-1")
    (folder / "notes.txt").write_text("not a journal")
    await gateway(PIPELINE, url=upstream.url, files=FILES)
    told = await rows(in_sqlite(tmp_path / "data/penstock.db"), 2, order="id")
    assert [row["id"] for row in told] == ["one", "two"]
    await until(lambda: not (folder / "1-a.jsonl").exists())
    (day,) = await in_sqlite(tmp_path / "data/penstock.db")("select day, requests from penstock_usage_day")
    assert day == {"day": "2026-11-21", "requests": 2}
