"""What the gateway itself refuses, and what it answers without asking anybody: probes, health, wrong paths."""

import asyncio
import gzip
from urllib.parse import urlsplit

import pytest

from penstock.testing import PATIENCE, MakeGateway, ScriptedUpstream, messages
from tests.integration.talk import CHAT, RELAY, ask, prompt

SMALL = {"gateway.yaml": "body_limit: 2000\n"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"model": "m", ', "not JSON"),
        (b'{"model": "\xff"}', "utf-8"),
        (b"[]", "must be a JSON object"),
        (b'"model"', "must be a JSON object"),
        (b"{}", "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": 5}', "model"),
        (b'{"model": null}', "model"),
        (b'{"model": "m", "stream": "yes"}', "stream"),
        (b'{"a":' * 50_000, "not JSON"),
    ],
)
async def test_bad_bodies(gateway: MakeGateway, upstream: ScriptedUpstream, body: bytes, words: str) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, body)
    assert (said.status, said.error["type"]) == (400, "invalid_request_error")
    assert words in said.error["message"]
    assert said.headers["request-id"] == said.json()["request_id"]
    assert upstream.calls == []


async def test_a_body_that_is_not_utf8_where_it_matters(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, b'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "\xff"}]}')
    assert (said.status, said.error["type"]) == (400, "invalid_request_error")
    assert upstream.calls == []


async def test_a_body_that_is_too_large(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url, files=SMALL)
    upstream.always(messages.whole("hello"))
    for size, status in ((1000, 200), (3000, 413), (500_000, 413)):
        said = await ask(gate.url, prompt("x" * size))
        assert said.status == status
        if status == 413:
            assert said.error["type"] == "request_too_large"
            assert "2000 bytes" in said.error["message"]
    assert len(upstream.calls) == 1


async def test_a_body_just_below_the_default_limit(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    upstream.answers(messages.whole("hello"))
    said = await ask(gate.url, prompt("x" * (32 * 1024 * 1024 - 200)))
    assert said.status == 200
    assert len(upstream.calls[0].body) > 32_000_000


async def test_a_compressed_body(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, gzip.compress(b'{"model": "m"}'), headers={"content-encoding": "gzip"})
    assert said.status == 415
    assert "gzip" in said.error["message"]
    plain = await ask(gate.url, b"[]", headers={"content-encoding": "identity"})
    assert plain.status == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/nothing", 404, "not_found_error"),
        ("GET", "/favicon.ico", 404, "not_found_error"),
        ("DELETE", "/", 405, "invalid_request_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("DELETE", "/v1/models", 405, "invalid_request_error"),
        ("OPTIONS", "/v1/messages", 405, "invalid_request_error"),
    ],
)
async def test_wrong_paths_and_methods(
    gateway: MakeGateway, upstream: ScriptedUpstream, method: str, path: str, status: int, kind: str
) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, method=method, path=path)
    assert (said.status, said.error["type"]) == (status, kind)
    assert said.headers["request-id"]


@pytest.mark.parametrize("path", ["/v1/messages/", "//v1/messages", "/v1//messages"])
async def test_nothing_is_ever_redirected(gateway: MakeGateway, upstream: ScriptedUpstream, path: str) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    upstream.always(messages.whole("hello"))
    said = await ask(gate.url, prompt(), path=path)
    assert said.status in (200, 404)
    if said.status == 404:
        assert said.error["type"] == "not_found_error"


async def test_probes(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    for method, path in (("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/api/hello")):
        said = await ask(gate.url, method=method, path=path)
        assert said.status == 200, (method, path)
    assert upstream.calls == []


async def test_health(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    health = (await ask(gate.url, method="GET", path="/health")).json()
    assert (health["live"], health["ready"]) == (True, True)
    assert health["generation"] == gate.host.current.id
    assert (await ask(gate.url, method="HEAD", path="/health")).status == 200


async def test_a_pipeline_has_its_own_path(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY.replace("path: /", "path: /gw/team-a"), url=upstream.url)
    upstream.always(messages.whole("hello"))
    assert (await ask(gate.url, prompt(), path="/gw/team-a/v1/messages?beta=true")).status == 200
    assert upstream.calls[0].target == "/v1/messages?beta=true"
    assert (await ask(gate.url, method="HEAD", path="/gw/team-a")).status == 200
    assert (await ask(gate.url, method="HEAD", path="/gw/team-a/api/hello")).status == 200
    assert (await ask(gate.url, method="GET", path="/gw/team-a/health")).status == 200
    assert (await ask(gate.url, method="GET", path="/health")).status == 200
    outside = await ask(gate.url, prompt())
    assert outside.status == 404
    assert "/gw/team-a" in outside.body.decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:4000"},
    ],
)
async def test_web_pages_cannot_use_an_open_pipeline(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str]
) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(), headers=headers)
    assert (said.status, said.error["type"]) == (403, "permission_error")
    assert upstream.calls == []


@pytest.mark.parametrize(
    "headers", [{"origin": "http://localhost:3000"}, {"host": "localhost:4000"}, {"host": "[::1]:4000"}]
)
async def test_this_machine_can(gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str]) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    upstream.answers(messages.whole("hello"))
    assert (await ask(gate.url, prompt(), headers=headers)).status == 200


async def test_no_model_list_without_the_step_that_makes_it(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, method="GET", path="/v1/models?limit=1000")
    assert (said.status, said.error["type"]) == (404, "not_found_error")


async def test_bytes_that_are_no_http(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    address = urlsplit(gate.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert (await ask(gate.url, method="GET", path="/health")).status == 200
