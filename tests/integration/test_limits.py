"""Limits over HTTP: several keys and teams, clients that leave, gateways that share a store, what agents make of it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from anthropic import AsyncAnthropic, RateLimitError

from penstock.problems import ConfigError
from penstock.testing import (
    CUT,
    HANG,
    GatewayProcess,
    MakeGateway,
    MakeProcess,
    MakeUpstream,
    Reply,
    ScriptedUpstream,
    messages,
)
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import ask, log_lines, opened, prompt, until
from tests.plugins.crowd import eventually
from tests.plugins.redis_server import BINARY, RedisServer

ANN, BEN, EVE = new_key(), new_key(), new_key()
KEYS = f"""
keys:
  - {{hash: "{hash_of(ANN)}", user: ann, name: anns-laptop}}
  - {{hash: "{hash_of(BEN)}", user: ben, name: bens-laptop}}
  - {{hash: "{hash_of(EVE)}", user: eve, team: interns, name: eves-laptop}}
"""
FILES = {"keys.yaml": KEYS}
TEAM = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - auth: {keys: keys.yaml}
  - limits: {LIMITS}
  - translation
teams:
  interns: {limits: {requests_per_day: 1}}
"""


def team(limits: str) -> str:
    return TEAM.replace("LIMITS", limits)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def statuses(url: str, key: str, count: int) -> list[int]:
    """How so many requests go, one after the other."""
    return [(await ask(url, prompt(), headers=bearer(key))).status for _ in range(count)]


def hanging() -> Reply:
    """A stream that begins and does not end."""
    return messages.stream("hello").at(b"event: content_block_stop", HANG)


# ---------------------------------------------------------------- keys and teams


async def test_each_key_has_its_own_and_a_team_has_other_ones(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("requests_per_day: 3"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    assert await statuses(gate.url, ANN, 5) == [200, 200, 200, 429, 429]
    assert await statuses(gate.url, BEN, 4) == [200, 200, 200, 429]
    assert await statuses(gate.url, EVE, 2) == [200, 429]
    assert len(upstream.calls) == 7
    said = await ask(gate.url, prompt(stream=True), headers=bearer(EVE))
    assert said.error == {
        "type": "rate_limit_error",
        "message": "limit reached: 1 request per day for key eves-laptop of eve; try again in 24 h",
    }
    assert said.headers["x-should-retry"] == "false"
    lines = await log_lines(gate, 12)
    refused = [line for line in lines if line["status"] == 429]
    assert [line["error"]["kind"] for line in refused] == ["rate_limited"] * 5
    assert not any("attempts" in line or "tokens" in line for line in refused)


async def test_what_the_upstream_has_told_is_what_counts(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("tokens_per_minute: 6000"), url=upstream.url, files=FILES)
    upstream.answers(messages.stream("hello", input_tokens=6000, output_tokens=30), messages.whole("never"))
    assert (await ask(gate.url, prompt(stream=True), headers=bearer(ANN))).status == 200
    await log_lines(gate)
    said = await ask(gate.url, prompt(), headers=bearer(ANN))
    assert (said.status, said.headers["retry-after"]) == (429, "2")
    assert said.error["message"].endswith("6,000 tokens per minute for key anns-laptop of ann; try again in 2 s")


async def test_counting_tokens_and_listing_models_are_free(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("requests_per_day: 1"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    for _ in range(3):
        assert (await ask(gate.url, prompt(), path="/v1/messages/count_tokens", headers=bearer(EVE))).status != 429
    assert await statuses(gate.url, EVE, 2) == [200, 429]


async def test_what_was_used_survives_a_reload(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("requests_per_day: 2"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    assert await statuses(gate.url, ANN, 1) == [200]
    assert await gate.reload(team("requests_per_day: 2, wait: 10ms"))
    assert await statuses(gate.url, ANN, 2) == [200, 429]


async def test_an_unknown_model_and_a_dead_upstream(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """The first costs nothing, the second a request."""
    pipeline = team("requests_per_day: 2").replace(
        "  - translation", "  - models: {routes: {m: main}}\n  - translation"
    )
    gate = await gateway(pipeline, url=upstream.url, files=FILES)
    for _ in range(3):
        assert (await ask(gate.url, prompt(), headers=bearer(ANN))).status == 404
    await log_lines(gate, 3)
    upstream.always(messages.error(500, "api_error", "it broke"))
    found = [(await ask(gate.url, prompt(model="m"), headers=bearer(ANN))).status for _ in range(3)]
    assert found == [500, 500, 429]


async def test_it_has_to_know_who_is_asking(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    auth = "  - auth: {keys: keys.yaml}\n"
    pipeline = team("requests_per_day: 2").replace(auth, "").replace("  - translation\n", f"{auth}  - translation\n")
    with pytest.raises(
        ConfigError, match="'limits' needs the principal, which 'auth' provides further down: move it up"
    ):
        await gateway(pipeline.partition("teams:")[0], url=upstream.url, files=FILES)


# ---------------------------------------------------------------- clients that leave


async def test_a_client_that_leaves_makes_room_for_the_next(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("concurrency: 2"), url=upstream.url, files=FILES)
    upstream.always(lambda call: hanging())
    for round_ in range(3):
        async with (
            opened(gate.url, prompt(stream=True), headers=bearer(ANN)) as one,
            opened(gate.url, prompt(stream=True), headers=bearer(ANN)) as two,
        ):
            assert (one.status, two.status) == (200, 200)
            said = await ask(gate.url, prompt(), headers=bearer(ANN))
            assert said.status == 429, said
            assert said.headers["retry-after"] == "5"
            assert "2 at a time for key anns-laptop of ann" in said.error["message"]
            async with opened(gate.url, prompt(stream=True), headers=bearer(BEN)) as other:
                assert other.status == 200
        await log_lines(gate, 4 * (round_ + 1))


async def used_up(url: str, key: str) -> bool:
    """Whether a key has no request left, as the step itself says."""
    said = await ask(url, method="GET", path="/-/limits", headers=bearer(key))
    return bool(said.json()["limits"][0]["left"] == 0)


async def test_who_leaves_before_the_upstream_was_asked_has_used_nothing(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """The upstream takes one call at a time, so that others wait with a request that is ready to go."""
    pipeline = team("requests_per_day: 2").replace("key: upstream-key", "key: upstream-key, max_connections: 1")
    gate = await gateway(pipeline, url=upstream.url, files=FILES)
    upstream.answers(hanging())
    async with opened(gate.url, prompt(stream=True), headers=bearer(ANN)) as first:
        assert first.status == 200
        waiting = [asyncio.ensure_future(ask(gate.url, prompt(), headers=bearer(BEN))) for _ in range(2)]
        await eventually(lambda: used_up(gate.url, BEN))  # they have been let in
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        await log_lines(gate, 2)
    await log_lines(gate, 3)
    assert len(upstream.calls) == 1
    upstream.always(messages.whole("hello"))
    assert await statuses(gate.url, BEN, 3) == [200, 200, 429]
    assert await statuses(gate.url, ANN, 2) == [200, 429]


async def test_the_lease_ends_with_the_stream_however_it_ends(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("concurrency: 1"), url=upstream.url, files=FILES)
    upstream.answers(
        messages.stream("hello"),
        messages.stream("hello").at(b"event: content_block_stop", CUT),
        messages.error(529, "overloaded_error", "Overloaded"),
        messages.stream("hello"),
    )
    for count in range(1, 5):
        said = await ask(gate.url, prompt(stream=True), headers=bearer(ANN))
        assert said.status == (529 if count == 3 else 200)
        await log_lines(gate, count)


# ---------------------------------------------------------------- calls to upstreams

FREE = """
path: /
upstreams:
  free: {protocol: anthropic, url: "{url}/free", key: k}
  paid: {protocol: anthropic, url: "{url}/paid", key: k}
plugins:
  - logging: {to: log.jsonl}
  - models: {routes: {"*": [free, paid]}}
  - limits: {requests_per_day: 2, per: upstream, only: ["free/*"]}
    id: free-tier
  - translation
"""


async def test_a_free_tier_is_used_up_before_the_next_upstream_is_asked(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await gateway(FREE, url=upstream.url)
    upstream.always(messages.whole("hello"))
    for _ in range(4):
        assert (await ask(gate.url, prompt())).status == 200
    assert [call.path for call in upstream.calls] == ["/free/v1/messages"] * 2 + ["/paid/v1/messages"] * 2


async def test_calls_are_paced_and_not_refused(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    pipeline = FREE.replace('requests_per_day: 2, per: upstream, only: ["free/*"]', PACE)
    gate = await gateway(pipeline, url=upstream.url)
    upstream.always(messages.whole("hello"))
    assert {(await ask(gate.url, prompt())).status for _ in range(120)} == {200}
    started = time.monotonic()
    answers = await asyncio.gather(*(ask(gate.url, prompt(stream=False)) for _ in range(4)))
    assert [said.status for said in answers] == [200] * 4
    assert time.monotonic() - started > 0.5


PACE = "requests_per_minute: 120, per: upstream, wait: 20s"


# ---------------------------------------------------------------- what clients make of it


async def test_the_official_client_comes_again_when_it_was_told(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await gateway(team("requests_per_minute: 60"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    assert set(await statuses(gate.url, ANN, 60)) == {200}
    async with AsyncAnthropic(base_url=gate.url, auth_token=ANN, max_retries=2) as client:
        answers = [
            await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
            for _ in range(2)
        ]
    assert [answer.stop_reason for answer in answers] == ["end_turn"] * 2
    lines = await log_lines(gate, 63)
    assert 1 <= sum(line["status"] == 429 for line in lines) <= 2


async def test_the_official_client_gives_up_at_once_where_it_would_wait_for_hours(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await gateway(team("requests_per_day: 1"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    assert await statuses(gate.url, ANN, 1) == [200]
    async with AsyncAnthropic(base_url=gate.url, auth_token=ANN, max_retries=5) as client:
        with pytest.raises(RateLimitError, match="1 request per day for key anns-laptop of ann; try again in 24 h"):
            await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert len(await log_lines(gate, 2)) == 2


# ---------------------------------------------------------------- gateways that share a store

needs_server = pytest.mark.skipif(BINARY is None, reason="needs redis-server or valkey-server")
BOTH = pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=needs_server)])


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    if BINARY is not None:
        server.start()
    yield server
    server.kill()


def shared(kind: str, redis: RedisServer) -> dict[str, str]:
    store = "sqlite:state.db" if kind == "sqlite" else f"{redis.url}?timeout=5"
    return {**FILES, "gateway.yaml": f"store: {store}\n"}


async def crowd(gates: list[GatewayProcess], count: int, deed: Callable[[str], "asyncio.Future[int] | object"]) -> None:
    """So many deeds, sixteen at a time, on all gateways in turns."""
    urls = iter([gate.url for gate in gates] * count)
    turns = iter(range(count))

    async def work() -> None:
        for _ in turns:
            await deed(next(urls))  # type: ignore[misc]

    await asyncio.gather(*(work() for _ in range(16)))


@BOTH
async def test_two_gateways_let_through_exactly_what_one_would(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, redis: RedisServer, kind: str
) -> None:
    pipeline, files = team("requests_per_day: 100, tokens_per_day: 100000"), shared(kind, redis)
    gates = [await gateway_process(pipeline, url=upstream.url, files=files) for _ in range(2)]
    upstream.always(messages.whole("hello", input_tokens=10, output_tokens=5))
    found: list[int] = []
    async with aiohttp.ClientSession() as session:

        async def one(url: str) -> None:
            async with session.post(f"{url}/v1/messages", json=prompt(max_tokens=5), headers=bearer(ANN)) as answer:
                await answer.read()
                found.append(answer.status)

        await crowd(gates, 300, one)
    assert (found.count(200), found.count(429)) == (100, 200)
    assert len(upstream.calls) == 100


@BOTH
async def test_no_more_at_a_time_than_one_would_whoever_leaves(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, redis: RedisServer, kind: str
) -> None:
    gates = [
        await gateway_process(team("concurrency: 5"), url=upstream.url, files=shared(kind, redis)) for _ in range(2)
    ]
    upstream.always(lambda call: hanging() if len(upstream.calls) % 2 else messages.stream("hello"))
    most = found = 0

    async def one(url: str) -> None:
        nonlocal most, found
        async with opened(url, prompt(stream=True), headers=bearer(ANN)) as answer:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await answer.content.read()
            most, found = max(most, upstream.open_streams), found + (answer.status == 200)

    await crowd(gates, 200, one)
    assert 0 < most <= 5 < found
    await until(lambda: upstream.open_streams == 0)
    await log_lines(gates[0], 200)
    async with asyncio.TaskGroup() as group:  # nothing is left: five may enter again, and a sixth may not
        tasks = [group.create_task(held(gates[number % 2], upstream)) for number in range(5)]
        await until(lambda: upstream.open_streams == 5)
        assert (await ask(gates[0].url, prompt(), headers=bearer(ANN))).status == 429
        for task in tasks:
            task.cancel()


async def held(gate: GatewayProcess, upstream: ScriptedUpstream) -> None:
    """Have a stream open until cancelled."""
    upstream.answers(hanging())
    async with opened(gate.url, prompt(stream=True), headers=bearer(ANN)) as answer:
        assert answer.status == 200
        await asyncio.Event().wait()


@needs_server
@pytest.mark.parametrize(("choice", "status"), [("refuse", 503), ("allow", 200)])
async def test_a_store_that_goes_and_comes_back(
    gateway: MakeGateway, make_upstream: MakeUpstream, redis: RedisServer, choice: str, status: int
) -> None:
    upstream = await make_upstream()
    upstream.always(messages.whole("hello"))
    pipeline = team(f"requests_per_day: 2, concurrency: 5, when_store_fails: {choice}")
    gate = await gateway(pipeline, url=upstream.url, files=shared("redis", redis))
    assert await statuses(gate.url, ANN, 1) == [200]
    redis.kill()
    assert await statuses(gate.url, ANN, 3) == [status] * 3
    redis.start()
    assert await statuses(gate.url, ANN, 3) == [200, 200, 429]
