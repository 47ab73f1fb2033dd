"""Answers in the Chat Completions format: `data:` chunks up to `[DONE]`, or one whole completion."""

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from penstock.testing.parts import Part, Thought, ToolCall, pieces
from penstock.testing.reply import Reply, event_stream, json_reply

PATH = "/chat/completions"
DONE = b"data: [DONE]\n\n"


def stream(
    *parts: Part,
    model: str = "model-b",
    id: str = "chatcmpl-1",
    finish: str = "",
    prompt_tokens: int = 11,
    completion_tokens: int = 7,
) -> Reply:
    """A streamed completion. Parallel tool calls arrive interleaved, in fragments; thoughts as `reasoning_content`."""
    head = {"id": id, "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas = [{"role": "assistant", "content": ""}, *_texts(parts), *_interleaved(_calls(parts))]
    frames = [frame({**head, "choices": [_choice(delta)], "usage": None}) for delta in deltas]
    frames.append(frame({**head, "choices": [_choice({}, finish or _finish(parts))], "usage": None}))
    frames.append(frame({**head, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)}))
    return event_stream(*frames, DONE)


def whole(
    *parts: Part,
    model: str = "model-b",
    id: str = "chatcmpl-1",
    finish: str = "",
    prompt_tokens: int = 11,
    completion_tokens: int = 7,
) -> Reply:
    """The same as one JSON body."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(p for p in parts if isinstance(p, str)) or None}
    if thoughts := "".join(part.text for part in parts if isinstance(part, Thought)):
        message["reasoning_content"] = thoughts
    if calls := _calls(parts):
        message["tool_calls"] = [_call(index, call, call.json) for index, call in enumerate(calls)]
    choice = {"index": 0, "message": message, "finish_reason": finish or _finish(parts)}
    usage = _usage(prompt_tokens, completion_tokens)
    return json_reply({"id": id, "object": "chat.completion", "model": model, "choices": [choice], "usage": usage})


def error(
    status: int, message: str, code: str | None = None, type: str = "error", headers: Mapping[str, str] | None = None
) -> Reply:
    """An error answer."""
    return json_reply({"error": {"message": message, "type": type, "param": None, "code": code}}, status, headers)


def frame(chunk: Mapping[str, Any]) -> bytes:
    """One chunk of the stream."""
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _choice(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _calls(parts: tuple[Part, ...]) -> list[ToolCall]:
    return [part for part in parts if isinstance(part, ToolCall)]


def _finish(parts: tuple[Part, ...]) -> str:
    return "tool_calls" if _calls(parts) else "stop"


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _texts(parts: tuple[Part, ...]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, Thought):
            yield from ({"reasoning_content": piece} for piece in pieces(part.text))
        elif isinstance(part, str):
            yield from ({"content": piece} for piece in pieces(part))


def _interleaved(calls: list[ToolCall]) -> Iterator[dict[str, Any]]:
    """Each call is announced, then a fragment of each in turn."""
    for index, call in enumerate(calls):
        yield {"tool_calls": [_call(index, call, "")]}
    for fragments in zip_longest(*(call.fragments() for call in calls)):
        for index, fragment in enumerate(fragments):
            if fragment is not None:
                yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _call(index: int, call: ToolCall, arguments: str) -> dict[str, Any]:
    return {
        "index": index,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
