"""What the ledger tells: sums that agree with the records, for people, for programs, and to each what is theirs."""

import asyncio
import csv
import io
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Database
from penstock.cli import main
from penstock.sql import Engine
from penstock.testing import MakeGateway, ScriptedUpstream, messages
from penstock_usage import endpoints
from penstock_usage.asking import BY, Question, question
from penstock_usage.journal import Journal
from penstock_usage.record import Record, Try, text
from penstock_usage.sums import Sums, lines, total
from penstock_usage.tables import ATTEMPT, DAY, SCHEMA, USAGE
from penstock_usage.view import count, sparkline
from penstock_usage.writer import Writer
from tests.integration.talk import ask, prompt
from tests.plugins.ledger import ALICE, BOB, FILES, PIPELINE, answer, in_sqlite, rows, who

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOLLAR = 10**9
EVER = Question("2026-11-01", "2026-11-30")


@asynccontextmanager
async def ledger(folder: Path) -> AsyncIterator[Database]:
    engine = Engine("sqlite:data/penstock.db", folder)
    database = engine.database(SCHEMA)
    await database.open()
    try:
        yield database
    finally:
        await engine.close()


def used(number: int, **fields: Any) -> Record:
    given = {"pipeline": "p", "operation": "generate", "outcome": "ok", "answered": "upstream", **fields}
    return Record(**{"id": f"req_{number:05}", "time": NOW, **given})


# ---------------------------------------------------------------- sums agree with the records


names = st.sampled_from(["", "a", "b"])
tokens = st.integers(0, 10**6)
records = st.builds(
    Record,
    id=st.integers(0, 30).map("req_{}".format),
    time=st.sampled_from([NOW, NOW - timedelta(days=1), NOW - timedelta(days=2, hours=13)]),
    pipeline=st.sampled_from(["p", "q"]),
    operation=st.sampled_from(["generate", "count_tokens"]),
    **dict.fromkeys(("user", "team", "key", "session", "agent", "asked_model", "upstream"), names),
    **dict.fromkeys(("input_tokens", "cache_read_tokens", "cache_write_1h_tokens", "output_tokens"), tokens),
    cost_nano=st.integers(0, 10**12),
    cache_saved_nano=st.integers(-(10**9), 10**9),
    replayed_tokens=st.integers(0, 3),
    price_known=st.booleans(),
    estimated=st.booleans(),
    outcome=st.sampled_from(["ok", "error", "cancelled", "killed"]),
    answered=st.sampled_from(["", "upstream", "gateway"]),
    duration_ms=st.integers(0, 10**5),
    attempts=st.lists(st.builds(Try, number=st.just(0), upstream=names), max_size=3).map(tuple),
)


@settings(max_examples=30)
@given(st.lists(st.lists(records, max_size=12), max_size=5))
def test_the_days_sum_up_the_exchanges(batches: list[list[Record]]) -> None:
    """However often and in whatever batches a record comes; whichever way the ledger is asked."""

    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with ledger(Path(folder)) as database:
                for batch in batches:
                    for each in batch:
                        each.attempts = tuple(msgspec.structs.replace(t, number=n) for n, t in enumerate(each.attempts))
                    await Writer(database).write(batch)
                first: dict[str, Record] = {}
                for batch in batches:
                    first = {**{each.id: each for each in batch}, **first}
                answers = [each for each in first.values() if each.operation == "generate"]
                for by in BY:
                    found = total(await lines(database, by, EVER))
                    assert found.requests == len(answers)
                    assert found.cost_nano == sum(each.cost_nano for each in answers)
                    assert found.input_tokens == sum(each.input_tokens for each in answers)
                by_day = await lines(database, "user", EVER)
                by_exchange = await lines(database, "user", EVER._replace(filters={"session": ""}))
                assert total(by_exchange).requests == sum(not each.session for each in answers)
                every = Sums()
                for session in ("", "a", "b"):
                    every.add(total(await lines(database, "user", EVER._replace(filters={"session": session}))))
                assert every == total(by_day)

    asyncio.run(check())


async def test_a_record_counts_once(tmp_path: Path) -> None:
    async with ledger(tmp_path) as database:
        batch = [used(n, input_tokens=10, attempts=(Try(number=1, upstream="main"),)) for n in range(50)]
        assert await Writer(database).write(batch) == 50
        assert await Writer(database).write([*batch, used(50, input_tokens=10)]) == 1
        async with database.read() as connection:
            counts = [
                (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar()
                for table in (USAGE, ATTEMPT, DAY)
            ]
        assert counts == [51, 50, 1]
        assert total(await lines(database, "day", EVER)).input_tokens == 510


async def test_the_tables_are_those_of_the_migrations(tmp_path: Path) -> None:
    """Else the code would ask for what a database does not have."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = Engine("sqlite:data/penstock.db", tmp_path)
    await engine.database(SCHEMA).open()
    async with engine.reading.begin() as connection:
        found = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"version_table": "penstock_usage_version"}), SCHEMA.metadata
            )
        )
    await engine.close()
    assert found == []


# ---------------------------------------------------------------- questions


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        ("2026-11-20", "2026-11-21", ["2026-11-20", "2026-11-21"]),
        ("1d", "0d", ["2026-11-20", "2026-11-21"]),
        ("13h", "0d", ["2026-11-20", "2026-11-21"]),
        ("0d", "0d", ["2026-11-21"]),
    ],
)
def test_days_may_be_named_or_counted_back(since: str, until: str, days: list[str]) -> None:
    assert question(since, until, {}, NOW).days == days


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        ("yesterday", "0d", "expected a day such as 2026-11-21, or a time back from now such as 7d, got 'yesterday'"),
        ("2026-11-31", "0d", "expected a day"),
        ("0d", "1d", "2026-11-21 is later than 2026-11-20"),
        ("99999999d", "0d", "expected a day"),
        ("1900-01-01", "0d", "at most ten years"),
    ],
)
def test_what_is_no_time(since: str, until: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        question(since, until, {}, NOW)


# ---------------------------------------------------------------- for people and programs


TODAY = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def place(tmp_path: Path) -> Path:
    """A folder of pipelines whose ledger has something to tell."""
    yesterday = TODAY - timedelta(days=1)
    ann = {"user": "ann", "team": "research", "asked_model": "model-a", "upstream": "main"}
    bob = {"user": "bob", "team": "=design", "asked_model": "model-b", "upstream": "main"}
    many = {"input_tokens": 2_000, "cache_read_tokens": 8_000, "output_tokens": 100, "session": "s\x1b[2J1"}
    batch = [
        *(used(n, time=TODAY, cost_nano=DOLLAR, cache_saved_nano=DOLLAR // 2, **ann, **many) for n in range(30)),
        used(30, time=yesterday, cost_nano=3 * DOLLAR, outcome="error", price_known=False, **bob),
        used(31, time=TODAY, answered="gateway", replayed_tokens=500, replayed_nano=DOLLAR // 4, **bob),
    ]
    async with ledger(tmp_path) as database:
        await Writer(database).write(batch)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/p.yaml").write_text(
        'plugins: [prices: {overrides: {"big-*": {input: 10, output: 100, cache_read: 1}}}, usage, translation]\n'
    )
    return tmp_path / "pipelines"


def command(place: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["usage", "--pipeline", str(place), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_as_json(place: Path) -> None:
    ann, bob = (found := {row["team"]: row for row in json.loads(command(place, "--by", "team", "--json"))}).values()
    assert list(found) == ["research", "=design"]
    assert (ann["requests"], ann["input_tokens"], ann["cache_read_tokens"]) == (30, 60_000, 240_000)
    assert (ann["output_tokens"], ann["cost_usd"], ann["cache_saved_usd"]) == (3_000, 30.0, 15.0)
    assert (ann["cache_hit_rate"], ann["errors"], ann["unpriced"]) == (0.8, 0, 0)
    assert (bob["requests"], bob["errors"], bob["cost_usd"], bob["unpriced"]) == (2, 1, 3.0, 1)
    assert (bob["replays"], bob["replayed_tokens"], bob["replays_saved_usd"]) == (1, 500, 0.25)


@pytest.mark.parametrize("by", BY)
def test_each_way_sums_up_the_same(place: Path, by: str) -> None:
    found = json.loads(command(place, "--by", by, "--json"))
    assert sum(row["cost_usd"] for row in found) == 33.0
    assert all(by in row for row in found)


def test_filters(place: Path) -> None:
    def cost(*arguments: str) -> float:
        return float(sum(row["cost_usd"] for row in json.loads(command(place, "--json", *arguments))))

    day = TODAY.date().isoformat()
    assert cost("--since", day) == 30.0
    assert cost("--until", "1d") == 3.0
    assert cost("--team", "research") == cost("--user", "ann") == cost("--model", "model-a") == 30.0
    assert cost("--session", "s\x1b[2J1") == 30.0
    assert cost("--user", "ann", "--model", "model-b") == 0


def test_the_cost_of_a_session(place: Path) -> None:
    session, none = json.loads(command(place, "--by", "session", "--json"))
    assert (session["session"], session["user"], session["team"]) == ("s\x1b[2J1", "ann", "research")
    assert (session["cost_usd"], session["first"], session["last"]) == (30.0, TODAY.isoformat(), TODAY.isoformat())
    assert none["session"] == ""
    assert "\x1b" not in command(place, "--by", "session")


def test_as_csv(place: Path) -> None:
    ann, bob = csv.DictReader(io.StringIO(command(place, "--by", "team", "--csv")))
    assert (ann["team"], ann["cost_usd"], ann["input_tokens"]) == ("research", "30.0", "60000")
    assert bob["team"] == "'=design"


def test_as_a_table(place: Path) -> None:
    said = command(place, "--by", "team", "--since", "1d").splitlines()
    assert said[0] == f"{(TODAY - timedelta(days=1)).date()} to {TODAY.date()}, days in UTC"
    assert said[2].split() == ["team", "requests", "input", "cached", "output", "cost", "saved", "cost", "per", "day"]
    assert said[3].split() == ["research", "30", "300.0k", "80%", "3.0k", "$30.00", "$15.00", "█"]
    assert said[4].split() == ["=design", "2", "0", "0%", "0", "$3.00", "$0.25", "█"]
    assert said[5].split() == ["total", "32", "300.0k", "80%", "3.0k", "$33.00", "$15.25"]
    assert "prompt caches: 80% of the tokens sent came from one, which saved $15.00" in said
    assert "answers given again from a cache: 1, which saved $0.25" in said


def test_days_have_bars(place: Path) -> None:
    said = command(place).splitlines()
    bars = {line.split()[0]: line.count("█") for line in said if line.startswith("2")}
    assert [bars[day.date().isoformat()] for day in (TODAY, TODAY - timedelta(days=1))] == [20, 2]


def test_a_baseline(place: Path) -> None:
    (ann, _bob) = json.loads(command(place, "--by", "team", "--baseline", "big-one", "--json"))
    would = 30 * (2_000 * 10 + 8_000 * 1 + 100 * 100) / 10**6
    assert ann["baseline_usd"] == pytest.approx(would)
    assert ann["baseline_saved_usd"] == pytest.approx(would - 30)
    assert "with big-one for everything: $1.14, so -$31.86 were saved" in command(place, "--baseline", "big-one")


def test_what_it_cannot_do_it_says_in_one_line(place: Path, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["usage", *arguments])
        assert result.exit_code == 1
        return result.output.strip()

    here = ("--pipeline", str(place))
    assert refused(*here, "--baseline", "nobody-knows") == "Error: no price is known for the baseline 'nobody-knows'"
    assert refused(*here, "--since", "soon").startswith("Error: expected a day such as")
    assert refused(*here, "--database", "mysql:x").startswith("Error: expected sqlite: and the path")
    assert "no such file or folder" in refused("--pipeline", str(tmp_path / "nowhere"))
    (place / "p.yaml").write_text("plugins: [usage, translation]\n")
    assert refused(*here, "--baseline", "x") == "Error: a baseline needs prices: add the step 'prices' to the pipeline"


def test_nothing_was_used(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("plugins: [usage, translation]\n")
    url = f"sqlite:{tmp_path}/empty.db"
    assert command(tmp_path, "--database", url).endswith("nothing was used\n")
    assert json.loads(command(tmp_path, "--database", url, "--json")) == []
    assert command(tmp_path, "--database", url, "--csv") == ""


async def test_suggestions(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("plugins: [usage, translation]\n")
    poor = {"asked_model": "model-a", "upstream": "main", "input_tokens": 9_000, "cost_nano": DOLLAR}
    failed = {"asked_model": "model-b", "upstream": "main", "outcome": "error", "answered": ""}
    guess = {"asked_model": "model-c", "upstream": "other", "estimated": True, "price_known": False}
    wrote = {"asked_model": "model-d", "upstream": "other", "cache_saved_nano": -DOLLAR}
    kinds: list[dict[str, Any]] = [poor, failed, guess, wrote]
    batch = [used(20 * k + n, time=TODAY, **kind) for k, kind in enumerate(kinds) for n in range(20)]
    async with ledger(tmp_path) as database:
        await Writer(database).write(batch)
    said = await asyncio.to_thread(command, tmp_path, "--database", f"sqlite:{tmp_path}/data/penstock.db")
    assert "model-a: 0% of what was sent came from the prompt cache, at 9,000 tokens a request" in said
    assert "main: 50% of the requests failed; give its models a second target" in said
    assert "model-c: 20 answers were counted at another price" in said
    assert "other: the tokens of 20 answers are estimates" in said
    assert "model-d: writing to the prompt cache has cost $20.00 more than reading from it has brought" in said


def test_small_words() -> None:
    assert [count(n) for n in (0, 950, 12_345, 4_500_000, 1_200_000_000)] == ["0", "950", "12.3k", "4.5M", "1.2G"]
    assert sparkline({"a": 1, "b": 50, "d": 100}, ["a", "b", "c", "d"]) == "▁▅ █"
    assert text("half \ud800 a pair, \0 nothing") == "half ? a pair,  nothing"


# ---------------------------------------------------------------- documented columns


def documented() -> set[str]:
    """The fields in the how-to's table of fields."""
    page = (Path(__file__).parents[2] / "docs/how-to/usage-and-costs.md").read_text()
    table = page.split("| field | meaning |", 1)[1].split("\n\n", 1)[0]
    names = "".join(line.split("|")[1] for line in table.splitlines()[2:])
    return set(re.findall(r"`(\w+)`", names))


def test_the_columns_are_those_of_the_how_to(place: Path) -> None:
    asked = ("--by", "session", "--baseline", "big-1")
    listed = json.loads(command(place, *asked, "--json"))
    assert {*listed[0]} == documented() | {"session"}
    header, *lines = csv.reader(io.StringIO(command(place, *asked, "--csv")))
    assert header == [*listed[0]]
    assert [dict(zip(header, line, strict=True))["cost_usd"] for line in lines] == [
        str(row["cost_usd"]) for row in listed
    ]


# ---------------------------------------------------------------- endpoints


ADMINS = """
  - {hash: "%s", user: carol, name: c, admin: true}
  - {hash: "%s", user: dave, name: d, team: research, admin: true}
"""


async def test_each_sees_what_is_theirs(gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    from penstock_auth.keys import hash_of, new_key

    carol, dave = new_key(), new_key()
    files = {"keys.yaml": FILES["keys.yaml"] + ADMINS % (hash_of(carol), hash_of(dave))}
    upstream.always(messages.whole("hello", input_tokens=1000, output_tokens=0))
    gate = await gateway(PIPELINE, url=upstream.url, files=files)
    for key in (ALICE, BOB, BOB, dave):
        await ask(gate.url, prompt(), path="/team/v1/messages", headers=who(key))
    await rows(in_sqlite(tmp_path / "data/penstock.db"), 4)

    async def seen(key: str, query: str = "") -> dict[str, int]:
        said = await ask(gate.url, path=f"/team/-/usage?by=user{query}", method="GET", headers=who(key))
        assert said.status == 200, said.body
        return {row["user"]: row["requests"] for row in said.json()["rows"]}

    assert await seen(carol) == {"alice": 1, "bob": 2, "dave": 1}
    assert await seen(carol, "&team=design") == {"bob": 2}
    assert await seen(dave) == await seen(dave, "&team=design") == {"alice": 1, "dave": 1}
    assert await seen(ALICE) == await seen(ALICE, "&user=bob") == {"alice": 1}
    assert (await ask(gate.url, path="/team/-/usage", method="GET")).status == 401
    assert (await ask(gate.url, path="/team/-/analytics", method="GET")).status == 401
    told = (await ask(gate.url, path="/team/-/analytics", method="GET", headers=who(carol))).json()
    assert told["total"]["cost_usd"] == 0.012
    assert [row["user"] for row in told["users"]] == ["bob", "alice", "dave"]
    assert {row["team"] for row in told["teams"]} == {"research", "design"}
    own = (await ask(gate.url, path="/team/-/analytics", method="GET", headers=who(BOB))).json()
    assert [row["user"] for row in own["users"]] == ["bob"]
    for query, message in (("by=x", "by: expected one of"), ("pipeline=q", "unknown parameter"), ("since=x", "a day")):
        wrong = await ask(gate.url, path=f"/team/-/usage?{query}", method="GET", headers=who(carol))
        assert wrong.status == 400
        assert message in wrong.json()["error"]["message"]


async def test_questions_leave_connections_to_others(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most = 0, 0

    async def hangs(*_: object) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.Event().wait()
        finally:
            under_way -= 1

    monkeypatch.setattr(endpoints, "make_report", hangs)
    monkeypatch.setattr(endpoints, "_PATIENCE", 0.3)
    gate = await gateway(PIPELINE, url=upstream.url, files=FILES)
    asked = [ask(gate.url, path="/team/-/usage", method="GET", headers=who(ALICE)) for _ in range(6)]
    for said in await asyncio.gather(*asked):
        assert said.status == 503
        assert said.json()["error"]["message"] == "the ledger takes too long to answer this: ask for fewer days"
    assert (under_way, most) == (0, 2)


async def test_an_open_pipeline_tells_this_machine(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.always(messages.whole("hello"))
    pipeline = PIPELINE.replace("  - auth: {keys: keys.yaml}\n", "").replace("path: /team", "path: /")
    gate = await gateway(pipeline, url=upstream.url)
    await ask(gate.url, prompt())
    await rows(in_sqlite(tmp_path / "data/penstock.db"))
    said = await ask(gate.url, path="/-/usage?by=model", method="GET")
    assert [row["model"] for row in said.json()["rows"]] == ["model-a"]
    assert (await ask(gate.url, path="/-/usage", method="GET", headers={"host": "evil.example"})).status == 403


async def test_savings_are_told_over_http(gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.always(answer(input_tokens=1000, cache_read_input_tokens=9000, output_tokens=100))
    gate = await gateway(PIPELINE, url=upstream.url, files=FILES)
    body = prompt(metadata={"user_id": '{"session_id": "session-1"}'})
    for _ in range(20):
        await ask(gate.url, body, path="/team/v1/messages", headers=who(ALICE))
    await rows(in_sqlite(tmp_path / "data/penstock.db"), 20)

    async def get(query: str) -> Any:
        return (await ask(gate.url, path=f"/team/-/{query}", method="GET", headers=who(ALICE))).json()

    cost = 20 * (1000 * 3 + 9000 * 0.3 + 100 * 15) / 10**6
    dear = 20 * (10_000 * 15 + 100 * 75) / 10**6
    told = await get("usage?by=model&baseline=model-a")
    assert told["rows"][0]["baseline_saved_usd"] == told["total"]["baseline_saved_usd"] == 0
    told = await get("usage?by=session&baseline=claude-opus-4-1")
    (session,) = told["rows"]
    assert (session["session"], session["cost_usd"], session["cache_hit_rate"]) == ("session-1", cost, 0.9)
    assert session["cache_saved_usd"] == pytest.approx(20 * 9000 * 2.7 / 10**6)
    assert session["baseline_usd"] < dear
    assert session["baseline_saved_usd"] == pytest.approx(session["baseline_usd"] - cost)
    whole = await get("analytics?baseline=claude-opus-4-1")
    assert whole["total"]["baseline_usd"] == session["baseline_usd"]
    assert whole["sessions"][0]["cost_usd"] == cost
    assert whole["suggestions"] == []
    assert "no price is known" in (await get("usage?baseline=nobodys-model"))["error"]["message"]


async def test_without_prices_there_is_no_baseline(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    steps = "\n".join(line for line in PIPELINE.splitlines() if "prices" not in line)
    gate = await gateway(steps, url=upstream.url, files=FILES)
    said = await ask(gate.url, path="/team/-/usage?baseline=claude-opus-4-1", method="GET", headers=who(ALICE))
    assert (said.status, said.json()["error"]["message"]) == (
        400,
        "a baseline needs prices: add the step 'prices' to the pipeline",
    )


# ---------------------------------------------------------------- the journal


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "new")
    batch = [used(n, time=TODAY, session="é\n\u2028", attempts=(Try(number=1, upstream="x"),)) for n in range(700)]
    journal.append(batch)
    first, middle = journal.read(0)
    rest, end = journal.read(middle)
    assert [*first, *rest] == batch
    assert journal.read(end) == ([], end)
    assert not journal.clear(middle)
    assert journal.clear(end)
    assert journal.read(0) == ([], 0)
    assert list(Journal.left(tmp_path / "new")) == []  # its writer lives
    journal.close(remove=False)
    (left,) = Journal.left(tmp_path / "new")
    left.close(remove=True)
    assert list((tmp_path / "new").iterdir()) == []
