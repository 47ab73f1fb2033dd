"""`/-/stats`: it tells what happened, to those who may know; debug mode tells clients how long it took."""

import json
import os
from typing import Any

import pytest

from penstock.testing import HANG, MakeGateway, MakeProcess, RunningGateway, ScriptedUpstream, messages
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import ask, opened, prompt, until

UPSTREAM_KEY = "upstream-key-that-nobody-sees"
RELAY = f"""
path: /
upstreams:
  main: {{protocol: anthropic, url: "{{url}}", key: {UPSTREAM_KEY}}}
plugins:
  - observer
  - translation
"""
OBSERVER = '''
"""Looks at all there is."""
from penstock import Event, Exchange, Plugin, RateLimited, hookimpl

class Observer(Plugin):
    """Looks, refuses, or breaks."""
    hint: str = ""

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if exchange.request.model == "refused":
            raise RateLimited("not now")
        if exchange.request.model == "broken":
            raise KeyError(exchange.headers.get("x-api-key"))

    @hookimpl
    def on_event(self, exchange: Exchange, event: Event) -> None: ...

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None: ...
'''
FILES = {"../plugins/observer.py": OBSERVER}
DEBUG = {**FILES, "gateway.yaml": "debug: true\n"}
ADMIN, LEAD, USER = new_key(), new_key(), new_key()
TEAM = """
path: /team
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - auth: {keys: keys.yaml}
  - observer
  - translation
teams:
  research: {observer: {hint: own}}
  evals: {}
"""
TEAM_FILES = {
    **FILES,
    "keys.yaml": f"""
keys:
  - {{hash: "{hash_of(ADMIN)}", user: ada, admin: true}}
  - {{hash: "{hash_of(LEAD)}", user: lea, team: research, admin: true}}
  - {{hash: "{hash_of(USER)}", user: evelyn, team: evals}}
""",
}


async def stats(gate: RunningGateway, ended: int, path: str = "", key: str = "") -> Any:
    """The answer, once so many exchanges have ended."""
    (pipeline,) = gate.host.current.pipelines
    await until(lambda: pipeline.course.tally.requests.total() == ended)
    said = await ask(gate.url, method="GET", path=f"{path}/-/stats", headers={"x-api-key": key} if key else {})
    assert said.status == 200
    assert said.headers["content-type"] == "application/json"
    return said.json()


def row(found: Any, step: str, hook: str, team: str = "") -> Any:
    (match,) = (r for r in found["steps"] if (r["step"], r["hook"], r["team"]) == (step, hook, team))
    return match


async def test_everything_that_happens_is_counted(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    upstream.answers(messages.stream("hello"), messages.whole("hello"), messages.error(500, "api_error", "broken"))
    assert (await ask(gate.url, prompt(stream=True))).status == 200
    assert (await ask(gate.url, prompt())).status == 200
    assert (await ask(gate.url, prompt())).status == 500
    assert (await ask(gate.url, prompt(model="refused"))).status == 429
    assert (await ask(gate.url, prompt(model="broken"))).status == 500
    found = await stats(gate, 5)
    assert (found["pipeline"], found["pid"], found["debug"], found["open"]) == ("test", os.getpid(), False, 0)
    assert found["generation"] == gate.host.current.id
    assert [(r["outcome"], r["status"], r["count"]) for r in found["requests"]] == [
        ("error", 429, 1),
        ("error", 500, 2),
        ("ok", 200, 2),
    ]
    (tries,) = found["upstreams"]
    assert (tries["upstream"], tries["attempts"], tries["failures"]) == ("main", 3, 1)
    assert tries["mean_ms"] > 0
    asked = row(found, "observer", "on_request")
    assert (asked["plugin"], asked["calls"], asked["refusals"], asked["failures"]) == ("observer", 5, 1, 1)
    assert 0 < asked["mean_us"] <= asked["max_us"]
    assert asked["p50_below_us"] <= asked["p99_below_us"] <= asked["max_us"]
    assert row(found, "observer", "on_complete")["calls"] == 5
    assert row(found, "translation", "on_attempt")["calls"] == 3


async def test_what_is_not_asked_and_what_is_forgiven_is_counted(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    guarded = RELAY.replace("- observer", "- observer:\n    when: {model: [model-a, broken]}\n    on_error: skip")
    gate = await gateway(guarded, url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    for model in ("model-a", "other", "other", "broken"):
        assert (await ask(gate.url, prompt(model=model))).status == 200
    asked = row(await stats(gate, 4), "observer", "on_request")
    assert (asked["calls"], asked["skipped"], asked["failures"]) == (2, 2, 1)


async def test_events_are_timed_in_debug_mode_only(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.stream("hello"))
    for files, timed in ((FILES, False), (DEBUG, True)):
        gate = await gateway(RELAY, url=upstream.url, files=files)
        said = await ask(gate.url, prompt(stream=True))
        assert said.text == "hello"
        found = await stats(gate, 1)
        listened = row(found, "observer", "on_event")
        assert found["debug"] is timed
        assert (listened["calls"] is not None and listened["calls"] > 5) is timed
        assert (row(found, "observer", "on_request")["busy_mean_us"] is not None) is timed
        assert ("server-timing" in said.headers) is timed


async def test_a_client_that_leaves_is_counted_once_it_has_left(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    upstream.answers(messages.stream("hello", "again").at(b"event: content_block_stop", HANG))
    async with opened(gate.url, prompt(stream=True)) as response:
        await response.content.readany()
        assert (await stats(gate, 0))["open"] == 1
    found = await stats(gate, 1)
    assert found["open"] == 0
    assert found["requests"] == [{"operation": "generate", "outcome": "cancelled", "status": 200, "count": 1}]


async def test_no_secret_is_told(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(TEAM, url=upstream.url, files={**TEAM_FILES, "gateway.yaml": "debug: true\n"})
    upstream.always(messages.whole("hello"))
    for model in ("model-a", "broken"):
        said = await ask(gate.url, prompt("what a secret", model=model), path="/team/v1/messages", headers=bearer(USER))
        assert "server-timing" in said.headers
        assert USER not in said.headers["server-timing"]
    text = json.dumps(await stats(gate, 2, "/team", ADMIN))
    assert not any(secret in text for secret in (USER, ADMIN, "upstream-key", "secret", "evelyn", upstream.url))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("key", "status"),
    [("", 401), ("pk-unknown", 401), (USER, 403), (LEAD, 403), (ADMIN, 200)],
    ids=["no key", "unknown", "user", "admin of a team", "admin"],
)
async def test_only_admins_of_all_teams_may_look(
    gateway: MakeGateway, upstream: ScriptedUpstream, key: str, status: int
) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=TEAM_FILES)
    said = await ask(gate.url, method="GET", path="/team/-/stats", headers=bearer(key) if key else {})
    assert said.status == status
    assert ("steps" in said.json()) is (status == 200)


@pytest.mark.parametrize(
    "header", [{"host": "gateway.example"}, {"x-forwarded-for": "192.0.2.1"}], ids=["host", "proxy"]
)
async def test_without_a_login_only_this_machine_may_look(
    gateway: MakeGateway, upstream: ScriptedUpstream, header: dict[str, str]
) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    assert (await ask(gate.url, method="GET", path="/-/stats", headers=header)).status == 403


async def test_a_teams_own_instance_has_its_own_row(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=TEAM_FILES)
    upstream.always(messages.whole("hello"))
    for key in (ADMIN, USER, LEAD, LEAD):
        assert (await ask(gate.url, prompt(), path="/team/v1/messages", headers=bearer(key))).status == 200
    found = await stats(gate, 4, "/team", ADMIN)
    assert row(found, "observer", "on_request")["calls"] == 2
    assert row(found, "observer", "on_request", "research")["calls"] == 2
    assert row(found, "auth", "on_request")["calls"] == 4
    assert {r["team"] for r in found["steps"]} == {"", "research"}


async def test_a_reload_begins_to_count_anew(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    await ask(gate.url, prompt())
    before = await stats(gate, 1)
    assert await gate.reload(RELAY + "# changed\n")
    after = await stats(gate, 0)
    assert after["generation"] != before["generation"]
    assert (after["requests"], after["upstreams"]) == ([], [])
    assert row(after, "observer", "on_request")["calls"] == 0


async def test_no_plugin_takes_its_place(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    own = (
        OBSERVER
        + "\n    @hookimpl\n    def startup(self, gateway) -> None:\n        gateway.add_route('stats', None)\n"
    )
    gate.place.write(own, "../plugins/observer.py")
    assert not await gate.reload()
    assert "GET /-/stats is already served" in gate.host.reload_problem


@pytest.mark.parametrize("stream", [True, False])
async def test_debug_tells_where_the_time_goes(
    gateway: MakeGateway, upstream: ScriptedUpstream, *, stream: bool
) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=DEBUG)
    upstream.always(messages.stream("hello") if stream else messages.whole("hello"))
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.text if stream else said.json()["content"][0]["text"]) == (200, "hello")
    told = dict(metric.split(";dur=") for metric in said.headers["server-timing"].split(", "))
    assert list(told) == ["observer", "translation", "upstream", "total"]
    spent = {name: float(text.partition(";")[0]) for name, text in told.items()}
    assert 0 < spent["upstream"] <= spent["total"]


async def test_debug_tells_of_refusals_too(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=DEBUG)
    said = await ask(gate.url, prompt(model="refused"))
    assert said.status == 429
    assert said.headers["server-timing"].startswith("observer;dur=")
    assert "total;dur=" in said.headers["server-timing"]


async def test_the_command_line_turns_debug_on_and_says_so(
    gateway_process: MakeProcess, upstream: ScriptedUpstream
) -> None:
    process = await gateway_process(RELAY, "--debug", url=upstream.url, files=FILES)
    await process.says("debug is ON")
    upstream.always(messages.whole("hello"))
    assert "server-timing" in (await ask(process.url, prompt())).headers
