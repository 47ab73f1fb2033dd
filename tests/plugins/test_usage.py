"""The ledger: one record for each exchange, whatever becomes of it, the database or the process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from penstock.problems import ConfigError
from penstock.testing import HANG, PATIENCE, MakeGateway, MakeUpstream, ScriptedUpstream, chat, messages
from tests.integration.talk import ask, opened, prompt
from tests.plugins.ledger import ALICE, BOB, FILES, PIPELINE, Query, answer, in_postgres, in_sqlite, rows, who
from tests.postgres_server import MISSING, PostgresServer, running_postgres

MESSAGES = "/team/v1/messages"
DOLLARS = 10**9


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


class Where:
    """A database: how gateway.yaml names it, and how to ask it."""

    def __init__(self, url: str, query: Query) -> None:
        self.files = {**FILES, "gateway.yaml": f"database: {url}\n"}
        self.query = query


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING))])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Where]:
    """A database without tables."""
    if request.param == "sqlite":
        yield Where("sqlite:../data/penstock.db", in_sqlite(tmp_path / "data/penstock.db"))
        return
    server: PostgresServer = request.getfixturevalue("shared")
    connection = await asyncpg.connect(server.url)
    await connection.execute("drop schema public cascade; create schema public")
    await connection.close()
    yield Where(server.url, in_postgres(server.url))


async def test_an_answer_is_recorded(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.answers(messages.stream("hello", model="model-a-2026", input_tokens=1000, output_tokens=200))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    body = prompt(stream=True, metadata={"user_id": '{"session_id": "session-1"}'})
    await ask(gate.url, body, path=MESSAGES, headers=who(ALICE, user_agent="claude-cli/2.1.330 (external, cli)"))
    (row,) = await rows(where.query)
    assert row["id"].startswith("req_")
    told = {name: row[name] for name in ("pipeline", "operation", "user_name", "team", "key_name", "session")}
    assert told == {
        "pipeline": "test",
        "operation": "generate",
        "user_name": "alice",
        "team": "research",
        "key_name": "alices-laptop",
        "session": "session-1",
    }
    assert (row["agent"], row["agent_version"], row["protocol"]) == ("claude-cli", "2.1.330", "anthropic")
    assert (row["model"], row["asked_model"], row["served_model"]) == ("model-a", "model-a", "model-a-2026")
    assert (row["upstream"], row["preset"], row["answered"]) == ("main", "", "upstream")
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (1000, 200, 0)
    assert row["cost_nano"] == 1000 * 3_000 + 200 * 15_000
    assert (row["outcome"], row["status"], row["error"], row["stop_reason"]) == ("ok", 200, "", "end_turn")
    assert bool(row["streamed"])
    assert bool(row["price_known"])
    assert not row["estimated"]
    assert 0 <= row["first_event_ms"] <= row["duration_ms"] < 5000
    assert row["day"] == datetime.now(UTC).date().isoformat()
    (attempt,) = await where.query("select * from penstock_usage_attempt")
    assert (attempt["exchange"], attempt["number"], attempt["error"]) == (row["id"], 1, "")
    assert (attempt["upstream"], attempt["protocol"], attempt["model"]) == ("main", "anthropic", "model-a")
    assert (attempt["status"], attempt["request_id"]) == (200, "req_from_upstream")


TWO = PIPELINE.replace(
    "plugins:", '  second: {protocol: openai-chat, url: "{second}/v1", key: key-2}\nplugins:'
).replace('{"*": main}', '{"*": [main, second/model-b]}')


async def test_every_attempt_is_recorded(gateway: MakeGateway, make_upstream: MakeUpstream, where: Where) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(messages.error(529, "overloaded_error", "busy"))
    second.answers(chat.stream("hello"))
    gate = await gateway(TWO, url=first.url, second=second.url, files=where.files)
    await ask(gate.url, prompt(stream=True), path=MESSAGES, headers=who(ALICE))
    (row,) = await rows(where.query)
    assert (row["outcome"], row["upstream"], row["model"], row["asked_model"]) == ("ok", "second", "model-a", "model-b")
    attempts = await where.query("select * from penstock_usage_attempt order by number")
    told = [(each["upstream"], each["model"], each["status"], each["error"]) for each in attempts]
    assert told == [("main", "model-a", 529, "overloaded"), ("second", "model-b", 200, "")]
    (day,) = await where.query("select * from penstock_usage_day")
    assert (day["requests"], day["attempts"], day["errors"]) == (1, 2, 0)


async def test_failures_are_recorded(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.answers(messages.error(400, "invalid_request_error", "no"))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    await ask(gate.url, prompt(), path=MESSAGES, headers=who(BOB))
    (row,) = await rows(where.query)
    told = row["outcome"], row["status"], row["error"], row["answered"], row["cost_nano"]
    assert told == ("error", 400, "invalid_request", "", 0)
    (day,) = await where.query("select * from penstock_usage_day")
    assert (day["user_name"], day["requests"], day["errors"], day["input_tokens"]) == ("bob", 1, 1, 0)


async def test_who_leaves_pays_for_what_was_used(
    gateway: MakeGateway, upstream: ScriptedUpstream, where: Where
) -> None:
    reply = messages.stream("hello", "again", input_tokens=500).at(b"event: content_block_stop", HANG)
    upstream.answers(reply)
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    async with opened(gate.url, prompt(stream=True), path=MESSAGES, headers=who(ALICE)) as response:
        await response.content.readuntil(b"text_delta")
    (row,) = await rows(where.query)
    assert (row["outcome"], row["answered"], row["input_tokens"]) == ("cancelled", "upstream", 500)
    assert row["cost_nano"] >= 500 * 3_000


@pytest.mark.parametrize("order", ["cache, models", "models, cache"])
async def test_an_answer_from_a_cache_is_no_use_of_a_model(
    gateway: MakeGateway, upstream: ScriptedUpstream, where: Where, order: str
) -> None:
    upstream.answers(messages.whole("hello", input_tokens=1000, output_tokens=200))
    steps = {"cache": "  - cache\n", "models": '  - models: {routes: {"*": main}}\n'}
    pipeline = PIPELINE.replace(steps["models"], "".join(steps[step] for step in order.split(", ")))
    gate = await gateway(pipeline, url=upstream.url, files=where.files)
    for _ in range(2):
        await ask(gate.url, prompt(), path=MESSAGES, headers=who(ALICE))
    asked, replayed = await rows(where.query, 2)
    worth = 1000 * 3_000 + 200 * 15_000
    assert (asked["answered"], asked["input_tokens"], asked["cost_nano"]) == ("upstream", 1000, worth)
    assert (asked["replayed_tokens"], asked["replayed_nano"]) == (0, 0)
    assert (replayed["answered"], replayed["input_tokens"], replayed["cost_nano"]) == ("gateway", 0, 0)
    assert (replayed["replayed_tokens"], replayed["replayed_nano"]) == (1200, worth)
    (day,) = await where.query("select sum(input_tokens) as sent, sum(replays) as replays from penstock_usage_day")
    assert (int(day["sent"]), int(day["replays"])) == (1000, 1)


async def test_what_the_simulator_says_is_counted_and_costs_nothing(gateway: MakeGateway, where: Where) -> None:
    pipeline = PIPELINE.replace("  - models", "  - simulator: {pause: 1ms}\n  - models")
    gate = await gateway(pipeline, url="http://127.0.0.1:9", files=where.files)
    await ask(gate.url, prompt("hello there", model="sim/echo"), path=MESSAGES, headers=who(ALICE))
    (row,) = await rows(where.query)
    assert (row["answered"], bool(row["simulated"]), row["cost_nano"]) == ("simulator", True, 0)
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0


async def test_strangers_leave_nothing_behind(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    assert (await ask(gate.url, prompt(), path=MESSAGES)).status == 401
    await ask(gate.url, prompt(), path=MESSAGES, headers=who(ALICE))
    (row,) = await rows(where.query)
    assert row["user_name"] == "alice"


async def test_a_day_is_summed_up(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=10))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    asked = [(ALICE, "model-a"), (ALICE, "model-a"), (ALICE, "model-b"), (BOB, "model-a")]
    for key, model in asked:
        await ask(gate.url, prompt(model=model), path=MESSAGES, headers=who(key))
    await rows(where.query, 4)
    days = await where.query("select * from penstock_usage_day order by user_name, model")
    told = [(each["team"], each["user_name"], each["model"], each["requests"], each["input_tokens"]) for each in days]
    assert told == [
        ("research", "alice", "model-a", 2, 200),
        ("research", "alice", "model-b", 1, 100),
        ("design", "bob", "model-a", 1, 100),
    ]
    assert [each["cost_nano"] for each in days] == [900_000, 450_000, 450_000]


HOSTILE = "nul \0, 😀, " + "long " * 1000


async def test_names_may_be_anything(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.always(messages.whole("hello", model=HOSTILE, input_tokens=2**62, output_tokens=-5))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    body = prompt(model="m\0é" + "x" * 150, metadata={"user_id": HOSTILE})
    for _ in range(2):
        await ask(gate.url, body, path=MESSAGES, headers=who(ALICE, user_agent="x" * 500))
    told = await rows(where.query, 2)
    assert all(len(str(value)) <= 200 for row in told for value in row.values())


async def test_all_is_written_before_the_end(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    await asyncio.gather(*(ask(gate.url, prompt(), path=MESSAGES, headers=who(ALICE)) for _ in range(30)))
    await gate.close()
    assert len(await where.query("select * from penstock_usage")) == 30
    assert list((gate.place.folder / "../data/usage").iterdir()) == []


async def test_a_reload_loses_nothing(gateway: MakeGateway, upstream: ScriptedUpstream, where: Where) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE, url=upstream.url, files=where.files)
    for _ in range(3):
        await ask(gate.url, prompt(), path=MESSAGES, headers=who(ALICE))
        assert await gate.reload()
    await rows(where.query, 3)
    (day,) = await where.query("select * from penstock_usage_day")
    assert day["requests"] == 3


async def test_the_mode_and_the_searches_are_recorded_and_paid(
    gateway: MakeGateway, upstream: ScriptedUpstream, where: Where
) -> None:
    searched = {"web_search_requests": 3, "web_fetch_requests": 1}
    fast = answer(input_tokens=1000, output_tokens=0, service_tier="standard", speed="fast", server_tool_use=searched)
    upstream.answers(fast, messages.whole("hello", input_tokens=1000))
    price = "{input: 3, output: 15, searches: 20, modes: {fast: {input: 6, output: 30, searches: 20}}}"
    pipeline = PIPELINE.replace("{input: 3, output: 15, cache_read: 0.3}", price)
    gate = await gateway(pipeline, url=upstream.url, files=where.files)
    for _ in range(2):
        await ask(gate.url, prompt(), path=MESSAGES, headers=who(ALICE))
    quick, plain = await rows(where.query, 2)
    assert (quick["mode"], quick["searches"], quick["cost_nano"]) == (
        "fast",
        3,
        6 * DOLLARS // 1000 + 6 * DOLLARS // 100,
    )
    assert (plain["mode"], plain["searches"], bool(plain["price_known"])) == ("standard", 0, True)
    (day,) = await where.query("select searches from penstock_usage_day")
    assert day["searches"] == 3
    told = await ask(gate.url, path="/team/-/usage?by=mode", method="GET", headers=who(ALICE))
    assert [(row["mode"], row["web_searches"]) for row in told.json()["rows"]] == [("fast", 3), ("standard", 0)]


async def test_old_records_go_and_their_sums_stay(
    gateway: MakeGateway, upstream: ScriptedUpstream, where: Where
) -> None:
    upstream.always(messages.whole("hello", input_tokens=100))
    for number in range(3):  # the gateway looks for old records as it starts
        gate = await gateway(PIPELINE.replace("- usage", "- usage: {keep: 30d}"), url=upstream.url, files=where.files)
        await ask(gate.url, prompt(), path=MESSAGES, headers=who(ALICE))
        await rows(where.query, number + 1)
        await gate.close()
    long_ago = (datetime.now(UTC) - timedelta(days=32)).date().isoformat()
    first, second, third = await rows(where.query, 3)
    for table in ("penstock_usage", "penstock_usage_day"):
        await where.query(f"update {table} set day = '{long_ago}'")
    await where.query(f"update penstock_usage set day = '{third['day']}' where id = '{third['id']}'")
    await where.query(f"update penstock_usage set pipeline = 'another' where id = '{second['id']}'")
    gate = await gateway(PIPELINE.replace("- usage", "- usage: {keep: 30d}"), url=upstream.url, files=where.files)
    async with asyncio.timeout(PATIENCE):
        while len(left := await where.query("select id from penstock_usage")) > 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert {row["id"] for row in left} == {second["id"], third["id"]}
    assert first["id"] not in {row["exchange"] for row in await where.query("select * from penstock_usage_attempt")}
    told = await ask(gate.url, path="/team/-/usage?since=60d&by=day", method="GET", headers=who(ALICE))
    assert told.json()["total"]["requests"] == 3
    assert told.json()["suggestions"] == []
    told = await ask(gate.url, path="/team/-/usage?since=60d&by=session", method="GET", headers=who(ALICE))
    assert told.json()["total"]["requests"] == 1
    assert "of which the ledger has those since" in told.json()["suggestions"][0]


@pytest.mark.parametrize("keep", ["1d", "6d23h"])
async def test_records_are_kept_for_a_week_at_least(gateway: MakeGateway, keep: str) -> None:
    with pytest.raises(ConfigError, match="`keep` must be 7d or more"):
        await gateway(PIPELINE.replace("- usage", f"- usage: {{keep: {keep}}}"), url="http://127.0.0.1:9", files=FILES)
