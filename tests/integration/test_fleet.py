"""A fleet under fire: two gateways, one Redis, failing upstreams, leaving clients, a gateway killed and started again.

No limit is exceeded, no lease is left, and the ledger has what the upstream has counted. 2,000 requests;
FLEET_REQUESTS=20000 makes it so many (a few minutes).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from penstock.testing import MakeProcess, ScriptedUpstream
from tests.integration.fleet import A_DAY, A_MINUTE, AT_ONCE, CLIENTS, ESTIMATE, KEYS, LEASE, TOKENS, Counting, Fleet
from tests.plugins.ledger import Query, Row, in_postgres, in_sqlite
from tests.plugins.redis_server import BINARY, RedisServer
from tests.postgres_server import MISSING, running_postgres

LEDGER = "select * from penstock_usage"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[str, Query]]:
    """Its url, and what asks it: PostgreSQL where there is one."""
    if MISSING:
        path = tmp_path / "ledger.db"
        yield f"sqlite:{path}", in_sqlite(path)
    else:
        with running_postgres() as server:
            yield server.url, in_postgres(server.url)


@pytest.mark.skipif(BINARY is None, reason="needs redis-server or valkey-server")
@pytest.mark.timeout(600)
async def test_a_fleet_under_fire(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, redis: RedisServer, database: tuple[str, Query]
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    counting = Counting(chance)
    upstream.always(counting.reply)
    fleet = Fleet(gateway_process, upstream, redis.url, database[0])
    await fleet.storm(chance)
    ledger = await settled(fleet, counting, database[1])
    print(told(fleet, counting, ledger))
    assert not counting.repeated
    every_limit_held(fleet, counting)
    every_answer_is_accounted_for(fleet, counting, ledger)
    await the_days_add_up(ledger, database[1])
    with Redis(port=redis.port) as client:
        no_lease_is_left(fleet, client, ledger)
        no_reservation_is_left(fleet, counting, client, ledger)


async def settled(fleet: Fleet, counting: Counting, query: Query) -> dict[str, Row]:
    """The ledger by session, once all that must be in it is in it, each once."""
    served = {session for session, asked in fleet.asked.items() if asked.complete}
    expected = {session for session in served | set(counting.answered) if not fleet.doubtful(session)}
    async with asyncio.timeout(30):
        while not expected <= {row["session"] for row in await query(LEDGER)}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    for gate in fleet.gates:
        await gate.close()
    assert not fleet.waiting()
    rows = await query(LEDGER)
    ledger = {row["session"]: row for row in rows}
    assert len(ledger) == len(rows)
    return ledger


def told(fleet: Fleet, counting: Counting, ledger: dict[str, Row]) -> str:
    """The figures of the run, for whoever looks."""
    asked, outcomes = fleet.asked.values(), [row["outcome"] for row in ledger.values()]
    return (
        f"{len(asked)} requests in {fleet.took:.1f} s; statuses {Counter(a.status for a in asked)}; "
        f"{len(upstream_tokens := [a.tokens for a in counting.answered.values()])} calls "
        f"({ {name: counting.calls_of(name) for name in KEYS} }, eve at most {counting.most} at once), "
        f"{sum(map(sum, upstream_tokens))} tokens at the upstream; ledger: {Counter(outcomes)}, "
        f"{sum(tokens_of(row)[0] + tokens_of(row)[1] for row in ledger.values())} tokens; "
        f"in doubt: {sum(map(fleet.doubtful, fleet.asked))}, not in the ledger: "
        f"{len(set(counting.answered) - set(ledger))}"
    )


def tokens_of(row: Row) -> tuple[int, int]:
    return row["input_tokens"], row["output_tokens"]


def every_limit_held(fleet: Fleet, counting: Counting) -> None:
    """At the upstream; an empty bucket refills. What was let in and broken off may count before it is a call."""
    left = Counter(asked.user for asked in fleet.asked.values() if not asked.status)
    assert A_DAY - left["ann"] <= counting.calls_of("ann") <= A_DAY * (1 + fleet.took / 86400)
    assert A_MINUTE - left["ben"] <= counting.calls_of("ben") <= A_MINUTE * (1 + fleet.took / 60)
    assert 1 < counting.most <= AT_ONCE


def every_answer_is_accounted_for(fleet: Fleet, counting: Counting, ledger: dict[str, Row]) -> None:
    """Request by request: what the upstream has told is what the ledger says."""
    for session, row in ledger.items():
        answer, complete = counting.answered.get(session), fleet.asked[session].complete
        if answer is None or answer.status != 200:
            assert tokens_of(row) == (0, 0), (row, answer)
        elif row["outcome"] == "ok" or (complete and answer.whole and not fleet.doubtful(session)):
            assert (row["outcome"], tokens_of(row)) == ("ok", answer.tokens), row
        else:  # cut off: its input is known or nothing, and no more of its output than there was
            assert row["input_tokens"] in (0, answer.tokens[0]), (row, answer)
    finished = [s for s, row in ledger.items() if row["outcome"] == "ok"]
    sums = [sum(column) for column in zip(*(tokens_of(ledger[s]) for s in finished), strict=True)]
    assert sums == [sum(column) for column in zip(*(counting.answered[s].tokens for s in finished), strict=True)]


async def the_days_add_up(ledger: dict[str, Row], query: Query) -> None:
    """The sums that are kept with every record are those of the records."""
    columns = ("input_tokens", "output_tokens", "attempts")
    (sums,) = await query(
        "select sum(requests) as requests, "
        + ", ".join(f"sum({c}) as {c}" for c in columns)
        + " from penstock_usage_day"
    )
    (tries,) = await query("select count(*) as attempts from penstock_usage_attempt")
    assert sums["requests"] == len(ledger)
    assert (sums["input_tokens"], sums["output_tokens"]) == tuple(
        map(sum, zip(*map(tokens_of, ledger.values()), strict=True))
    )
    assert sums["attempts"] == tries["attempts"]


def no_lease_is_left(fleet: Fleet, client: Redis, ledger: dict[str, Row]) -> None:
    """But those of the dead, and not for long."""
    left = {
        holder.decode(): ends / 1000 - time.time()
        for key in client.scan_iter("penstock:l:*")
        for holder, ends in cast(list[tuple[bytes, float]], client.zrange(key, 0, -1, withscores=True))
    }
    over = {row["id"] for row in ledger.values() if row["outcome"] != "killed"}
    assert not over & set(left)
    assert len(left) <= AT_ONCE
    assert all(ends <= LEASE - (time.monotonic() - fleet.killed) + 1 for ends in left.values())


def no_reservation_is_left(fleet: Fleet, counting: Counting, client: Redis, ledger: dict[str, Row]) -> None:
    """Each bucket lacks what was used; of what is in doubt, and of answers cut off, that or its estimate."""
    refilled = fleet.took * TOKENS / 86400
    for name in KEYS:
        (bucket,) = client.scan_iter(f"penstock:b:*\t{name}\t*tokens/day")
        taken = TOKENS - float(cast(bytes, client.get(bucket)).split()[0])
        sure = {s: row for s, row in ledger.items() if row["user_name"] == name and not fleet.doubtful(s)}
        doubt = [sum(a.tokens) for s, a in counting.answered.items() if a.user == name and fleet.doubtful(s)]
        used = sum(sum(tokens_of(row)) for row in sure.values())
        unfinished = sum(row["outcome"] != "ok" and row["status"] != 429 for row in sure.values())
        assert used - refilled <= taken <= used + sum(doubt) + ESTIMATE * (unfinished + len(doubt) + CLIENTS)
