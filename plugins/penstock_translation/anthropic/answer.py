"""Whole answers both ways: events folded into one message, and a message as events."""

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock import (
    BlockStart,
    BlockStop,
    Citation,
    Delta,
    Event,
    Exchange,
    Failed,
    Finish,
    Opaque,
    Ping,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    UpstreamFailed,
    Usage,
)

from .errors import read_event
from .mistakes import BROKEN, read_upstream
from .sealing import Sealer
from .wire import (
    WireUsage,
    final_record,
    message_head,
    read_block,
    read_finish,
    read_usage,
    to_json,
    write_usage,
)

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BLOCKS = msgspec.json.Decoder(list[msgspec.Raw])
_NAME = msgspec.json.Decoder(str | None)
_USAGE = msgspec.json.Decoder(WireUsage | None)
_NULL = msgspec.Raw(b"null")

_HEAD = frozenset({"type", "role", "content", "usage", "id", "model"})


# ---------------------------------------------------------------- events to a message


class _Block:
    """A block as it fills."""

    def __init__(self, start: BlockStart) -> None:
        self._start = start
        self._texts: list[str] = []
        self._inputs: list[str] = []
        self._signature = ""
        self._citations: list[msgspec.Raw] = []

    def add(self, event: Delta) -> None:
        match event:
            case Text(text=text) | Thinking(text=text):
                self._texts.append(text)
            case ToolInput(json=json):
                self._inputs.append(json)
            case Signature(signature=signature):
                self._signature = signature
            case Citation(json=json):
                self._citations.append(msgspec.Raw(json.encode()))

    def json(self) -> dict[str, Any] | None:
        """The block, or None for a tool call that was cut short: nobody must run half of it."""
        start, text = self._start, "".join(self._texts)
        match start.kind:
            case "text":
                sources = {"citations": self._citations} if self._citations else {}
                return {"type": "text", "text": text, **sources}
            case "thinking":
                return {"type": "thinking", "thinking": text, "signature": self._signature}
            case "redacted_thinking":
                return {"type": "redacted_thinking", "data": start.data}
            case "other":
                block = _object(start.data) or {"type": "text", "text": text}
                return block | ({"input": self._input()} if self._inputs else {})
            case "tool_use" | "server_tool_use":
                given = self._input()
                block = {"type": start.kind, "id": start.id, "name": start.name, "input": given}
                return block if given is not None else None

    def _input(self) -> dict[str, Any] | None:
        return _object("".join(self._inputs) or "{}")


def _object(json: str) -> dict[str, Any] | None:
    try:
        return _MEMBERS.decode(json)
    except BROKEN:
        return None


def fold(exchange: Exchange, events: Iterable[Event]) -> bytes:
    """The message that the events amount to. Raises the error of a Failed."""
    start, usage, finish = Start(), Usage(), Finish()
    blocks: list[_Block] = []
    for event in events:
        match event:
            case Start():
                start, usage = event, event.usage
            case BlockStart():
                blocks.append(_Block(event))
            case Usage():
                usage = event
            case Finish():
                finish = event
            case Failed(error=error):
                raise error
            case Text() | Thinking() | Signature() | ToolInput() | Citation():
                blocks[-1].add(event)
            case BlockStop() | Ping() | Opaque():
                pass
    return to_json(
        {
            **message_head(exchange, start),
            "content": [json for block in blocks if (json := block.json()) is not None],
            **final_record(exchange, finish),
            "usage": msgspec.Raw(write_usage(usage)),
        }
    )


# ---------------------------------------------------------------- a message to events


def read_message(body: bytes, sealer: Sealer | None = None) -> list[Event]:
    """The events of a whole answer. Raises UpstreamFailed, or the error that the body tells of."""
    what = "answer"
    members = read_upstream(_MEMBERS, body, what)
    if members.get("type") == msgspec.Raw(b'"error"') or "content" not in members:
        raise _refusal(members, body)
    usage = read_usage(read_upstream(_USAGE, members.get("usage", _NULL), what), Usage())
    model, name = (read_upstream(_NAME, members.get(key, _NULL), what) or "" for key in ("model", "id"))
    events: list[Event] = [Start(model, name, usage)]
    blocks: list[msgspec.Raw] = read_upstream(_BLOCKS, members["content"], what)
    for index, raw in enumerate(blocks):
        events += [*read_block(index, sealer.part(raw) if sealer else raw), BlockStop(index)]
    final = {name: raw for name, raw in members.items() if name not in _HEAD}
    return [*events, usage, read_finish(final)]


def _refusal(members: dict[str, msgspec.Raw], body: bytes) -> Exception:
    if "error" in members:
        return read_event(body)
    return UpstreamFailed("the upstream's answer is not a message", detail=f"its members: {', '.join(members)}")
