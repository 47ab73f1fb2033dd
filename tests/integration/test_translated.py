"""A client of one format and an upstream of another: requests, answers, streams and errors are translated."""

import json
import re
from typing import Any

import aiohttp
import pytest

from penstock.testing import MakeGateway, Reply, ScriptedUpstream, Thought, ToolCall, chat, event_stream, html_reply
from tests.integration.talk import CHAT, ask, log_lines, prompt

CALLS = (ToolCall("Read", {"file": "a.py", "lines": [1, 2]}, "call_a"), ToolCall("Write", {"text": "é🦊"}, "call_b"))
ANSWER = (Thought("let me see"), "I will look.", *CALLS)
TOOLS = [{"name": name, "description": "d", "input_schema": {"type": "object"}} for name in ("Read", "Write")]
ATTRIBUTION = "x-anthropic-billing-header: cc_version=2.1.329; cc_entrypoint=sdk-cli;"


def blocks_of(events: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """The content blocks of a stream, and that they came one after the other."""
    blocks: list[dict[str, Any]] = []
    for name, data in events:
        if name == "content_block_start":
            assert data["index"] == len(blocks)
            blocks.append({**data["content_block"], "partial": "", "open": True})
        elif name == "content_block_delta":
            assert data["index"] == len(blocks) - 1
            assert blocks[-1]["open"]
            delta = data["delta"]
            blocks[-1]["partial"] += delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
        elif name == "content_block_stop":
            blocks[data["index"]]["open"] = False
    assert not any(block["open"] for block in blocks)
    return blocks


async def test_the_request_is_translated(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(chat.stream("hello"))
    gate = await gateway(CHAT, url=upstream.url)
    system = [{"type": "text", "text": ATTRIBUTION}, {"type": "text", "text": "Be brief."}]
    history = [
        {"role": "user", "content": "look"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_a", "name": "Read", "input": {"file": "a.py"}},
                {"type": "tool_use", "id": "call_b", "name": "Read", "input": {"file": "b.py"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_b", "content": "of b"},
                {"type": "tool_result", "tool_use_id": "call_a", "content": [{"type": "text", "text": "of a"}]},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
    headers = {"authorization": "Bearer client-secret", "anthropic-version": "2023-06-01"}
    body = prompt(stream=True, system=system, tools=TOOLS, unknown_field=1) | {"messages": history}
    await ask(gate.url, body, path="/v1/messages?beta=true", headers=headers)
    call = upstream.calls[0]
    assert call.target == "/v1/chat/completions"
    assert call.header("authorization") == "Bearer upstream-key"
    assert b"client-secret" not in call.raw_head
    sent = call.json()
    assert (sent["model"], sent["stream"], sent["stream_options"]) == ("model-a", True, {"include_usage": True})
    assert b"billing-header" not in call.body
    assert b"unknown_field" not in call.body
    said = [(message["role"], message.get("tool_call_id"), message["content"]) for message in sent["messages"]]
    assert said == [
        ("system", None, "Be brief."),
        ("user", None, "look"),
        ("assistant", None, None),
        ("tool", "call_a", "of a"),
        ("tool", "call_b", "of b"),
        ("user", None, "go on"),
    ]
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["Read", "Write"]


async def test_a_stream_is_translated(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(chat.stream(*ANSWER, prompt_tokens=21, completion_tokens=9))
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True, tools=TOOLS))
    assert said.headers["content-type"].startswith("text/event-stream")
    assert said.headers["request-id"] == (await log_lines(gate))[0]["request_id"]
    names = [name for name, _ in said.events if name != "ping"]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    thought, text, *calls = blocks_of(said.events)
    assert (thought["type"], thought["partial"]) == ("thinking", "let me see")
    assert (text["type"], text["partial"]) == ("text", "I will look.")
    assert [(call["type"], call["name"]) for call in calls] == [("tool_use", "Read"), ("tool_use", "Write")]
    assert [call["partial"] for call in calls] == [call.json for call in CALLS]
    delta = next(data for name, data in said.events if name == "message_delta")
    assert delta["delta"]["stop_reason"] == "tool_use"
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (21, 9)


async def test_a_long_stream_is_translated(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    call = ToolCall("Write", {"content": "é" * 50_000}, size=60)
    upstream.answers(chat.stream("I will write.", call))
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True, tools=TOOLS))
    assert json.loads(blocks_of(said.events)[1]["partial"]) == call.input


async def test_a_whole_answer_is_translated(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(chat.whole(*ANSWER))
    gate = await gateway(CHAT, url=upstream.url)
    said = (await ask(gate.url, prompt(tools=TOOLS))).json()
    assert (said["type"], said["role"], said["stop_reason"]) == ("message", "assistant", "tool_use")
    assert [block["type"] for block in said["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block["input"] for block in said["content"][2:]] == [call.input for call in CALLS]
    assert (said["usage"]["input_tokens"], said["usage"]["output_tokens"]) == (11, 7)
    assert upstream.calls[0].json().get("stream") is not True


async def test_the_stream_survives_a_split_at_every_byte(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(CHAT, url=upstream.url)
    reply = chat.stream("é🦊", ToolCall("Read", {"a": "é"}))
    payload = reply.payload
    upstream.answers(reply, reply.split(1), *(reply.split_at(position) for position in range(1, len(payload))))
    answers: set[bytes] = set()
    async with aiohttp.ClientSession(gate.url) as session:
        for _ in range(len(payload) + 1):
            async with session.post("/v1/messages", json=prompt(stream=True, tools=TOOLS)) as response:
                stream = await response.read()
                answers.add(joined(re.sub(rb'"id":"(msg|req)_[^"]*"', b'"id":"it"', stream)))
    assert len(answers) == 1


def joined(stream: bytes) -> bytes:
    """A stream without the pings, which come by the clock and by the bytes, and with neighbouring texts as one."""
    stream = stream.replace(b'event: ping\ndata: {"type":"ping"}\n\n', b"")
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    return stream.replace(b'"}}\n\n' + head + b'{"type":"text_delta","text":"', b"")


@pytest.mark.parametrize(
    ("reply", "status", "kind", "words"),
    [
        (chat.error(400, "bad field: tools"), 400, "invalid_request_error", "bad field: tools"),
        (chat.error(401, "Incorrect API key: upstream-key"), 502, "api_error", "credential|key"),
        (chat.error(403, "no access"), 502, "api_error", "refused"),
        (chat.error(404, "The model does not exist", "model_not_found"), 404, "not_found_error", "model"),
        (chat.error(429, "slow down", headers={"retry-after": "7"}), 429, "rate_limit_error", "slow down"),
        (chat.error(500, "it broke"), 502, "api_error", "it broke"),
        (chat.error(503, "no capacity"), 503, "overloaded_error", "no capacity"),
        (html_reply(502), 502, "api_error", "Please log in|502"),
        (html_reply(200), 502, "api_error", "text/html|not JSON"),
        (event_stream(), 502, "api_error", "closed|complete|broke"),
        (event_stream(chat.frame({"error": {"message": "it broke", "code": 500}})), 502, "api_error", "it broke"),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_errors_are_translated(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    reply: Reply,
    status: int,
    kind: str,
    words: str,
    stream: bool,
) -> None:
    upstream.answers(reply)
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.error["type"]) == (status, kind)
    assert re.search(words, said.error["message"])
    assert "upstream-key" not in said.error["message"]
    assert said.headers["request-id"] == said.json()["request_id"]
    assert said.headers.get("retry-after") == reply.headers.get("retry-after")
    (line,) = await log_lines(gate)
    assert (line["status"], line["outcome"]) == (status, "error")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_prompt_too_long_is_said_in_the_words_agents_act_on(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    text = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens."
    upstream.answers(chat.error(400, text, "context_length_exceeded"))
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert said.status == 400
    assert said.error == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 130001 tokens > 128000 maximum",
    }


async def test_tokens_are_estimated_without_asking(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(CHAT, url=upstream.url)
    short = await ask(gate.url, prompt("hi"), path="/v1/messages/count_tokens")
    long = await ask(gate.url, prompt("some words " * 500), path="/v1/messages/count_tokens")
    assert 0 < short.json()["input_tokens"] < 100
    assert 700 < long.json()["input_tokens"] < 3000
    assert upstream.calls == []
