"""Upstreams that answer in another shape than they were asked for: the client gets the one it asked for."""

import pytest

from penstock.testing import MakeGateway, ScriptedUpstream, ToolCall, chat, messages
from tests.integration.talk import CHAT, RELAY, ask, log_lines, prompt

FORMATS = pytest.mark.parametrize(
    ("pipeline", "answers"), [(RELAY, messages), (CHAT, chat)], ids=["same format", "translated"]
)
CALL = ToolCall("Read", {"file": "a.py"})


@FORMATS
async def test_json_to_a_stream_request_becomes_a_stream(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: object
) -> None:
    reply = messages.whole("hello", CALL) if answers is messages else chat.whole("hello", CALL)
    upstream.answers(reply)
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.headers["content-type"].startswith("text/event-stream")
    names = [name for name, _ in said.events]
    assert (names[0], names[-1]) == ("message_start", "message_stop")
    assert said.text == "hello"
    assert (await log_lines(gate))[0]["outcome"] == "ok"


@FORMATS
async def test_a_stream_to_a_plain_request_becomes_json(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: object
) -> None:
    reply = messages.stream("hello", CALL) if answers is messages else chat.stream("hello", CALL)
    upstream.answers(reply, reply.split(len(reply.payload)))
    gate = await gateway(pipeline, url=upstream.url)
    for _ in range(2):
        said = await ask(gate.url, prompt())
        assert said.headers["content-type"].startswith("application/json")
        assert said.json()["content"][0] == {"type": "text", "text": "hello"}
        assert said.json()["content"][1]["input"] == CALL.input
        assert said.json()["stop_reason"] == "tool_use"


@FORMATS
async def test_a_stream_with_a_wrong_content_type_is_read(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: object
) -> None:
    reply = messages.stream("hello") if answers is messages else chat.stream("hello")
    upstream.answers(reply.with_headers(content_type="text/plain"))
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.headers["content-type"].startswith("text/event-stream")
    assert said.text == "hello"
    assert said.events[-1][0] == "message_stop"


@FORMATS
async def test_json_with_a_wrong_content_type_is_read(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: object
) -> None:
    reply = messages.whole("hello") if answers is messages else chat.whole("hello")
    upstream.answers(reply.with_headers(content_type="text/plain"))
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt())
    assert said.headers["content-type"].startswith("application/json")
    assert said.text == "hello"
