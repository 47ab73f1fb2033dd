"""Answers in the generateContent format: coarse chunks with CRLF and no end mark, or one whole answer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from penstock.testing.parts import Part, Thought, ToolCall, pieces
from penstock.testing.reply import Reply, event_stream, json_reply

Chunk = dict[str, Any]


def path(model: str = "model-d", *, stream: bool) -> str:
    """Where a model answers."""
    return f"/models/{model}:{'streamGenerateContent' if stream else 'generateContent'}"


def stream(
    *parts: Part,
    model: str = "model-d",
    id: str = "answer-1",
    finish: str = "STOP",
    prompt_tokens: int = 11,
    candidates_tokens: int = 7,
) -> Reply:
    """A streamed answer; neighbouring calls come whole, in one chunk, and without their ids.

    A thought's signature is on the first call after it, or on an empty text at the end.
    """
    usage = _usage(prompt_tokens, candidates_tokens)
    chunks = [_chunk(some, model, id, usage) for some in _portions(_wire(parts, last=True))]
    chunks[-1]["candidates"][0]["finishReason"] = finish
    return event_stream(*map(frame, chunks))


def whole(
    *parts: Part,
    model: str = "model-d",
    id: str = "answer-1",
    finish: str = "STOP",
    prompt_tokens: int = 11,
    candidates_tokens: int = 7,
) -> Reply:
    """The same as one JSON body."""
    chunk = _chunk(list(_wire(parts)), model, id, _usage(prompt_tokens, candidates_tokens))
    chunk["candidates"][0]["finishReason"] = finish
    return json_reply(chunk)


def error(
    status: int,
    name: str,
    message: str,
    details: Iterable[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An error answer; `name` is a status in words, such as INVALID_ARGUMENT."""
    body = {"code": status, "message": message, "status": name, "details": list(details)}
    return json_reply({"error": body}, status, headers)


def frame(chunk: Mapping[str, Any]) -> bytes:
    """One chunk of the stream."""
    return f"data: {json.dumps(chunk)}\r\n\r\n".encode()


def _chunk(parts: list[Chunk], model: str, id: str, usage: Chunk) -> Chunk:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": id}


def _usage(prompt: int, candidates: int) -> Chunk:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": candidates}
    return {**counts, "totalTokenCount": prompt + candidates}


def _wire(parts: tuple[Part, ...], *, last: bool = False) -> Iterator[Chunk]:
    """The parts with the signatures where they belong; `last` is for the empty text that a stream ends with."""
    signature = ""
    for part in parts:
        if isinstance(part, Thought):
            signature = part.signature
            if part.text:
                yield {"text": part.text, "thought": True}
        elif isinstance(part, ToolCall):
            yield {"functionCall": {"name": part.name, "args": part.input}, **_signed(signature)}
            signature = ""
        else:
            yield {"text": part}
    if last or signature:
        yield {"text": "", **_signed(signature)}


def _signed(signature: str) -> Chunk:
    return {"thoughtSignature": signature} if signature else {}


def _portions(wire: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """What comes in one chunk: a piece of a text, or all calls in a row."""
    for calls, run in groupby(wire, lambda part: "functionCall" in part):
        if calls:
            yield list(run)
        else:
            yield from ([part | {"text": piece}] for part in run for piece in (*pieces(part["text"]),) or ("",))
