"""An upstream that is used with each client's own credential: it gets that one and no other, nobody else gets it."""

import pytest

from penstock import ConfigError
from penstock.testing import MakeGateway, MakeUpstream, ScriptedUpstream, messages
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import ask, log_lines, prompt

OPEN = """
path: /
upstreams:
  own: {protocol: anthropic, url: "{url}", auth: client}
plugins:
  - logging: {to: log.jsonl}
  - translation
"""
GUARDED = """
path: /
upstreams:
  own: {protocol: anthropic, url: "{url}", auth: client}
  shared: {protocol: anthropic, url: "{other}", key: the-gateways-own}
plugins:
  - logging: {to: log.jsonl}
  - auth: {keys: keys.yaml}
  - models: {routes: {"*": [own, shared], "shared-*": shared}}
  - translation
"""
OURS, OFF = new_key(), new_key()
KEYS = {
    "keys.yaml": f"""
keys:
  - {{hash: "{hash_of(OURS)}", user: ann}}
  - {{hash: "{hash_of(OFF)}", user: bo, enabled: false}}
"""
}
MINE = "sk-of-the-client-0123456789"


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"x-api-key": MINE}, (None, MINE)),
        ({"authorization": f"Bearer {MINE}"}, (f"Bearer {MINE}", None)),
        ({"authorization": f"Bearer {MINE}", "x-api-key": "sk-2"}, (f"Bearer {MINE}", "sk-2")),
        ({"authorization": "Basic YTpi", "x-api-key": MINE}, (None, MINE)),
    ],
)
async def test_a_credential_travels_as_it_came(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str], sent: tuple[str | None, str | None]
) -> None:
    gate = await gateway(OPEN, url=upstream.url)
    upstream.answers(messages.stream("hello"))
    said = await ask(gate.url, prompt(stream=True), headers={**headers, "anthropic-beta": "oauth-2025-04-20"})
    assert (said.status, said.text) == (200, "hello")
    (call,) = upstream.calls
    assert (call.header("authorization"), call.header("x-api-key")) == sent
    assert call.header("anthropic-beta") == "oauth-2025-04-20"
    assert MINE not in str(await log_lines(gate))


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}])
async def test_without_one_the_client_is_told_what_is_missing(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str]
) -> None:
    gate = await gateway(OPEN, url=upstream.url)
    said = await ask(gate.url, prompt(), headers=headers)
    assert (said.status, said.headers["x-should-retry"]) == (401, "false")
    assert "upstream 'own' is used with a key of your own: send it in `x-api-key`" in said.error["message"]
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"authorization": f"Bearer {OURS}", "x-api-key": MINE}, (None, MINE)),
        ({"authorization": f"Bearer {MINE}", "x-api-key": OURS}, (f"Bearer {MINE}", None)),
    ],
)
async def test_beside_a_key_of_the_gateway_only_the_clients_own_leaves(
    gateway: MakeGateway,
    make_upstream: MakeUpstream,
    upstream: ScriptedUpstream,
    headers: dict[str, str],
    sent: tuple[str | None, str | None],
) -> None:
    other = await make_upstream()
    gate = await gateway(GUARDED, url=upstream.url, other=other.url, files=KEYS)
    upstream.answers(messages.error(529, "overloaded_error", "busy"))
    other.always(messages.whole("from the other"))
    said = await ask(gate.url, prompt(), headers=headers)
    assert said.text == "from the other"
    (call,) = upstream.calls
    assert (call.header("authorization"), call.header("x-api-key")) == sent
    assert other.calls[0].header("x-api-key") == "the-gateways-own"
    assert all(secret.encode() not in other.calls[0].raw_head for secret in (OURS, MINE))
    told = str(await log_lines(gate))
    assert OURS not in told
    assert MINE not in told


@pytest.mark.parametrize("second", ["", OURS, OFF, "pk-that-was-withdrawn"], ids=["none", "ours", "off", "withdrawn"])
async def test_a_key_of_the_gateway_good_or_not_never_leaves(
    gateway: MakeGateway, make_upstream: MakeUpstream, upstream: ScriptedUpstream, second: str
) -> None:
    other = await make_upstream()
    gate = await gateway(GUARDED, url=upstream.url, other=other.url, files=KEYS)
    said = await ask(gate.url, prompt(), headers={"authorization": f"Bearer {OURS}", "x-api-key": second})
    assert (said.status, "a key of your own" in said.error["message"]) == (401, True)
    assert (upstream.calls, other.calls) == ([], [])


@pytest.mark.parametrize("status", [401, 403])
async def test_its_refusal_reaches_the_client_and_quotes_no_key(
    gateway: MakeGateway, upstream: ScriptedUpstream, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await gateway(OPEN, url=upstream.url)
    upstream.answers(messages.error(status, "authentication_error", f"bad key {MINE}"))
    said = await ask(gate.url, prompt(), headers={"authorization": f"Bearer {MINE}"})
    assert (said.status, said.error) == (status, {"type": "authentication_error", "message": "bad key ***"})
    (line,) = await log_lines(gate)
    assert MINE not in str(line) + caplog.text


async def test_the_operators_key_beside_it_is_a_mistake(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    with pytest.raises(ConfigError, match="with `auth: client` every client brings a key of its own"):
        await gateway(OPEN.replace("auth: client", "auth: client, key: sk-operator"), url=upstream.url)


async def test_a_presets_key_from_the_environment_is_left_alone(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    text = OPEN.replace("protocol: anthropic", "preset: anthropic")
    gate = await gateway(text, url=upstream.url, env={"ANTHROPIC_API_KEY": "sk-operator"})
    upstream.answers(messages.whole("hello"))
    assert (await ask(gate.url, prompt(), headers={"x-api-key": MINE})).status == 200
    assert b"sk-operator" not in upstream.calls[0].raw_head
