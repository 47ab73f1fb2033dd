"""Answers in the Responses format: the whole life of a response and of its items, or one whole response."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby, zip_longest
from typing import Any

from penstock.testing.chat import error as error
from penstock.testing.parts import Part, Thought, ToolCall, pieces
from penstock.testing.reply import Reply, event_stream, json_reply

PATH = "/responses"

Item = dict[str, Any]


def stream(
    *parts: Part,
    model: str = "model-c",
    id: str = "resp_1",
    incomplete: str = "",
    input_tokens: int = 11,
    output_tokens: int = 7,
) -> Reply:
    """A streamed response; `incomplete` is the reason why it is not complete.

    A thought becomes a reasoning item with its signature as encrypted content. Parallel calls arrive interleaved.
    """
    final = _response(parts, model, id, incomplete, _usage(input_tokens, output_tokens))
    begun = final | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *_items(parts, final["output"]),
        {"type": f"response.{final['status']}", "response": final},
    ]
    return event_stream(*(frame({**event, "sequence_number": number}) for number, event in enumerate(events)))


def whole(
    *parts: Part,
    model: str = "model-c",
    id: str = "resp_1",
    incomplete: str = "",
    input_tokens: int = 11,
    output_tokens: int = 7,
) -> Reply:
    """The same as one JSON body."""
    return json_reply(_response(parts, model, id, incomplete, _usage(input_tokens, output_tokens)))


def frame(event: Mapping[str, Any]) -> bytes:
    """One event of the stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _response(parts: tuple[Part, ...], model: str, id: str, incomplete: str, usage: Item) -> dict[str, Any]:
    return {
        "id": id,
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "error": None,
        "output": [_item(index, part) for index, part in enumerate(parts)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _usage(given: int, written: int) -> Item:
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + written,
    }


def _item(index: int, part: Part) -> Item:
    if isinstance(part, Thought):
        summary = [_summary(part.text)] if part.text else []
        return {"id": f"rs_{index}", "type": "reasoning", "summary": summary, "encrypted_content": part.signature}
    if isinstance(part, ToolCall):
        call = {"call_id": part.id, "name": part.name, "arguments": part.json, "status": "completed"}
        return {"id": f"fc_{index}", "type": "function_call", **call}
    message = {"role": "assistant", "status": "completed", "content": [_text(part)]}
    return {"id": f"msg_{index}", "type": "message", **message}


def _summary(text: str) -> Item:
    return {"type": "summary_text", "text": text}


def _text(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _items(parts: tuple[Part, ...], items: list[Item]) -> Iterator[Item]:
    """The lives of the items: one after the other, those of neighbouring calls in turns."""
    numbered = enumerate(zip(parts, items, strict=True))
    for _, group in groupby(numbered, lambda entry: -1 if isinstance(entry[1][0], ToolCall) else entry[0]):
        lives = [_life(index, part, item) for index, (part, item) in group]
        for events in zip_longest(*lives):
            yield from filter(None, events)


def _life(index: int, part: Part, item: Item) -> Iterator[Item]:
    yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
    place = {"item_id": item["id"], "output_index": index}
    yield from ({**event, **place} for event in _increments(part))
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _begun(item: Item) -> Item:
    """An item as it is announced; what is sealed of a thought is whole only at its end."""
    empty = {"summary": [], "content": [], "arguments": "", "encrypted_content": "", "status": "in_progress"}
    return {name: empty.get(name, value) for name, value in item.items()}


def _increments(part: Part) -> Iterator[Item]:
    if isinstance(part, ToolCall):
        kind = "response.function_call_arguments"
        yield from ({"type": f"{kind}.delta", "delta": fragment} for fragment in part.fragments())
        yield {"type": f"{kind}.done", "name": part.name, "arguments": part.json}
    elif isinstance(part, Thought):
        if part.text:
            yield from _part("reasoning_summary", "reasoning_summary_text", "summary_index", part.text, _summary)
    else:
        yield from _part("content", "output_text", "content_index", part, _text, logprobs=[])


def _part(name: str, kind: str, index: str, text: str, made: Callable[[str], Item], **more: Any) -> Iterator[Item]:
    """The life of an item's only part."""
    yield {"type": f"response.{name}_part.added", index: 0, "part": made("")}
    for piece in pieces(text):
        yield {"type": f"response.{kind}.delta", index: 0, "delta": piece, **more}
    yield {"type": f"response.{kind}.done", index: 0, "text": text, **more}
    yield {"type": f"response.{name}_part.done", index: 0, "part": made(text)}
