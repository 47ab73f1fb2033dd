"""Scripts in the Responses format."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any, ClassVar

from penstock import Usage
from penstock_translation.openai_responses import OpenAIResponses
from tests.protocols.scripts import Call, Part, Said, Script, Thought
from tests.protocols.wires.wire import Frame, Record, Wire, dumped, pieces, shuffled

_INCOMPLETE = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}

Events = list[dict[str, Any]]


class Responses(Wire):
    """OpenAI's Responses, of which nothing is stored at the upstream."""

    title = "openai-responses"
    protocol = OpenAIResponses()
    parts: ClassVar = (Said, Thought, Call)
    comments = False

    def tidy(self, script: Script) -> Script:
        return script._replace(parts=tuple(_stateless(part) for part in script.parts))

    def returning(self, script: Script) -> list[str]:
        """Reasoning goes back only directly before what it has led to."""
        pairs = pairwise(script.parts)
        kept = tuple(part for part, led_to in pairs if not isinstance(led_to, Thought))
        return script._replace(parts=kept).states

    def frames(self, script: Script, names: Mapping[str, str], noise: Random) -> Iterator[Frame]:
        items = self._items(script, names, noise)
        done = _response(script, items if noise.random() < 0.8 else [])
        started = {**done, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        events: Events = [{"type": f"response.{name}", "response": started} for name in ("created", "in_progress")]
        told = noise.random() < 0.8
        queues = [_item_events(index, item, told, noise) for index, item in enumerate(items)]
        events += shuffled(queues, noise) if noise.random() < 0.3 else (event for queue in queues for event in queue)
        status = done["status"]
        events.append({"type": f"response.{status}", "response": done})
        for number, event in enumerate(events):
            yield Frame(event | {"sequence_number": number}, event["type"])

    def body(self, script: Script, names: Mapping[str, str], noise: Random) -> Record:
        return _response(script, self._items(script, names, noise))

    def tool_names(self, body: Any) -> list[str]:
        return [tool["name"] for tool in body.get("tools", ())]

    def turns(self, body: Any) -> list[Any]:
        turns: list[Any] = body["input"]
        return turns

    def _items(self, script: Script, names: Mapping[str, str], noise: Random) -> Sequence[dict[str, Any]]:
        return [_item(index, part, names, noise) for index, part in enumerate(script.parts)]


def _stateless(part: Part) -> Part:
    """State belongs to reasoning items, which may also have nothing else."""
    return part._replace(state="") if isinstance(part, Call) else part


def _item(index: int, part: Part, names: Mapping[str, str], noise: Random) -> dict[str, Any]:
    match part:
        case Said(text):
            content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
            return {
                "id": f"msg_{index}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        case Thought(text, state):
            item: dict[str, Any] = {"id": f"rs_{index}", "type": "reasoning", "summary": []}
            if text and len(text) % 2:  # open models show their reasoning, others a summary of it
                item["content"] = [{"type": "reasoning_text", "text": text}]
            elif text:
                item["summary"] = [{"type": "summary_text", "text": text}]
            return item | ({"encrypted_content": state} if state else {})
        case Call(id, name, given, _):
            item = {"id": f"fc_{index}", "type": "function_call", "status": "completed", "call_id": id}
            return item | {"name": names[name], "arguments": dumped(given, noise)}


def _response(script: Script, items: Sequence[Record]) -> dict[str, Any]:
    reason = _INCOMPLETE.get(script.reason)
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m-1",
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "error": None,
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage(script.usage),
    }


def _usage(usage: Usage) -> Record:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output,
    }


# ---------------------------------------------------------------- the life of an item


def _item_events(index: int, item: dict[str, Any], told: bool, noise: Random) -> Events:
    """All events of an item; `told` is False where a server has no deltas, only what is done."""
    at = {"item_id": item["id"], "output_index": index}
    empty = {**item, "status": "in_progress"}
    if item["type"] == "message":
        empty["content"] = []
        inner = _text_events(at, item["content"][0], told, noise)
    elif item["type"] == "reasoning":
        empty = {"id": item["id"], "type": "reasoning", "summary": []}
        inner = _reasoning_events(at, item, told, noise)
    else:
        empty["arguments"] = ""
        inner = _call_events(at, item, told, noise)
    added = {"type": "response.output_item.added", "output_index": index, "item": empty}
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    return [added, *inner, done]


def _text_events(at: Record, part: Record, told: bool, noise: Random) -> Events:
    at = {**at, "content_index": 0}
    found: Events = [{"type": "response.content_part.added", **at, "part": {**part, "text": ""}}]
    if told:
        found += _deltas("response.output_text.delta", {**at, "logprobs": []}, part["text"], noise)
    found.append({"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []})
    return [*found, {"type": "response.content_part.done", **at, "part": part}]


def _reasoning_events(at: Record, item: Record, told: bool, noise: Random) -> Events:
    found: Events = []
    for number, part in enumerate(item["summary"]):
        here = {**at, "summary_index": number}
        found.append({"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}})
        if told:
            found += _deltas("response.reasoning_summary_text.delta", here, part["text"], noise)
        found.append({"type": "response.reasoning_summary_text.done", **here, "text": part["text"]})
        found.append({"type": "response.reasoning_summary_part.done", **here, "part": part})
    for number, part in enumerate(item.get("content", ())):
        here = {**at, "content_index": number}
        if told:
            found += _deltas("response.reasoning_text.delta", here, part["text"], noise)
        found.append({"type": "response.reasoning_text.done", **here, "text": part["text"]})
    return found


def _call_events(at: Record, item: Record, told: bool, noise: Random) -> Events:
    name = "response.function_call_arguments"
    deltas = _deltas(f"{name}.delta", at, item["arguments"], noise) if told else []
    return [*deltas, {"type": f"{name}.done", **at, "name": item["name"], "arguments": item["arguments"]}]


def _deltas(type: str, at: Record, text: str, noise: Random) -> Events:
    return [{"type": type, **at, "delta": piece} for piece in pieces(text, noise)]
