"""The upstream's answers as ready-made bytes, in every format that the gateway translates."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

EVENTS = 300
TEXT = b"jumps over"  # what most events hold
TEXTS = EVENTS - 12
_BURST = 10  # events per write
_GAP = 0.003  # seconds between writes

Record = Mapping[str, Any]


class Answer(NamedTuple):
    """An upstream's answer as the writes it arrives in, and the seconds between them."""

    writes: Sequence[bytes]
    gap: float = 0.0


def answers() -> Mapping[bytes, Answer]:
    """The answers by model name."""
    found = {b"small": _whole()}
    for name, make in STREAMS.items():
        events = make(EVENTS)
        found[f"{name}-paced".encode()] = _stream(events, 1)
        found[f"{name}-burst".encode()] = _stream(events, _BURST)
    return found


def _whole() -> Answer:
    body = _json(_message([{"type": "text", "text": "The quick brown fox jumps over the lazy dog."}], "end_turn"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\ncontent-length: %d\r\n\r\n"
    return Answer([head % len(body) + body])


def _stream(events: Sequence[bytes], per_write: int) -> Answer:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    writes = [b"".join(events[start : start + per_write]) for start in range(0, len(events), per_write)]
    chunks = [b"%x\r\n%b\r\n" % (len(data), data) for data in writes]
    return Answer([head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"], _GAP)


# ---------------------------------------------------------------- streams of so many events


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


def _messages(count: int) -> list[bytes]:
    delta = {"type": "text_delta", "text": TEXT.decode()}
    return _named(
        {"type": "message_start", "message": _message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for _ in range(count - 5)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 900}},
        {"type": "message_stop"},
    )


def _chat(count: int) -> list[bytes]:
    deltas: list[Record] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": TEXT.decode()} for _ in range(count - 3)]
    usage = {"prompt_tokens": 12000, "completion_tokens": 900, "total_tokens": 12900}
    chunks = [*map(_chunk, deltas), _chunk({}, "stop"), {**_chunk({}), "choices": [], "usage": usage}]
    return [*_unnamed(chunks[:-1]), _unnamed(chunks[-1:])[0] + b"data: [DONE]\n\n"]  # not counted as an event


def _chunk(delta: Record, reason: str | None = None) -> Record:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "bench"}
    return {**head, "system_fingerprint": "fp_1", "choices": [choice]}


def _responses(count: int) -> list[bytes]:
    texts = count - 10
    part = {"type": "output_text", "text": TEXT.decode() * texts, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 12000, "output_tokens": 900, "total_tokens": 12900}
    done = {"id": "resp_1", "object": "response", "model": "bench", "status": "completed", "output": [item]}
    begun = {**done, "status": "in_progress", "output": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[Record] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": TEXT.decode(), "logprobs": []} for _ in range(texts)),
        {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**done, "usage": usage}},
    ]
    return _named(*({**event, "sequence_number": number} for number, event in enumerate(events)))


def _gemini(count: int) -> list[bytes]:
    """Google's chunks are coarse; these are as small as those of the others, which is the worst case."""
    usage = {"promptTokenCount": 12000, "candidatesTokenCount": 900, "totalTokenCount": 12900}
    content = {"role": "model", "parts": [{"text": TEXT.decode()}]}
    more = {"usageMetadata": usage, "modelVersion": "bench", "responseId": "r1"}
    chunk: Record = {"candidates": [{"content": content, "index": 0}], **more}
    last: Record = {"candidates": [{"content": content, "index": 0, "finishReason": "STOP"}], **more}
    return _unnamed([chunk] * (count - 1) + [last])


STREAMS = {"messages": _messages, "chat": _chat, "responses": _responses, "gemini": _gemini}
"""Streams of a number of events, by the name in the names of their models."""


def _named(*events: Record) -> list[bytes]:
    return [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _json(event)) for event in events]


def _unnamed(records: Iterable[Record]) -> list[bytes]:
    return [b"data: %b\n\n" % _json(record) for record in records]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
