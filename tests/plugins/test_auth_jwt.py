"""Tokens of a single sign-on: with real signatures, and keys from a server on loopback that comes, goes and rotates."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from penstock import ConfigError
from penstock.testing import (
    HANG,
    MakeGateway,
    MakeUpstream,
    Reply,
    RunningGateway,
    ScriptedUpstream,
    html_reply,
    json_reply,
    messages,
)
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import Said, ask, log_lines, prompt

PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - auth:
      {keys}
      jwt: {issuer: "{idp}", audience: llm{more}}
  - models: {routes: {"*": main}}
  - translation
teams:
  research: {models: {routes: {"*": main/for-research}}}
"""
Key = RSAKey | ECKey | OKPKey
RSA, EC, ED = (
    RSAKey.generate_key(2048, {"kid": "rsa"}),
    ECKey.generate_key("P-256", {"kid": "ec"}),
    OKPKey.generate_key("Ed25519", {"kid": "ed"}),
)
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
EVERYBODY = (RSA, EC, ED)


class Idp:
    """A sign-on: an issuer whose discovery document and keys are served."""

    def __init__(self, server: ScriptedUpstream) -> None:
        self.server = server
        self.url = server.url
        self.publish(*EVERYBODY)

    def publish(self, *keys: Key) -> None:
        told = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.server.always(json_reply(told), path="/.well-known/openid-configuration")
        self.server.always(json_reply({"keys": [key.as_dict(private=False) for key in keys]}), path="/keys")

    def token(self, key: Any = RSA, alg: str = "RS256", header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        told = {"iss": self.url, "aud": "llm", "sub": "ann", "iat": now, "nbf": now, "exp": now + 300, **claims}
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid, **(header or {})}, told, key, algorithms=[alg])


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway asks a sign-on again sooner than any other would."""
    monkeypatch.setattr("penstock_auth.jwks._AGAIN", 0.1)


@pytest.fixture
async def idp(make_upstream: MakeUpstream) -> Idp:
    return Idp(await make_upstream())


async def serve(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp, more: str = "", **files: str
) -> RunningGateway:
    upstream.always(messages.whole("hello"))
    keys = "keys: keys.yaml" if files else ""
    given = {"keys.yaml": files["keys"]} if files else {}
    return await gateway(PIPELINE, url=upstream.url, idp=idp.url, more=more, keys=keys, files=given)


async def enter(gate: RunningGateway, token: str) -> Said:
    return await ask(gate.url, prompt(), headers={"authorization": f"Bearer {token}"})


# ---------------------------------------------------------------- who comes in


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "Ed25519")])
async def test_a_good_token_says_who_is_asking(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp, key: Key, alg: str
) -> None:
    gate = await serve(gateway, upstream, idp)
    token = idp.token(key, alg)
    for _ in range(2):
        assert (await enter(gate, token)).status == 200
    lines = await log_lines(gate, 2)
    assert [line["user"] for line in lines] == ["ann", "ann"]
    assert token not in str(lines)
    assert all(token.encode() not in call.raw_head for call in upstream.calls)
    assert len(idp.server.calls) == 2, "the discovery document and the keys, once, before any request"


GROUPS = ', user: email, team: groups, teams: {scientists: research, staff: ""}, admins: [chiefs]'


@pytest.mark.parametrize(
    ("groups", "model"),
    [(["staff", "scientists"], "for-research"), (["staff"], "model-a"), ("scientists", "for-research")],
)
async def test_groups_lead_to_teams(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp, groups: object, model: str
) -> None:
    gate = await serve(gateway, upstream, idp, GROUPS)
    assert (await enter(gate, idp.token(email="ann@example.com", groups=groups))).status == 200
    assert upstream.calls[0].json()["model"] == model
    assert (await log_lines(gate))[0]["user"] == "ann@example.com"


async def test_without_a_mapping_the_group_is_the_team(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp
) -> None:
    gate = await serve(gateway, upstream, idp, ", team: group")
    assert (await enter(gate, idp.token(group="research"))).status == 200
    assert upstream.calls[0].json()["model"] == "for-research"


async def test_keys_and_tokens_side_by_side(gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp) -> None:
    key = new_key()
    gate = await serve(gateway, upstream, idp, keys=f'keys: [{{hash: "{hash_of(key)}", user: bob}}]\n')
    assert (await enter(gate, idp.token())).status == 200
    assert (await enter(gate, key)).status == 200
    both = await ask(gate.url, prompt(), headers={"authorization": f"Bearer {idp.token()}", "x-api-key": key})
    assert (both.status, "two different" in both.error["message"]) == (401, True)


# ---------------------------------------------------------------- who does not


def forged(token: str, alg: str, signature: str = "") -> str:
    """The claims of a token under another header."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "rsa"}).encode()).decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}.{signature}"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1}, "has expired: sign in again"),
    "no end": ({"exp": None}, "its claim 'exp'"),
    "early": ({"nbf": time.time() + 1000}, "its claim 'nbf'"),
    "from tomorrow": ({"iat": time.time() + 100_000}, "its claim 'iat'"),
    "another audience": ({"aud": "other"}, "its claim 'aud'"),
    "no audience": ({"aud": None}, "its claim 'aud'"),
    "another issuer": ({"iss": "https://evil.example"}, "its claim 'iss'"),
    "nobody": ({"sub": ""}, "its claim 'sub'|no claim 'sub'"),
    "no subject": ({"sub": None}, "no claim 'sub'"),
    "a number": ({"sub": 7}, "its claim 'sub'|no claim 'sub'"),
    "a service": ({"sub": "service:ci"}, "begins with 'service:'"),
    "a stranger's key": ({"key": STRANGER}, "is not accepted: bad_signature"),
    "an unknown key": ({"key": RSAKey.generate_key(2048, {"kid": "new"})}, "a key that is not known here"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_token_is_refused_with_the_reason(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp, case: str
) -> None:
    gate = await serve(gateway, upstream, idp)
    changes, complaint = BAD[case]
    token = idp.token(**changes)
    for _ in range(2):
        said = await enter(gate, token)
        assert (said.status, said.headers["x-should-retry"]) == (401, "false")
        assert any(part in said.error["message"] for part in complaint.split("|")), said.error
        assert token not in said.body.decode()
    assert upstream.calls == []


async def test_no_trick_with_the_algorithm_works(gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp) -> None:
    gate = await serve(gateway, upstream, idp)
    good = idp.token()
    signed = forged(good, "HS256").rstrip(".")
    secret = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    deep = base64.urlsafe_b64encode(b'{"a":' + b"[" * 9000).decode().rstrip("=")
    tricks = [
        *(forged(good, alg) for alg in ("none", "None", "", "RS256", "HS256")),
        forged(good, "ES256", good.split(".")[2]),
        f"{signed}.{base64.urlsafe_b64encode(secret).decode().rstrip('=')}",
        f"{deep}.e30.x",
        idp.token(alg="RS384"),
        good[:-6] + "AAAAAA",
        good + ".x",
        "eyJ..",
        "eyJhbGciOiJSUzI1NiJ9." + "x" * 5000 + ".y",
    ]
    for token in tricks:
        assert (await enter(gate, token)).status == 401, token
    assert upstream.calls == []


async def test_who_is_in_no_group_of_the_mapping_stays_outside(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp
) -> None:
    gate = await serve(gateway, upstream, idp, GROUPS)
    for groups in ([], ["visitors"], None, [["staff"]], {"staff": 1}, 7):
        said = await enter(gate, idp.token(email="eve@example.com", groups=groups))
        assert (said.status, "in a group that may come in" in said.error["message"]) == (401, True)


async def test_a_token_ends_though_it_is_remembered(gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp) -> None:
    gate = await serve(gateway, upstream, idp, ", leeway: 0s")
    token = idp.token(exp=int(time.time()) + 1)
    assert (await enter(gate, token)).status == 200
    async with asyncio.timeout(5):
        while (said := await enter(gate, token)).status == 200:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.05)
    assert "this token expired on" in said.error["message"] or "has expired" in said.error["message"]


# ---------------------------------------------------------------- where the keys are


async def test_keys_that_rotate_are_fetched_and_old_ones_no_longer_taken(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp
) -> None:
    gate = await serve(gateway, upstream, idp)
    old = idp.token()
    assert (await enter(gate, old)).status == 200
    fresh = RSAKey.generate_key(2048, {"kid": "fresh"})
    idp.publish(fresh)
    new = idp.token(fresh)
    assert (await enter(gate, new)).status == 401
    async with asyncio.timeout(8):
        while (await enter(gate, new)).status != 200:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.1)
    assert (await enter(gate, old)).status == 401, "though it was remembered"


@pytest.mark.parametrize("answer", [html_reply(500), html_reply(), json_reply({"keys": []}), Reply(200, {}, (HANG,))])
async def test_a_sign_on_that_is_away_at_the_start_is_waited_for(
    gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp, answer: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_auth.jwks.DEADLINE", 0.3)
    idp.server.always(answer, path="/keys")
    key = new_key()
    gate = await serve(gateway, upstream, idp, keys=f'keys: [{{hash: "{hash_of(key)}", user: bob}}]\n')
    said = await enter(gate, idp.token())
    assert (said.status, "cannot read the keys of the sign-on" in said.error["message"]) == (503, True)
    assert (await enter(gate, key)).status == 200, "keys need no sign-on"
    idp.publish(*EVERYBODY)
    async with asyncio.timeout(8):
        while (await enter(gate, idp.token())).status != 200:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.1)


async def test_keys_may_be_in_a_file(gateway: MakeGateway, upstream: ScriptedUpstream, idp: Idp) -> None:
    upstream.always(messages.whole("hello"))
    keys = json.dumps({"keys": [OctKey.generate_key(256).as_dict(), EC.as_dict(private=False)]})
    text = PIPELINE.replace("{more}", ", jwks: sso.json")
    gate = await gateway(text, url=upstream.url, idp=idp.url, keys="", files={"sso.json": keys})
    assert (await enter(gate, idp.token(EC, "ES256"))).status == 200
    assert (await enter(gate, idp.token())).status == 401
    assert idp.server.calls == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("issuer: 'http://sso.example.com', audience: llm", "must be an https address"),
        (
            "issuer: 'https://sso.example.com', audience: llm, jwks: 'http://sso.example.com/k'",
            "must be an https address",
        ),
        ("issuer: 'https://sso.example.com', audience: llm, algorithms: [HS256]", "HS256"),
        ("issuer: 'https://sso.example.com', audience: llm, algorithms: [none]", "none"),
        ("issuer: 'https://sso.example.com', audience: ''", "cannot be empty"),
        ("issuer: 'https://sso.example.com', audience: llm, teams: {a: b}", "need `team`"),
        ("issuer: 'https://sso.example.com'", "audience"),
    ],
)
async def test_a_sign_on_that_cannot_be_trusted_is_a_mistake(
    gateway: MakeGateway, upstream: ScriptedUpstream, options: str, complaint: str
) -> None:
    text = PIPELINE.replace('issuer: "{idp}", audience: llm{more}', options)
    with pytest.raises(ConfigError) as raised:
        await gateway(text, url=upstream.url, keys="")
    assert complaint in str(raised.value)


async def test_neither_keys_nor_a_sign_on_is_a_mistake(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    with pytest.raises(ConfigError, match="name a file with `keys`, or say `keys: database`"):
        await gateway("path: /\nplugins: [auth, translation]\n")
