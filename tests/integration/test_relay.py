"""A client and an upstream of the same format: every byte arrives as it was sent, in both directions."""

import gzip
import re

import aiohttp
import pytest

from penstock.testing import MakeGateway, Reply, ScriptedUpstream, ToolCall, event_stream, json_reply, messages
from tests.integration.talk import RELAY, ask, events_of, log_lines, prompt

ROUTED = RELAY.replace("  - translation", "  - models: {routes: {model-a: main/model-b}}\n  - translation")
LISTENER = """
from penstock import Plugin, Text, hookimpl

class Listener(Plugin):
    @hookimpl
    def on_event(self, event: Text) -> None:
        pass
"""
LISTENED = RELAY.replace("  - translation", "  - listener\n  - translation")

ODD_REQUEST = (
    b'{ "unknown" : {"z":1,"a":[ 1.0, 1e5,\t-0.0 ]},\n "max_tokens":100,"big":123456789012345678901234567890,'
    b'"model":"model-a" ,"stream":true,"text":"\\u00e9\xc3\xa9\\/ \xf0\x9f\xa6\x8a",'
    b'"messages":[{"content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}],"role":"user"}] } \n'
)
ODD_STREAM = event_stream(
    b'event: message_start\ndata: {"type": "message_start", "message": {"id":"msg_1","type":"message",'
    b'"role":"assistant","model":"model-a","content":[],"usage":{"input_tokens":3,"new_tokens":1.0}},"x":1}\n\n',
    b": a comment\n\n",
    b'event: ping\ndata: {"type":"ping"}\n\n',
    b'event: novelty\ndata: {"type":"novelty","n":12345678901234567890}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"index":0,"type":"content_block_delta",'
    b'"delta":{"type":"text_delta","text":"caf\xc3\xa9 \xf0\x9f\xa6\x8a \\u2028"}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"novel_delta"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","novel":{}},'
    b'"usage":{"output_tokens":5},"safeguard_results":[]}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)


async def test_the_request_leaves_byte_for_byte(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello"))
    gate = await gateway(RELAY, url=upstream.url)
    await ask(gate.url, ODD_REQUEST)
    assert upstream.calls[0].body == ODD_REQUEST
    assert upstream.calls[0].header("content-length") == str(len(ODD_REQUEST))


async def test_a_mapped_model_is_all_that_changes(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello"))
    gate = await gateway(ROUTED, url=upstream.url)
    await ask(gate.url, ODD_REQUEST)
    assert upstream.calls[0].body == ODD_REQUEST.replace(b'"model-a"', b'"model-b"')


async def test_headers_and_query_of_the_format_pass_and_credentials_do_not(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers(messages.stream("hello"))
    gate = await gateway(RELAY, url=upstream.url)
    passed = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "one-2026-01-01,two-2026-02-02",
        "anthropic-novelty": "yes",
        "anthropic-dangerous-direct-browser-access": "true",
        "user-agent": "agent/1.0",
    }
    kept = {"authorization": "Bearer client-secret", "x-api-key": "client-secret", "cookie": "a=client-secret"}
    await ask(gate.url, prompt(stream=True), path="/v1/messages?beta=true&x=%2F", headers=passed | kept)
    call = upstream.calls[0]
    assert call.target == "/v1/messages?beta=true&x=%2F"
    assert {name: call.header(name) for name in passed} == passed
    assert b"client-secret" not in call.raw_head
    assert call.header("x-api-key") == "upstream-key"
    assert call.header("authorization") is None


@pytest.mark.parametrize("pipeline", [RELAY, LISTENED], ids=["relayed", "with a listener"])
async def test_the_stream_arrives_byte_for_byte(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str
) -> None:
    gate = await gateway(pipeline, url=upstream.url, files={"../plugins/listener.py": LISTENER})
    for reply in (ODD_STREAM, ODD_STREAM.split(1), ODD_STREAM.framed("close"), ODD_STREAM.framed("length")):
        upstream.answers(reply)
        said = await ask(gate.url, prompt(stream=True))
        assert said.body == ODD_STREAM.payload
        assert said.headers["content-type"].startswith("text/event-stream")
    assert {line["outcome"] for line in await log_lines(gate, 4)} == {"ok"}


async def test_the_stream_survives_a_split_at_every_byte(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=upstream.url)
    payload = ODD_STREAM.payload
    upstream.answers(*(ODD_STREAM.split_at(position) for position in range(1, len(payload))))
    async with aiohttp.ClientSession(gate.url) as session:
        for position in range(1, len(payload)):
            async with session.post("/v1/messages", json=prompt(stream=True)) as response:
                assert await response.read() == payload, f"split at {position}"


@pytest.mark.parametrize(
    "reply",
    [
        messages.whole("hello"),
        json_reply({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "novel": 1, "content": []}),
    ],
    ids=["usual", "with unknown fields"],
)
async def test_a_whole_answer_arrives_byte_for_byte(
    gateway: MakeGateway, upstream: ScriptedUpstream, reply: Reply
) -> None:
    upstream.answers(reply, reply.split(1))
    gate = await gateway(RELAY, url=upstream.url)
    for _ in range(2):
        said = await ask(gate.url, prompt())
        assert (said.status, said.body) == (200, reply.payload)
        assert said.headers["content-type"].startswith("application/json")


async def test_a_compressed_answer_is_unpacked(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """Some upstreams compress whatever they were told."""
    gate = await gateway(RELAY, url=upstream.url)
    for reply, stream in ((messages.whole("hello"), False), (messages.stream("hello"), True)):
        packed = Reply(200, {**reply.headers, "content-encoding": "gzip"}, (gzip.compress(reply.payload),))
        upstream.answers(packed)
        said = await ask(gate.url, prompt(stream=stream))
        assert (said.status, said.body) == (200, reply.payload)
        assert "content-encoding" not in said.headers
        assert upstream.calls[-1].header("accept-encoding") == "identity"


async def test_a_stream_without_event_lines_gets_them(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """Agents ignore frames that have none."""
    reply = messages.stream("hello", ToolCall("Read", {"file": "a.py"}))
    bare = re.sub(rb"event: .*\n", b"", reply.payload)
    gate = await gateway(RELAY, url=upstream.url)
    for payload in (bare, bare.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + bare):
        upstream.answers(event_stream(payload).split(7))
        said = await ask(gate.url, prompt(stream=True))
        assert events_of(said.body) == events_of(reply.payload)


async def test_a_long_stream(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    reply = messages.stream(ToolCall("Write", {"content": "é" * 50_000}, size=60))
    assert len(reply.body) > 5000
    upstream.answers(reply)
    gate = await gateway(RELAY, url=upstream.url)
    assert (await ask(gate.url, prompt(stream=True))).body == reply.payload


async def test_headers_of_the_answer(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    given = {"anthropic_ratelimit_requests_remaining": "9", "set_cookie": "a=b", "x_novel": "1", "server": "x"}
    upstream.answers(messages.stream("hello").with_headers(**given))
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.headers["request-id"] == "req_from_upstream"
    assert said.headers["anthropic-ratelimit-requests-remaining"] == "9"
    assert "set-cookie" not in said.headers
    assert "server" not in said.headers


async def test_a_token_count_comes_from_the_upstream(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(json_reply({"input_tokens": 4711}), path="/v1/messages/count_tokens")
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(), path="/v1/messages/count_tokens?beta=true")
    assert (said.status, said.json()) == (200, {"input_tokens": 4711})
    assert upstream.calls[0].query == "beta=true"


async def test_usage_and_model_of_the_upstream_are_logged(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello", model="model-a-0101", input_tokens=12, output_tokens=34))
    gate = await gateway(RELAY, url=upstream.url)
    await ask(gate.url, prompt(stream=True))
    (line,) = await log_lines(gate)
    assert (line["model"], line["served_model"]) == ("model-a", "model-a-0101")
    assert (line["tokens"]["input"], line["tokens"]["output"]) == (12, 34)
    assert (line["status"], line["outcome"], line["stop_reason"]) == (200, "ok", "end_turn")
