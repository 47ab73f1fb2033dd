"""Scripts in the Messages format."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, ClassVar

from penstock import Usage
from penstock_translation.anthropic import Anthropic, Quirks
from penstock_translation.names import client_id
from tests.protocols.scripts import Call, Part, Said, Script, Thought
from tests.protocols.wires.wire import Frame, Record, Wire, dumped, pieces

_DELTAS = {"text": "text_delta", "thinking": "thinking_delta"}


class Messages(Wire):
    """Anthropic's Messages."""

    title = "anthropic"
    protocol = Anthropic()
    parts = (Said, Thought, Call)
    reasons: ClassVar = ("max_tokens", "refusal", "pause_turn", "stop_sequence", "context_exceeded")
    comments = False  # a relay would hand them on
    seals = False

    def tidy(self, script: Script) -> Script:
        return script._replace(parts=tuple(_tidy(part) for part in script.parts))

    def frames(self, script: Script, names: Mapping[str, str], noise: Random) -> Iterator[Frame]:
        start = _message(script, []) | {"usage": _usage(script.usage, 1), "stop_reason": None, "stop_sequence": None}
        yield _frame({"type": "message_start", "message": start})
        for index, part in enumerate(script.parts):
            if noise.random() < 0.1:
                yield _frame({"type": "ping"})
            yield from _block(index, part, noise)
        reason = {"stop_reason": _reason(script), "stop_sequence": _sequence(script)}
        given = {"output_tokens": script.usage.output, **_details(script.usage)}
        usage = noise.choice((given, _usage(script.usage, script.usage.output)))
        yield _frame({"type": "message_delta", "delta": reason, "usage": usage})
        yield _frame({"type": "message_stop"})

    def body(self, script: Script, names: Mapping[str, str], noise: Random) -> Record:
        return _message(script, [_whole(part) for part in script.parts])

    def tool_names(self, body: Any) -> list[str]:
        return [tool["name"] for tool in body.get("tools", ())]

    def turns(self, body: Any) -> list[Any]:
        turns: list[Any] = body["messages"]
        return turns


class Compatible(Messages):
    """The same of a model that is not Claude, whose signatures Claude would refuse."""

    title = "anthropic, not Claude"
    seals = True

    def quirks(self, noise: Random) -> Quirks:
        return Quirks(claude=False)


def _tidy(part: Part) -> Part:
    """Calls have no state, and ids of few characters."""
    return part._replace(state="", id=client_id(part.id)) if isinstance(part, Call) else part


def _frame(record: Record) -> Frame:
    return Frame(record, record["type"])


def _message(script: Script, content: list[Record]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": content,
        "stop_reason": _reason(script),
        "stop_sequence": _sequence(script),
        "usage": _usage(script.usage, script.usage.output),
    }


def _reason(script: Script) -> str:
    return "model_context_window_exceeded" if script.reason == "context_exceeded" else script.reason


def _sequence(script: Script) -> str | None:
    return "STOP" if script.reason == "stop_sequence" else None


def _usage(usage: Usage, output: int) -> Record:
    return {
        "input_tokens": usage.input,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "output_tokens": output,
        **(_details(usage) if output == usage.output else {}),
    }


def _details(usage: Usage) -> Record:
    return {"output_tokens_details": {"thinking_tokens": usage.reasoning}}


def _whole(part: Part) -> dict[str, Any]:
    match part:
        case Said(text):
            return {"type": "text", "text": text}
        case Thought("", state):
            return {"type": "redacted_thinking", "data": state}
        case Thought(text, state):
            return {"type": "thinking", "thinking": text, "signature": state}
        case Call(id, name, given, _):
            return {"type": "tool_use", "id": id, "name": name, "input": given}


def _block(index: int, part: Part, noise: Random) -> Iterator[Frame]:
    block = _whole(part)
    deltas: list[dict[str, str]] = []
    kind = block["type"]
    if isinstance(part, Call):
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _input(part, noise)]
        block["input"] = {}
    elif kind in _DELTAS:
        deltas = [{"type": _DELTAS[kind], kind: piece} for piece in pieces(block[kind], noise) if piece]
        block[kind] = ""
    if block.get("signature"):
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        block["signature"] = ""
    yield _frame({"type": "content_block_start", "index": index, "content_block": block})
    for delta in deltas:
        yield _frame({"type": "content_block_delta", "index": index, "delta": delta})
    yield _frame({"type": "content_block_stop", "index": index})


def _input(call: Call, noise: Random) -> list[str]:
    return [] if not call.input and noise.random() < 0.5 else pieces(dumped(call.input, noise), noise)
