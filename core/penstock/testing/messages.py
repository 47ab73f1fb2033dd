"""The Messages format: answers streamed or whole, errors, and requests."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.testing.parts import Part, Thought, ToolCall, pieces
from penstock.testing.reply import Reply, event_stream, json_reply

PATH = "/v1/messages"

_REQUEST_ID = {"request-id": "req_from_upstream"}


def request(
    content: str | Sequence[Mapping[str, Any]],
    *,
    model: str,
    stream: bool,
    system: str,
    tools: Sequence[str | Mapping[str, Any]],
    max_tokens: int,
) -> dict[str, Any]:
    """A request: `content` is what the user says, or the messages; a tool that is only named takes anything."""
    turns = [{"role": "user", "content": content}] if isinstance(content, str) else list(content)
    body = {"model": model, "max_tokens": max_tokens, "messages": turns, "stream": stream}
    given = [_tool(tool) if isinstance(tool, str) else tool for tool in tools]
    return body | ({"system": system} if system else {}) | ({"tools": given} if given else {})


def stream(
    *parts: Part,
    model: str = "model-a",
    id: str = "msg_1",
    stop: str = "",
    input_tokens: int = 11,
    output_tokens: int = 7,
) -> Reply:
    """A streamed message of texts, thoughts and tool calls; `stop` is the stop reason, by default the fitting one."""
    usage = {"input_tokens": input_tokens, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    start = {**_message(model, id), "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    frames = [frame({"type": "message_start", "message": start}), frame({"type": "ping"})]
    for index, part in enumerate(parts):
        frames += _block(index, part)
    delta = {"stop_reason": stop or _stop(parts), "stop_sequence": None}
    frames.append(frame({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}))
    frames.append(frame({"type": "message_stop"}))
    return event_stream(*frames).with_headers(**_REQUEST_ID)


def whole(
    *parts: Part,
    model: str = "model-a",
    id: str = "msg_1",
    stop: str = "",
    input_tokens: int = 11,
    output_tokens: int = 7,
) -> Reply:
    """The same as one JSON body."""
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    content = [_content(part) for part in parts]
    message = {**_message(model, id), "content": content, "stop_reason": stop or _stop(parts), "usage": usage}
    return json_reply(message, headers=_REQUEST_ID)


def error(status: int, type: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error answer."""
    body = {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_from_upstream"}
    return json_reply(body, status, {**_REQUEST_ID, **(headers or {})})


def frame(event: Mapping[str, Any]) -> bytes:
    """One event of the stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"The tool {name}.", "input_schema": {"type": "object", "properties": {}}}


def _message(model: str, id: str) -> dict[str, Any]:
    return {"id": id, "type": "message", "role": "assistant", "model": model, "stop_sequence": None}


def _stop(parts: tuple[Part, ...]) -> str:
    return "tool_use" if any(isinstance(part, ToolCall) for part in parts) else "end_turn"


def _content(part: Part) -> dict[str, Any]:
    if isinstance(part, Thought):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.input}
    return {"type": "text", "text": part}


def _block(index: int, part: Part) -> Iterator[bytes]:
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    block = {name: empty.get(name, value) for name, value in _content(part).items()}
    yield frame({"type": "content_block_start", "index": index, "content_block": block})
    for delta in _deltas(part):
        yield frame({"type": "content_block_delta", "index": index, "delta": delta})
    yield frame({"type": "content_block_stop", "index": index})


def _deltas(part: Part) -> Iterator[dict[str, str]]:
    if isinstance(part, Thought):
        yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(part.text))
        yield {"type": "signature_delta", "signature": part.signature}
    elif isinstance(part, ToolCall):
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in part.fragments())
    else:
        yield from ({"type": "text_delta", "text": piece} for piece in pieces(part))
