"""The JSON that streams and whole answers have in common: usage, content blocks, the final record."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from penstock import (
    BlockKind,
    BlockStart,
    Citation,
    Event,
    Exchange,
    Finish,
    Signature,
    Start,
    StopReason,
    Text,
    Thinking,
    ToolInput,
    UpstreamFailed,
    Usage,
)

from ..modes import mode_of
from ..untyped import members, number
from .mistakes import BROKEN, read_upstream
from .safeguards import RESULTS, spoken_by_upstream, unsupported

to_json = msgspec.json.Encoder().encode


def one_line(json: bytes) -> bytes:
    """JSON without line breaks, as a server-sent event needs it."""
    return msgspec.json.format(json, indent=-1) if b"\n" in json else json


def text_of(json: bytes) -> str:
    """JSON that nobody has read yet, as text on one line. Raises UpstreamFailed if it is not UTF-8."""
    try:
        return one_line(json).decode()
    except BROKEN as error:
        raise UpstreamFailed("the upstream sent broken JSON", detail=str(error)) from None


# ---------------------------------------------------------------- usage


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Counts as they come: each may be missing."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None
    service_tier: Any = None
    speed: Any = None
    server_tool_use: Any = None


def read_usage(wire: WireUsage | None, before: Usage) -> Usage:
    """The counts, with those of `before` for what is missing."""
    if wire is None:
        return before
    split = wire.cache_creation or _CacheCreation()
    hour = _or(split.ephemeral_1h_input_tokens, before.cache_write_1h)
    written = _or(split.ephemeral_5m_input_tokens, before.cache_write) + hour
    written = _or(wire.cache_creation_input_tokens, written)
    details = wire.output_tokens_details or _OutputDetails()
    return Usage(
        input=_or(wire.input_tokens, before.input),
        cache_read=_or(wire.cache_read_input_tokens, before.cache_read),
        cache_write=written - min(hour, written),
        cache_write_1h=min(hour, written),
        output=_or(wire.output_tokens, before.output),
        reasoning=_or(details.thinking_tokens, before.reasoning),
        mode=mode_of(wire.speed, wire.service_tier) or before.mode,
        searches=max(number(members(wire.server_tool_use).get("web_search_requests")), before.searches),
    )


def _or(count: int | None, default: int) -> int:
    return default if count is None else count


def write_usage(usage: Usage) -> bytes:
    """The counts, complete. Estimates are plain numbers too: the format has no word for a guess, and clients add."""
    written = usage.cache_write + usage.cache_write_1h
    split = b',"cache_creation":{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d}'
    times = split % (usage.cache_write, usage.cache_write_1h) if written else b""
    details = b',"output_tokens_details":{"thinking_tokens":%d}' % usage.reasoning if usage.reasoning else b""
    if usage.searches:  # agents add what these cost
        details += b',"server_tool_use":{"web_search_requests":%d,"web_fetch_requests":0}' % usage.searches
    return (
        b'{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d%b,"output_tokens":%d%b}'
    ) % (usage.input, written, usage.cache_read, times, usage.output, details)


# ---------------------------------------------------------------- content blocks


class _Typed(msgspec.Struct):
    type: str = ""


class _Block(msgspec.Struct):
    type: BlockKind
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: dict[str, msgspec.Raw] | None = None
    citations: list[msgspec.Raw] | None = None


_TYPED = msgspec.json.Decoder(_Typed)
_BLOCK = msgspec.json.Decoder(_Block)
_NULL = msgspec.Raw(b"null")
_KNOWN = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"})


def read_block(index: int, raw: msgspec.Raw) -> list[Event]:
    """A block's start, and what it already holds. Raises UpstreamFailed."""
    if read_upstream(_TYPED, raw, "content block").type not in _KNOWN:
        return [BlockStart(index, "other", data=one_line(bytes(raw)).decode(errors="replace"))]
    block = read_upstream(_BLOCK, raw, "content block")
    kind = block.type
    events: list[Event] = [BlockStart(index, kind, block.name or "", block.id or "", block.data or "")]
    if kind == "text":
        events += [Text(index, block.text)] if block.text else []
        events += [Citation(index, text_of(bytes(source))) for source in block.citations or ()]
    elif kind == "thinking":
        events += [Thinking(index, block.thinking)] if block.thinking else []
        events += [Signature(index, block.signature)] if block.signature else []
    elif block.input:
        events.append(ToolInput(index, text_of(to_json(block.input))))
    return events


def write_block(block: BlockStart) -> bytes:
    """A block as it opens, still empty."""
    match block.kind:
        case "text":
            return b'{"type":"text","text":""}'
        case "thinking":
            return b'{"type":"thinking","thinking":"","signature":""}'
        case "redacted_thinking":
            return b'{"type":"redacted_thinking","data":%b}' % to_json(block.data)
        case "other":
            return block.data.encode() if block.data.startswith("{") else b'{"type":"text","text":""}'
        case "tool_use" | "server_tool_use":
            name = (block.kind.encode(), to_json(block.id), to_json(block.name))
            return b'{"type":"%b","id":%b,"name":%b,"input":{}}' % name


# ---------------------------------------------------------------- the beginning and the end of an answer

_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "pause_turn": "pause_turn",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_exceeded",
}
_REASON_NAMES: Mapping[StopReason, str] = {reason: name for name, reason in _REASONS.items()}


_TEXT = msgspec.json.Decoder(str | None)


def message_head(exchange: Exchange, start: Start) -> dict[str, Any]:
    """The members with which a message begins.

    A translated answer has the name that the client has asked for: Claude Code, when it resumes a session, leaves out
    the thinking of answers that name another one (seen with 2.1.330). The log has both names.
    """
    made = "msg_" + exchange.id.removeprefix("req_")
    asked = exchange.request.client_model
    return {
        "id": start.id if start.id.startswith("msg_") else made,
        "type": "message",
        "role": "assistant",
        "model": asked if exchange.attempt and not spoken_by_upstream(exchange) else start.model or asked,
    }


def read_finish(members: Mapping[str, msgspec.Raw]) -> Finish:
    """The members of the final record; null means absent. Raises UpstreamFailed.

    A reason outside the vocabulary is an end of the turn, and stays among the further members.
    """
    given = {name: raw for name, raw in members.items() if bytes(raw) != b"null"}
    reason = read_upstream(_TEXT, given.pop("stop_reason", _NULL), "stop_reason")
    sequence = read_upstream(_TEXT, given.pop("stop_sequence", _NULL), "stop_sequence")
    extra = {name: bytes(raw).decode(errors="replace") for name, raw in given.items()}
    if reason and reason not in _REASONS:
        extra["stop_reason"] = to_json(reason).decode()
    return Finish(_REASONS.get(reason or "", "end_turn"), sequence, extra)


def final_record(exchange: Exchange, finish: Finish) -> dict[str, Any]:
    """The members of the final record. Safety checks that nobody made are answered as unsupported."""
    record: dict[str, Any] = {"stop_reason": _REASON_NAMES[finish.reason], "stop_sequence": finish.stop_sequence}
    record |= {
        name: msgspec.Raw(json.encode())
        for name, json in finish.extra.items()
        if name != "stop_reason" or finish.reason == "end_turn"
    }
    if RESULTS not in record and (results := unsupported(exchange)):
        record[RESULTS] = results
    return record


# ---------------------------------------------------------------- the answer, for another exchange


def portable(exchange: Exchange, events: Iterable[Event]) -> list[Event]:
    """The events with all that the beginning and the end take from their exchange."""
    return [_portable(exchange, event) for event in events]


def _portable(exchange: Exchange, event: Event) -> Event:
    """An answer in the name that its client has asked for gets that of whoever asks next."""
    if isinstance(event, Start):
        head = message_head(exchange, event)
        return replace(
            event, id=head["id"], model="" if head["model"] == exchange.request.client_model else event.model
        )
    if isinstance(event, Finish) and RESULTS not in event.extra and (results := unsupported(exchange)):
        return replace(event, extra={**event.extra, RESULTS: to_json(results).decode()})
    return event
