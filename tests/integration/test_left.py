"""What is left of limits and budgets, asked over HTTP by several keys, teams and admins."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from penstock.testing import HANG, PATIENCE, MakeGateway, RunningGateway, ScriptedUpstream, messages
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import Said, ask, log_lines, opened, prompt
from tests.integration.test_limits import ANN, BEN, EVE, KEYS, bearer
from tests.plugins.redis_server import BINARY, RedisServer

ROOT, LEAD = new_key(), new_key()
FILES = {
    "keys.yaml": f"""{KEYS}
  - {{hash: "{hash_of(ROOT)}", user: root, name: roots-desk, admin: true}}
  - {{hash: "{hash_of(LEAD)}", user: lead, team: interns, name: leads-desk, admin: true}}
"""
}
TEAM = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - auth: {keys: keys.yaml}
  - limits: {requests_per_day: 10, input_tokens_per_day: 1000, concurrency: 3}
  - limits: {per: team, requests_per_hour: 100}
    id: team-limits
  - limits: {per: session, iterations: 5}
    id: session-limits
  - prices:
      overrides: {"*": {input: 10000, output: 0}}
  - budgets: {daily: 20, total: 100, timezone: Europe/Berlin}
  - translation
teams:
  interns:
    limits: {requests_per_day: 4}
    budgets: {daily: 1}
  evals:
    limits: false
"""


@pytest.fixture
async def gate(gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    upstream.always(messages.whole("hello", input_tokens=100, output_tokens=5))
    return await gateway(TEAM, url=upstream.url, files=FILES)


async def use(gate: RunningGateway, key: str, count: int = 1, session: str = "") -> None:
    """So many answers, settled."""
    lines = (gate.place.folder / "log.jsonl").read_text().count("\n")
    more = {"x-claude-code-session-id": session} if session else {}
    for _ in range(count):
        assert (await ask(gate.url, prompt(max_tokens=1), headers={**bearer(key), **more})).status == 200
    await log_lines(gate, lines + count)


async def asked(gate: RunningGateway, step: str, key: str, /, **query: str) -> Said:
    return await ask(gate.url, method="GET", path=f"/-/{step}?{urlencode(query)}", headers=bearer(key) if key else {})


async def left(gate: RunningGateway, step: str, key: str, /, **query: str) -> dict[str, Any]:
    said = await asked(gate, step, key, **query)
    assert said.status == 200, said.body
    return cast("dict[str, Any]", said.json())


def rests(told: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Limit and rest by name."""
    return {line["name"]: (line["limit"], line["left"]) for line in told["limits"]}


# ---------------------------------------------------------------- limits


async def test_each_key_sees_what_it_has_left(gate: RunningGateway) -> None:
    await use(gate, ANN, 3)
    told = await left(gate, "limits", ANN)
    day = 86400 / 10
    assert {name: told[name] for name in ("step", "per", "subject")} == {
        "step": "limits",
        "per": "key",
        "subject": "key anns-laptop of ann",
    }
    requests, tokens, concurrency = told["limits"]
    assert {"name": "requests_per_day", "limit": 10, "used": 3, "left": 7}.items() <= requests.items()
    assert 3 * day - PATIENCE < requests["full_in_seconds"] <= 3 * day
    assert (tokens["name"], tokens["used"]) == ("input_tokens_per_day", 300)
    assert concurrency == {"name": "concurrency", "limit": 3, "used": 0, "left": 3}
    assert rests(await left(gate, "limits", BEN))["requests_per_day"] == (10, 10)
    assert rests(await left(gate, "limits", ANN)) == rests(told)  # asking costs nothing


async def test_what_is_under_way_is_seen(gate: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(lambda call: messages.stream("hello").at(b"event: content_block_stop", HANG))
    async with opened(gate.url, prompt(stream=True), headers=bearer(ANN)):
        assert rests(await left(gate, "limits", ANN))["concurrency"] == (3, 2)
    await log_lines(gate)
    assert rests(await left(gate, "limits", ANN))["concurrency"] == (3, 3)


async def test_more_than_there_was_is_a_debt(gate: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.whole("hello", input_tokens=1500))
    await use(gate, ANN)
    _, tokens, _ = (await left(gate, "limits", ANN))["limits"]
    assert (tokens["used"], tokens["left"]) == (1500, -500)
    assert 86400 < tokens["full_in_seconds"] <= 1.5 * 86400


async def test_the_limits_are_those_of_the_team(gate: RunningGateway) -> None:
    await use(gate, EVE)
    assert rests(await left(gate, "limits", EVE))["requests_per_day"] == (4, 3)
    assert rests(await left(gate, "team-limits", EVE)) == {"requests_per_hour": (100, 99)}
    assert (await left(gate, "team-limits", EVE))["subject"] == "team interns"
    assert rests(await left(gate, "team-limits", ANN)) == {"requests_per_hour": (100, 100)}


async def test_a_session_has_its_own(gate: RunningGateway) -> None:
    await use(gate, ANN, 2, session="s1")
    assert rests(await left(gate, "session-limits", ANN, session="s1")) == {"iterations": (5, 3)}
    assert rests(await left(gate, "session-limits", ANN, session="s2")) == {"iterations": (5, 5)}
    assert rests(await left(gate, "session-limits", BEN, session="s1")) == {"iterations": (5, 5)}
    told = await left(gate, "session-limits", ROOT, user="ann", key="anns-laptop", session="s1")
    assert rests(told) == {"iterations": (5, 3)}
    said = await asked(gate, "session-limits", ANN)
    assert (said.status, said.json()["error"]["message"]) == (
        400,
        "this is counted by session: say which, with `session` in the query",
    )


# ---------------------------------------------------------------- who may see whom


async def test_an_admin_sees_all_and_that_of_a_team_the_team(gate: RunningGateway) -> None:
    await use(gate, ANN)
    await use(gate, EVE)
    assert rests(await left(gate, "limits", ROOT, user="ann", key="anns-laptop"))["requests_per_day"] == (10, 9)
    for query in ({"team": "interns"}, {"team": "interns", "user": "eve", "key": "eves-laptop"}):
        assert rests(await left(gate, "team-limits", ROOT, **query)) == {"requests_per_hour": (100, 99)}
    eve = {"user": "eve", "key": "eves-laptop"}
    for admin, query in ((ROOT, {"team": "interns", **eve}), (LEAD, eve)):
        assert rests(await left(gate, "limits", admin, **query))["requests_per_day"] == (4, 3)
        assert (await left(gate, "budgets", admin, **query))["budgets"][1]["limit_usd"] == 1


@pytest.mark.parametrize(
    ("key", "step", "query", "status", "complaint"),
    [
        ("", "limits", {}, 401, "no API key"),
        (BEN, "limits", {"user": "ann", "key": "anns-laptop"}, 403, "what others have left is for admins"),
        (BEN, "budgets", {"user": "ann", "key": "anns-laptop"}, 403, "what others have left is for admins"),
        (EVE, "team-limits", {"team": ""}, 403, "what others have left is for admins"),
        (LEAD, "limits", {"team": "", "user": "ann", "key": "anns-laptop"}, 403, "only within their team"),
        (LEAD, "team-limits", {"team": "evals"}, 403, "only within their team"),
        (ROOT, "limits", {"user": "ann"}, 400, "this is counted by key: say which, with `key` in the query"),
        (ROOT, "limits", {"user": "", "key": "x"}, 400, "`user` must not be empty"),
        (ROOT, "limits", {"team": "evals"}, 404, "step 'limits' is off for team evals"),
        (ANN, "limits", {"usr": "ann"}, 400, "unknown parameter 'usr'; there are: team, user, key, session"),
    ],
    ids=range(10),
)
async def test_a_wrong_question_is_refused(
    gate: RunningGateway, key: str, step: str, query: dict[str, str], status: int, complaint: str
) -> None:
    said = await asked(gate, step, key, **query)
    assert said.status == status
    assert complaint in said.json()["error"]["message"]


async def test_one_may_name_oneself(gate: RunningGateway) -> None:
    await use(gate, EVE)
    told = await left(gate, "limits", EVE, team="interns", user="eve", key="eves-laptop")
    assert rests(told)["requests_per_day"] == (4, 3)


# ---------------------------------------------------------------- budgets


async def test_budgets_tell_what_is_spent_and_when_they_reset(gate: RunningGateway) -> None:
    await use(gate, ANN, 2)  # a hundred tokens cost a dollar
    told = await left(gate, "budgets", ANN)
    assert (told["per"], told["subject"]) == ("key", "key anns-laptop of ann")
    total, daily = told["budgets"]
    assert total == {
        "window": "total",
        "limit_usd": 100,
        "spent_usd": 2,
        "left_usd": 98,
        "resets_at": None,
        "resets_in_seconds": None,
    }
    assert (daily["window"], daily["limit_usd"], daily["spent_usd"], daily["left_usd"]) == ("daily", 20, 2, 18)
    assert datetime.fromisoformat(daily["resets_at"]).strftime("%H:%M") == "00:00"
    assert 0 < daily["resets_in_seconds"] <= 25 * 3600
    assert (await left(gate, "budgets", BEN))["budgets"][1]["left_usd"] == 20


# ---------------------------------------------------------------- open pipelines, stores

OPEN = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - limits: {requests_per_day: 10, requests_per_minute: 5, concurrency: 2}
  - limits: {per: model, requests_per_day: 3}
    id: models
  - translation
"""


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_an_open_pipeline_tells_this_machine_with_any_store(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path, kind: str
) -> None:
    if kind == "redis" and BINARY is None:
        pytest.skip("needs redis-server or valkey-server")
    server = RedisServer(tmp_path)
    try:
        if kind == "redis":
            await asyncio.to_thread(server.start)
        store = {"memory": "memory:", "sqlite": "sqlite:state.db", "redis": f"{server.url}?timeout=5"}[kind]
        gate = await gateway(OPEN, url=upstream.url, files={"gateway.yaml": f'store: "{store}"\n'})
        upstream.always(messages.whole("hello"))
        for count in (1, 2):
            assert (await ask(gate.url, prompt(model="m"))).status == 200
            await log_lines(gate, count)
        told = await left(gate, "limits", "")
        assert told["subject"] == "this pipeline"
        assert rests(told) == {"requests_per_minute": (5, 3), "requests_per_day": (10, 8), "concurrency": (2, 2)}
        assert rests(await left(gate, "models", "", upstream="main", model="m")) == {"requests_per_day": (3, 1)}
        outside = {"host": "web.example"}
        assert (await ask(gate.url, method="GET", path="/-/limits", headers=outside)).status == 403
    finally:
        server.kill()


async def test_a_store_that_is_away_is_said_to_be(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(OPEN, url=upstream.url, files={"gateway.yaml": "store: sqlite:gateway.yaml/state.db\n"})
    said = await asked(gate, "limits", "")
    assert (said.status, said.json()["error"]["message"]) == (
        503,
        "the gateway cannot look up its limits at the moment",
    )
