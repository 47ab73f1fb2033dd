"""What neutral blocks, turns and tools are in a Messages document: their members, for documents that are written."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)

Members = dict[str, Any]

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members_of(raw: msgspec.Raw | None) -> Members:
    """The members of a JSON object as they came, none if it is something else or nothing."""
    return dict(_OBJECT.decode(raw)) if raw is not None and bytes(raw).lstrip().startswith(b"{") else {}


def merged(before: Members, was: Members, now: Members) -> Members:
    """The members that came, after the changes from `was` to `now`; those that neither knows stay."""
    gone = was.keys() - now.keys()
    kept = {name: value for name, value in before.items() if name not in gone}
    return kept | {name: value for name, value in now.items() if name not in was or was[name] != value}


def raw(value: object) -> msgspec.Raw:
    """A value as JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


def message_members(message: Message) -> Members:
    """The members of a turn, with its blocks as they are."""
    return {"role": message.role, "content": message.content}


def tool_members(tool: Tool) -> Members:
    """The members of a tool. Of a built-in one its provider knows the schema."""
    own: Members = {"type": tool.type} if tool.type else {"input_schema": tool.schema}
    strict = {} if tool.strict is None else {"strict": tool.strict}
    return {"name": tool.name, **_said(description=tool.description), **own, **strict, **_mark(tool.cache)}


def choice_members(choice: ToolChoice) -> Members:
    """The members of a `tool_choice`."""
    single = {} if choice.parallel else {"disable_parallel_tool_use": True}
    return {"type": choice.mode, **_said(name=choice.name), **single}


def block_members(block: Block) -> Members:
    """The members of a content block, with the blocks of a tool's result as they are.

    Raises TypeError for a block of a type that nobody else can write.
    """
    make = _MAKERS.get(type(block))
    if make is None:
        raise TypeError(f"a block of type {block.type!r} can be kept, moved and left out, but not made or changed")  # type: ignore[union-attr]
    return make(block)


def _text(block: TextBlock) -> Members:
    return {"type": "text", "text": block.text, **_mark(block.cache)}


def _image(block: ImageBlock) -> Members:
    source = {"type": "url", "url": block.url}
    if block.data or not block.url:
        source = {"type": "base64", "media_type": block.media_type, "data": block.data}
    return {"type": "image", "source": source, **_mark(block.cache)}


def _document(block: DocumentBlock) -> Members:
    return {"type": "document", "source": _source(block), **_said(title=block.title), **_mark(block.cache)}


def _source(block: DocumentBlock) -> Members:
    if block.data:
        return {"type": "base64", "media_type": block.media_type, "data": block.data}
    if block.url:
        return {"type": "url", "url": block.url}
    if block.media_type:
        return {"type": "text", "media_type": block.media_type, "data": block.text}
    return {"type": "content", "content": block.text}


def _thinking(block: ThinkingBlock) -> Members:
    if block.redacted:
        return {"type": "redacted_thinking", "data": block.redacted}
    return {"type": "thinking", "thinking": block.text, "signature": block.signature}


def _tool_use(block: ToolUseBlock) -> Members:
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input, **_mark(block.cache)}


def _tool_result(block: ToolResultBlock) -> Members:
    content = {"content": block.content} if block.content else {}
    error = {"is_error": True} if block.is_error else {}
    return {"type": "tool_result", "tool_use_id": block.tool_use_id, **content, **error, **_mark(block.cache)}


def _said(**members: str) -> Members:
    return {name: value for name, value in members.items() if value}


def _mark(cache: str) -> Members:
    if not cache:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": cache} if cache == "1h" else {})}


_MAKERS: Mapping[type, Callable[[Any], Members]] = {
    TextBlock: _text,
    ImageBlock: _image,
    DocumentBlock: _document,
    ThinkingBlock: _thinking,
    ToolUseBlock: _tool_use,
    ToolResultBlock: _tool_result,
}
