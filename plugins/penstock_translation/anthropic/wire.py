"""The JSON that streams and whole answers have in common: usage, stop reasons, content blocks, the last record."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from penstock import (
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
    Usage,
)

from .errors import NAME
from .mistakes import BROKEN, read_upstream

to_json = msgspec.json.Encoder().encode

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
    )


def _or(count: int | None, default: int) -> int:
    return default if count is None else count


def write_usage(usage: Usage) -> bytes:
    """The counts, complete."""
    written = usage.cache_write + usage.cache_write_1h
    details = b',"output_tokens_details":{"thinking_tokens":%d}' % usage.reasoning if usage.reasoning else b""
    return (
        b'{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d},"output_tokens":%d%b}'
    ) % (usage.input, written, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.output, details)


# ---------------------------------------------------------------- content blocks


class _Typed(msgspec.Struct):
    type: str = ""


class _Block(msgspec.Struct):
    type: str
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    citations: list[msgspec.Raw] | None = None


_TYPED = msgspec.json.Decoder(_Typed)
_BLOCK = msgspec.json.Decoder(_Block)
_KNOWN = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"})
_NO_INPUT = re.compile(rb"\{\s*\}|null")


def read_block(index: int, raw: msgspec.Raw) -> list[Event]:
    """A block's start, and what it already holds. Raises UpstreamFailed."""
    if read_upstream(_TYPED, raw, "content block").type not in _KNOWN:
        return [BlockStart(index, "other", data=one_line(bytes(raw)).decode())]
    block = read_upstream(_BLOCK, raw, "content block")
    match block.type:
        case "text":
            texts = [Text(index, block.text)] if block.text else []
            return [BlockStart(index, "text"), *texts, *(Citation(index, text_of(raw)) for raw in block.citations or ())]
        case "thinking":
            thoughts = [Thinking(index, block.thinking)] if block.thinking else []
            seals = [Signature(index, block.signature)] if block.signature else []
            return [BlockStart(index, "thinking"), *thoughts, *seals]
        case "redacted_thinking":
            return [BlockStart(index, "redacted_thinking", data=block.data or "")]
    kind = "tool_use" if block.type == "tool_use" else "server_tool_use"
    json = bytes(block.input)
    inputs = [] if _NO_INPUT.fullmatch(json) else [ToolInput(index, json.decode())]
    return [BlockStart(index, kind, block.name or "", block.id or ""), *inputs]


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
            return block.data.encode() or b'{"type":"text","text":""}'
    return b'{"type":"%b","id":%b,"name":%b,"input":{}}' % (
        block.kind.encode(),
        to_json(block.id),
        to_json(block.name),
    )
