"""Budgets over HTTP: several keys and teams, cheaper models, webhooks, gateways that share a store, what agents say."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic, RateLimitError

from penstock.testing import (
    CUT,
    HANG,
    MakeGateway,
    MakeProcess,
    MakeUpstream,
    RunningGateway,
    ScriptedUpstream,
    chat,
    json_reply,
    messages,
)
from tests.integration.talk import ask, log_lines, opened, prompt, until
from tests.integration.test_limits import ANN, BEN, EVE, FILES, bearer
from tests.plugins.redis_server import BINARY, RedisServer

# A cent a token in, ten cents a token out; `cheap` costs a tenth, `free` nothing.
TEAM = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - auth: {keys: keys.yaml}
  - prices:
      overrides:
        "*": {input: 10000, output: 100000}
        cheap: {input: 1000, output: 10000}
        free: {input: 0, output: 0}
  - budgets: {BUDGETS}
  - models: {routes: {"*": main}}
  - translation
teams:
  interns: {budgets: {daily: 1}}
"""
UNIFIED = "anthropic-ratelimit-unified-"


def team(budgets: str) -> str:
    return TEAM.replace("BUDGETS", budgets)


async def statuses(gate: RunningGateway, key: str, count: int, **more: Any) -> list[int]:
    """How so many requests go, each after the one before has been settled, which the line in the log shows."""
    found = []
    for _ in range(count):
        lines = (gate.place.folder / "log.jsonl").read_text().count("\n")
        found.append((await ask(gate.url, prompt(max_tokens=1, **more), headers=bearer(key))).status)
        await log_lines(gate, lines + 1)
    return found


def midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


# ---------------------------------------------------------------- keys and teams


async def test_each_key_has_its_own_and_a_team_has_another(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("daily: 3"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 5) == [200, 200, 200, 429, 429]
    assert await statuses(gate, EVE, 3) == [200, 429, 429]
    assert await statuses(gate, BEN, 2) == [200, 200]
    assert len(upstream.calls) == 6
    lines = await log_lines(gate, 10)
    refused = [line for line in lines if line["status"] == 429]
    assert {line["error"]["kind"] for line in refused} == {"over_budget"}
    assert not any("cost_usd" in line for line in refused)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_spent_budget_is_told_as_agents_expect(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    """6.10: once, with the time of its reset and without headers that would have the client say something else."""
    gate = await gateway(team("daily: 1, advice: ask Eve for more"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 1) == [200]
    end = midnight()
    said = await ask(gate.url, prompt(stream=stream), headers=bearer(ANN))
    assert (said.status, said.headers["x-should-retry"]) == (429, "false")
    assert said.error == {
        "type": "billing_error",
        "message": "the daily budget of $1.00 for key anns-laptop of ann is spent;"
        f" it resets at {end:%Y-%m-%d} 00:00 UTC; ask Eve for more",
    }
    left = (end - datetime.now(UTC)).total_seconds()
    assert left <= int(said.headers["retry-after"]) < left + 60
    unified = {name.lower(): value for name, value in said.headers.items() if name.lower().startswith(UNIFIED)}
    assert unified == {
        f"{UNIFIED}status": "rejected",
        f"{UNIFIED}reset": str(int(end.timestamp())),
        f"{UNIFIED}overage-reset": str(int(end.timestamp())),
    }


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_tells_that_a_budget_is_nearly_spent(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    gate = await gateway(team("daily: 1"), url=upstream.url, files=FILES)
    theirs = {f"{UNIFIED}5h-status": "x"}
    upstream.always(messages.whole("hello", input_tokens=80, output_tokens=0).with_headers(**theirs))
    first = await ask(gate.url, prompt(max_tokens=1), headers=bearer(ANN))
    await log_lines(gate)
    upstream.always((messages.stream if stream else messages.whole)("hello").with_headers(**theirs))
    second = await ask(gate.url, prompt(max_tokens=1, stream=stream), headers=bearer(ANN))
    told = [{n.lower(): v for n, v in s.headers.items() if n.lower().startswith(UNIFIED)} for s in (first, second)]
    reset = str(int(midnight().timestamp()))
    common = {f"{UNIFIED}representative-claim": "overage", f"{UNIFIED}reset": reset, f"{UNIFIED}overage-reset": reset}
    warning = {f"{UNIFIED}status": "allowed_warning", f"{UNIFIED}overage-status": "allowed_warning"}
    assert told == [
        theirs,
        common | warning | {f"{UNIFIED}overage-utilization": "0.80", f"{UNIFIED}overage-surpassed-threshold": "0.75"},
    ]


async def test_what_was_spent_survives_a_reload(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("daily: 1"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 1) == [200]
    assert await gate.reload(team("daily: 2"))
    assert await statuses(gate, ANN, 2) == [200, 429]


async def test_a_session_has_its_budget(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("total: 1, per: session"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    for session in ("a", "b"):
        headers = {**bearer(ANN), "x-claude-code-session-id": session}
        answers = [await ask(gate.url, prompt(max_tokens=1), headers=headers) for _ in range(2)]
        assert [said.status for said in answers] == [200, 429]
        assert answers[1].error["message"].endswith("for this session is spent; it does not reset; start a new session")
        assert "retry-after" not in answers[1].headers


async def test_two_budgets_at_once(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """Each has a say, whoever stands first; what one refuses, the other does not charge."""
    both = team("daily: 2").replace("  - models", "  - budgets: {daily: 3, per: pipeline}\n    id: all\n  - models")
    gate = await gateway(both, url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 4) == [200, 200, 429, 429]
    assert await statuses(gate, BEN, 3) == [200, 429, 429]
    said = await ask(gate.url, prompt(), headers=bearer(BEN))
    assert "$3.00 for this pipeline is spent" in said.error["message"]


# ---------------------------------------------------------------- cheaper models


async def test_cheaper_models_answer_from_a_threshold_on(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    pipeline = team('daily: 1, downgrade: {"big-*": cheap, other: free}, downgrade_at: 0.5')
    gate = await gateway(pipeline, url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=50, output_tokens=0))
    first = await ask(gate.url, prompt(max_tokens=1, model="big-1"), headers=bearer(ANN))
    await log_lines(gate)
    second = await ask(gate.url, prompt(max_tokens=1, model="big-1"), headers=bearer(ANN))
    assert "x-penstock-downgraded" not in first.headers
    assert second.headers["x-penstock-downgraded"] == "cheap"
    assert [call.json()["model"] for call in upstream.calls] == ["big-1", "cheap"]
    upstream.always(messages.whole("hello", input_tokens=500, output_tokens=0))
    assert await statuses(gate, ANN, 2, model="big-1") == [200, 429]
    assert await statuses(gate, ANN, 2, model="other") == [200, 200]
    assert upstream.calls[-1].json()["model"] == "free"
    lines = await log_lines(gate, 6)
    assert [line["model"] for line in lines[:2]] == ["big-1", "big-1"]
    assert lines[1]["attempts"][0]["model"] == "cheap"


# ---------------------------------------------------------------- clients that leave, upstreams that fail


async def test_what_was_cut_off_is_paid_as_far_as_it_is_known(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("daily: 10"), url=upstream.url, files=FILES)
    cut = messages.stream("hello", input_tokens=1000, output_tokens=5)
    upstream.answers(cut.at(b"event: content_block_stop", HANG))
    async with opened(gate.url, prompt(stream=True, max_tokens=1), headers=bearer(ANN)) as answer:
        await answer.content.readuntil(b'"o"')
    await log_lines(gate)
    assert await statuses(gate, ANN, 1) == [429]
    upstream.answers(cut.at(b"event: content_block_stop", CUT))
    assert (await ask(gate.url, prompt(stream=True, max_tokens=1), headers=bearer(BEN))).status == 200
    await log_lines(gate, 3)
    assert await statuses(gate, BEN, 1) == [429]


async def test_a_failed_call_is_free(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("daily: 1"), url=upstream.url, files=FILES)
    upstream.always(messages.error(529, "overloaded_error", "Overloaded"))
    assert await statuses(gate, ANN, 10) == [529] * 10
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 2) == [200, 429]


async def test_a_translated_answer_is_paid_too(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    pipeline = team("daily: 1").replace('anthropic, url: "{url}"', 'openai-chat, url: "{url}/v1"')
    gate = await gateway(pipeline, url=upstream.url, files=FILES)
    upstream.always(chat.stream("hello", prompt_tokens=100, completion_tokens=0))
    assert await statuses(gate, ANN, 2, stream=True) == [200, 429]


# ---------------------------------------------------------------- webhooks


async def test_the_webhook_hears_of_each_threshold_once(
    gateway: MakeGateway, upstream: ScriptedUpstream, make_upstream: MakeUpstream
) -> None:
    hook = await make_upstream()
    hook.always(json_reply({}))
    gate = await gateway(team('daily: 1, webhook: "{hook}/hush-hush"'), url=upstream.url, hook=hook.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=40, output_tokens=0))
    assert await statuses(gate, ANN, 4) == [200, 200, 200, 429]
    await hook.called(2)
    end = midnight()
    assert sorted((call.json() for call in hook.calls), key=lambda notice: notice["threshold"]) == [
        {
            "text": "daily budget for key anns-laptop of ann: $0.80 of $1.00 spent (80%);"
            f" it resets at {end:%Y-%m-%d} 00:00 UTC",
            "event": "budget_warning",
            "subject": "key anns-laptop of ann",
            "window": "daily",
            "threshold": 0.75,
            "spent_usd": 0.8,
            "limit_usd": 1.0,
            "resets_at": end.isoformat(),
        },
        {
            "text": "daily budget for key anns-laptop of ann: $1.20 of $1.00 spent (120%);"
            f" it resets at {end:%Y-%m-%d} 00:00 UTC; from now on requests are refused",
            "event": "budget_spent",
            "subject": "key anns-laptop of ann",
            "window": "daily",
            "threshold": 1.0,
            "spent_usd": 1.2,
            "limit_usd": 1.0,
            "resets_at": end.isoformat(),
        },
    ]
    assert all(call.method == "POST" and call.path == "/hush-hush" for call in hook.calls)
    assert not any(key.encode() in call.body for key in (ANN, "upstream-key") for call in hook.calls)


async def test_a_webhook_that_fails_is_told_in_the_log_without_its_address(
    gateway: MakeGateway, upstream: ScriptedUpstream, make_upstream: MakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    hook = await make_upstream()
    hook.answers(json_reply({}, 500), json_reply({}, 302, {"location": f"{upstream.url}/elsewhere"}))
    gate = await gateway(team('daily: 1, webhook: "{hook}/hush-hush"'), url=upstream.url, hook=hook.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    for number, (key, status) in enumerate(((ANN, 500), (BEN, 302)), 1):
        assert await statuses(gate, key, 2) == [200, 429]
        await hook.called(number)
        await until(lambda: f"the webhook refused a notice: status {status}" in caplog.text)  # noqa: B023
    await hook.close()
    assert await statuses(gate, EVE, 2) == [200, 429]
    await until(lambda: "did not reach the webhook: 127.0.0.1 cannot be reached: connection refused" in caplog.text)
    assert "hush" not in caplog.text
    assert not any("elsewhere" in call.path for call in upstream.calls)


async def test_a_webhook_that_hangs_holds_nobody_up(
    gateway: MakeGateway, upstream: ScriptedUpstream, make_upstream: MakeUpstream
) -> None:
    hook, done = await make_upstream(), asyncio.Event()
    hook.always(json_reply({}).first(done))
    gate = await gateway(team('daily: 1, webhook: "{hook}/"'), url=upstream.url, hook=hook.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=50, output_tokens=0))
    async with asyncio.timeout(5):
        for key in (ANN, BEN):
            assert await statuses(gate, key, 3) == [200, 200, 429]
        await hook.called(2)
    done.set()


# ---------------------------------------------------------------- what clients make of it


async def test_the_official_client_asks_once(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(team("daily: 1"), url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 1) == [200]
    async with AsyncAnthropic(base_url=gate.url, auth_token=ANN, max_retries=5) as client:
        with pytest.raises(RateLimitError, match="the daily budget of"):
            await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert len(await log_lines(gate, 2)) == 2


# ---------------------------------------------------------------- gateways that share a store

needs_server = pytest.mark.skipif(BINARY is None, reason="needs redis-server or valkey-server")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    if BINARY is not None:
        server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=needs_server)])
async def test_two_gateways_spend_one_budget(
    gateway_process: MakeProcess, upstream: ScriptedUpstream, redis: RedisServer, kind: str
) -> None:
    """To the cent, though a third of the clients leave and a third of the calls fail."""
    store = "sqlite:state.db" if kind == "sqlite" else f"{redis.url}?timeout=5"
    files = {**FILES, "gateway.yaml": f"store: {store}\n"}
    gates = [await gateway_process(team("daily: 20, total: 100"), url=upstream.url, files=files) for _ in range(2)]
    good = messages.stream("hello", input_tokens=10, output_tokens=0)
    replies = (good, messages.error(500, "api_error", "it broke"), good.at(b"event: content_block_stop", HANG))
    upstream.always(lambda call: replies[len(upstream.calls) % 3])
    turns = iter(range(400))

    async def work() -> None:
        for turn in turns:
            async with opened(gates[turn % 2].url, prompt(stream=True, max_tokens=1), headers=bearer(ANN)) as answer:
                if answer.status == 200:
                    await answer.content.readuntil(b'"o"')

    await asyncio.gather(*(work() for _ in range(16)))
    lines = await log_lines(gates[0], 400)
    upstream.always(good)
    more = 0
    while (await ask(gates[more % 2].url, prompt(stream=True, max_tokens=1), headers=bearer(ANN))).status == 200:
        more += 1
        lines = await log_lines(gates[0], 400 + more)
    paid = round(sum(line.get("cost_usd", 0) for line in lines) * 100)
    assert 2000 <= paid <= 2020
    assert json.dumps(lines).count("over_budget") > 0


@needs_server
@pytest.mark.parametrize(("choice", "status"), [("refuse", 503), ("allow", 200)])
async def test_a_store_that_goes_and_comes_back(
    gateway: MakeGateway, upstream: ScriptedUpstream, redis: RedisServer, choice: str, status: int
) -> None:
    pipeline = team(f'daily: 2, when_store_fails: {choice}, downgrade: {{"x": cheap}}')
    gate = await gateway(pipeline, url=upstream.url, files={**FILES, "gateway.yaml": f"store: {redis.url}?timeout=5\n"})
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=0))
    assert await statuses(gate, ANN, 1) == [200]
    redis.kill()
    assert await statuses(gate, ANN, 3) == [status] * 3
    redis.start()
    assert await statuses(gate, ANN, 3) == [200, 200, 429]
