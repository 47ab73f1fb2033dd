"""What travels in the benchmark: the workloads, their requests, and the upstream's answers as ready-made bytes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PATH = "/v1/messages"
KEY = "benchmark"  # its hash stands in keys.yaml
EVENTS = 300
TEXT = b"jumps over"  # what most events hold
TEXTS = EVENTS - 5
_BURST = 10  # events per write
_GAP = 0.003  # seconds between writes

_WORDS = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n"
_CODE = 'def greet(name: str) -> str:\n    """Say \\"hello\\"."""\n    return f"hello {name}"\n'


class Workload(NamedTuple):
    """One kind of exchange. Its model is the name of the upstream's answer; `bar` is the most CPU, in floors."""

    title: str
    model: str
    concurrency: int
    requests: int
    events: int = 0
    bar: float = 1.5


WORKLOADS = (
    Workload("message", "small", 1, 300),
    Workload("message", "small", 16, 1000),
    Workload("stream, paced", "paced", 1, 2, EVENTS),
    Workload("stream, paced", "paced", 16, 32, EVENTS),
    Workload("stream, burst", "burst", 1, 20, EVENTS),
    Workload("stream, burst", "burst", 16, 160, EVENTS),
    Workload("translated, paced", "chat-paced", 1, 2, EVENTS, bar=2.0),
    Workload("translated, paced", "chat-paced", 16, 32, EVENTS, bar=2.0),
    Workload("translated, burst", "chat-burst", 1, 20, EVENTS, bar=2.0),
    Workload("translated, burst", "chat-burst", 16, 160, EVENTS, bar=2.0),
)


class Answer(NamedTuple):
    """An upstream's answer as the writes it arrives in, and the seconds between them."""

    writes: Sequence[bytes]
    gap: float = 0.0


# ---------------------------------------------------------------- requests


def request(model: str) -> bytes:
    """A Messages request as HTTP: a small one for the model `small`, else one as Claude Code sends, streamed."""
    body = json.dumps(_small(model) if model == "small" else _large(model)).encode()
    head = "\r\n".join([f"POST {PATH}?beta=true HTTP/1.1", *(f"{k}: {v}" for k, v in _headers(len(body)).items())])
    return head.encode() + b"\r\n\r\n" + body


def _headers(length: int) -> dict[str, object]:
    stainless = {"arch": "x64", "lang": "js", "os": "Linux", "retry-count": 0, "runtime": "node", "timeout": 600}
    return {
        "host": "127.0.0.1",
        "accept": "application/json",
        "content-type": "application/json",
        "content-length": length,
        "user-agent": "claude-cli/2.1.329 (external, cli)",
        "authorization": f"Bearer {KEY}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
        "x-app": "cli",
        "x-claude-code-session-id": "00000000-0000-4000-8000-000000000000",
        **{f"x-stainless-{name}": value for name, value in stainless.items()},
    }


def _small(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}


def _large(model: str) -> dict[str, Any]:
    """About 50 KB: system prompt, tools with schemas, and a turn with a tool call behind it."""
    cached = {"cache_control": {"type": "ephemeral"}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Tool1", "input": {"path": "greet.py", "text": _CODE}}
    return {
        "model": model,
        "max_tokens": 32000,
        "stream": True,
        "system": [{"type": "text", "text": _WORDS * 2}, {"type": "text", "text": _WORDS * 70, **cached}],
        "tools": [_tool(number) for number in range(20)],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": _WORDS * 10}, {"type": "text", "text": "Greet."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "I write the file."}, call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": _CODE * 90}]},
        ],
    }


def _tool(number: int) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": _WORDS} for name in ("path", "text", "reason")}
    schema = {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}
    return {"name": f"Tool{number}", "description": _WORDS * 14, "input_schema": schema}


# ---------------------------------------------------------------- answers


def answers() -> Mapping[bytes, Answer]:
    """The upstream's answers by model name."""
    return {
        b"small": _whole(),
        b"paced": _stream(_messages_events(), 1),
        b"burst": _stream(_messages_events(), _BURST),
        b"chat-paced": _stream(_chat_events(), 1),
        b"chat-burst": _stream(_chat_events(), _BURST),
    }


def _message(content: list[dict[str, str]], reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 12000, "cache_read_input_tokens": 100, "output_tokens": 1},
    }


def _whole() -> Answer:
    body = _json(_message([{"type": "text", "text": _WORDS}], "end_turn"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\ncontent-length: %d\r\n\r\n"
    return Answer([head % len(body) + body])


def _stream(events: Sequence[bytes], per_write: int) -> Answer:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    writes = [b"".join(events[start : start + per_write]) for start in range(0, len(events), per_write)]
    chunks = [b"%x\r\n%b\r\n" % (len(data), data) for data in writes]
    return Answer([head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"], _GAP)


def _messages_events() -> list[bytes]:
    delta = {"type": "text_delta", "text": TEXT.decode()}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for _ in range(TEXTS)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 900}},
        {"type": "message_stop"},
    ]
    return [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _json(event)) for event in events]


def _chat_events() -> list[bytes]:
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": TEXT.decode()} for _ in range(EVENTS - 3)]
    chunks = [*(_chat_chunk(delta) for delta in deltas), _chat_chunk({}, "stop")]
    usage = {"prompt_tokens": 12000, "completion_tokens": 900, "total_tokens": 12900}
    frames = [_json(chunk) for chunk in [*chunks, _chat_chunk({}) | {"choices": [], "usage": usage}]]
    frames[-1] += b"\n\ndata: [DONE]"  # not counted as an event
    return [b"data: %b\n\n" % frame for frame in frames]


def _chat_chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "bench"}
    return {**head, "system_fingerprint": "fp_1", "choices": [choice]}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
