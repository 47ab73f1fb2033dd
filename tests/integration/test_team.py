"""A pipeline with keys: who is asking decides what runs, and nobody else gets in."""

import pytest

from penstock.testing import MakeGateway, ScriptedUpstream, messages
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import ask, log_lines, prompt, until

TEAM = """
path: /team
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - auth: {keys: keys.yaml}
  - models: {routes: {"claude-*": main/for-everybody}}
  - translation
teams:
  research: {models: {routes: {"*": main/for-research}}}
"""
ALICE, BOB, CAROL = new_key(), new_key(), new_key()
KEYS = f"""
keys:
  - {{hash: "{hash_of(ALICE)}", user: alice}}
  - {{hash: "{hash_of(BOB)}", user: bob, team: research, name: bobs-laptop}}
"""
FILES = {"keys.yaml": KEYS}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("pk-unknown"), {"x-api-key": "pk-unknown"}, {"authorization": f"Basic {ALICE}"}, bearer("")],
    ids=["none", "unknown bearer", "unknown key", "basic", "empty"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/team/v1/messages"), ("POST", "/team/v1/messages/count_tokens"), ("GET", "/team/v1/models")],
)
async def test_strangers_stay_outside(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str], method: str, path: str
) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=FILES)
    body = prompt(stream=True) if method == "POST" else None
    said = await ask(gate.url, body, method=method, path=path, headers=headers)
    assert (said.status, said.error["type"]) == (401, "authentication_error")
    assert said.headers["x-should-retry"] == "false"
    assert "pk-unknown" not in said.body.decode()
    assert upstream.calls == []
    (line,) = await log_lines(gate)
    assert (line["status"], line["outcome"]) == (401, "error")
    assert "pk-unknown" not in str(line)


@pytest.mark.parametrize(
    ("headers", "user", "team", "model"),
    [
        (bearer(ALICE), "alice", None, "for-everybody"),
        ({"x-api-key": BOB}, "bob", "research", "for-research"),
        ({"x-api-key": "sk-for-somebody-else", **bearer(BOB)}, "bob", "research", "for-research"),
    ],
    ids=["no team", "team", "two credentials"],
)
async def test_the_team_decides_what_runs(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str], user: str, team: str | None, model: str
) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=FILES)
    upstream.answers(messages.stream("hello"))
    request = prompt(stream=True, model="claude-any")
    said = await ask(gate.url, request, path="/team/v1/messages", headers={**headers, "origin": "https://web.example"})
    assert (said.status, said.text) == (200, "hello")
    assert upstream.calls[0].json()["model"] == model
    assert ALICE.encode() not in upstream.calls[0].raw_head
    assert BOB.encode() not in upstream.calls[0].raw_head
    (line,) = await log_lines(gate)
    assert (line["user"], line.get("team")) == (user, team)
    assert not any(key in (gate.place.folder / "log.jsonl").read_text() for key in (ALICE, BOB))


async def test_only_the_team_has_its_models(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    request = prompt(model="qwen")
    assert (await ask(gate.url, request, path="/team/v1/messages", headers=bearer(BOB))).status == 200
    said = await ask(gate.url, request, path="/team/v1/messages", headers=bearer(ALICE))
    assert (said.status, said.error["type"]) == (404, "not_found_error")
    assert len(upstream.calls) == 1


async def test_probes_need_no_key(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=FILES)
    assert (await ask(gate.url, method="HEAD", path="/team")).status == 200
    assert (await ask(gate.url, method="HEAD", path="/team/api/hello")).status == 200
    assert (await ask(gate.url, method="GET", path="/team/health")).status == 200


async def test_a_changed_keys_file_is_noticed(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(TEAM, url=upstream.url, files=FILES)
    upstream.always(messages.whole("hello"))
    request = prompt(model="claude-any")
    before = gate.host.current
    gate.place.write(f'keys: [{{hash: "{hash_of(CAROL)}", user: carol}}]\n', "keys.yaml")
    await until(lambda: gate.host.current is not before)
    assert (await ask(gate.url, request, path="/team/v1/messages", headers=bearer(CAROL))).status == 200
    assert (await ask(gate.url, request, path="/team/v1/messages", headers=bearer(ALICE))).status == 401
    gate.place.write("keys: [{hash: nonsense, user: dave}]\n", "keys.yaml")
    assert not await gate.reload()
    assert (await ask(gate.url, request, path="/team/v1/messages", headers=bearer(CAROL))).status == 200
