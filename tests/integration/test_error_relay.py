"""Errors of an upstream that speaks the client's format: unmodified, but for what would send an agent to its login."""

import asyncio

import pytest

from penstock.testing import CUT, HANG, RESET, MakeGateway, Reply, ScriptedUpstream, event_stream, html_reply, messages
from tests.integration.talk import RELAY, ask, events_of, log_lines, opened, prompt

IMPATIENT = RELAY.replace("key: upstream-key", "key: upstream-key, first_byte_timeout: 200ms, idle_timeout: 200ms")
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "message", "headers"),
    [
        (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum", {}),
        (400, "invalid_request_error", "messages.1.role: system is not é supported", {}),
        (402, "billing_error", "no funds", {}),
        (404, "not_found_error", "model: model-a", {"x-should-retry": "false"}),
        (413, "request_too_large", "too large", {}),
        (429, "rate_limit_error", "slow down", {"retry-after": "30", "anthropic-ratelimit-tokens-remaining": "0"}),
        (429, "rate_limit_error", "wait", {"retry-after": "3600", "x-should-retry": "false"}),
        (500, "api_error", "it broke", {}),
        (504, "timeout_error", "too slow", {}),
        (529, "overloaded_error", "Overloaded", {"x-should-retry": "true", "retry-after": "2"}),
    ],
)
async def test_errors_pass_unmodified(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    status: int,
    kind: str,
    message: str,
    headers: dict[str, str],
    stream: bool,
) -> None:
    reply = messages.error(status, kind, message, headers)
    upstream.answers(reply)
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.body) == (status, reply.payload)
    assert said.headers["request-id"] == "req_from_upstream"
    assert {name: said.headers.get(name) for name in headers} == headers
    (line,) = await log_lines(gate)
    assert (line["status"], line["outcome"], line["attempts"][0]["status"]) == (status, "error", status)


@BOTH
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_upstream_key_is_not_the_clients_affair(
    gateway: MakeGateway, upstream: ScriptedUpstream, status: int, stream: bool
) -> None:
    upstream.answers(messages.error(status, "authentication_error", "invalid x-api-key: upstream-key"))
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.error["type"]) == (502, "api_error")
    assert "upstream-key" not in said.body.decode()
    assert "upstream-key" not in (gate.place.folder / "log.jsonl").read_text()


@BOTH
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (html_reply(200), 502),
        (html_reply(503), 503),
        (html_reply(500), 502),
        (Reply(200, {"content-type": "application/json"}, (b"",)), 502),
        (Reply(200, {"content-type": "application/json"}, (b'{"id": "msg_1", "content": [',)), 502),
        (Reply(200, {"content-type": "application/json"}, (b"null",)), 502),
        (Reply(200, {"content-type": "application/json"}, (b'{"type": "error", "error": {}}',)), 502),
        (Reply(204, {}), 502),
        (Reply(301, {"location": "https://elsewhere.example/"}), 502),
        (Reply(500, {}, (b"\xff\xfe",)), 502),
        (event_stream(b"\xff\xfe\x00nonsense\n\n" * 3), 502),
        (event_stream(b"event: message_start\ndata: {broken\n\n"), 502),
        (messages.whole("x").first(CUT), 502),
        (messages.whole("x").first(RESET), 502),
        (messages.whole("x").at(b"content", CUT), 502),
        (messages.whole("x").at(b"content", RESET), 502),
        (messages.whole("x").first(HANG), 504),
        (messages.whole("x").at(b"content", HANG), 504),
        (messages.error(400, "x", "y").at(b"error", HANG), 504),
        (event_stream().then(HANG), 504),
    ],
    ids=range(20),
)
async def test_nonsense_becomes_a_clean_error(
    gateway: MakeGateway, upstream: ScriptedUpstream, reply: Reply, status: int, stream: bool
) -> None:
    upstream.answers(reply)
    gate = await gateway(IMPATIENT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert said.status == status
    assert said.error["type"] in ("api_error", "timeout_error", "overloaded_error")
    assert said.error["message"]
    assert said.headers["request-id"] == said.json()["request_id"]
    assert "Traceback" not in said.body.decode()
    (line,) = await log_lines(gate)
    assert (line["status"], line["outcome"]) == (status, "error")


@pytest.mark.parametrize(
    ("act", "kind"), [(CUT, "api_error"), (RESET, "api_error"), (HANG, "timeout_error")], ids=["cut", "reset", "hang"]
)
@pytest.mark.parametrize(
    "marker", [b"event: content_block_delta", b"event: content_block_stop", b"event: message_stop"]
)
async def test_a_stream_that_breaks_off_ends_with_an_error_event(
    gateway: MakeGateway, upstream: ScriptedUpstream, act: object, kind: str, marker: bytes
) -> None:
    reply = messages.stream("hello")
    assert act in (CUT, RESET, HANG)
    upstream.answers(reply.at(marker, act))
    gate = await gateway(IMPATIENT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.status == 200
    name, data = said.events[-1]
    assert (name, data["error"]["type"]) == ("error", kind)
    before = said.body[: said.body.index(b"event: error")]
    assert reply.payload.startswith(before)
    (line,) = await log_lines(gate)
    assert (line["status"], line["outcome"]) == (200, "error")


async def test_an_error_event_of_the_upstream_ends_the_stream(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """And nothing is lost that came in the same read."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "r"}
    go_on = asyncio.Event()
    reply = messages.stream("hello")
    start, rest = reply.payload.split(b"event: content_block_delta", 1)
    text = b"event: content_block_delta" + rest[: rest.index(b"event: content_block_stop")]
    upstream.answers(event_stream(start, go_on, text + messages.frame(error), HANG))
    gate = await gateway(RELAY, url=upstream.url)
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = await response.content.readuntil(b'"content_block": {"type": "text", "text": ""}}\n\n')
        go_on.set()
        seen += await response.read()
    assert events_of(seen)[-1] == ("error", error)
    assert seen == start + text + seen[seen.index(b"event: error") :]
    assert await upstream.calls[0].over() == "gone"
