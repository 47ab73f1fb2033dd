"""Content blocks and turns written into a Messages document: what is not changed keeps the client's bytes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from penstock import Block, Message, TextBlock, ToolResultBlock, ToolUseBlock

from ..origins import origins
from .members import Members, block_members, members_of, merged, message_members, raw

CONTENT: msgspec.json.Decoder[str | list[msgspec.Raw] | None] = msgspec.json.Decoder(str | list[msgspec.Raw] | None)
"""Reads a `content`, or a system prompt."""

Raws = Mapping[int, msgspec.Raw]
"""The JSON of blocks that came with the document, by the identity of the neutral ones."""


class _Holder(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


_HOLDER = msgspec.json.Decoder(_Holder)


def write_messages(new: Sequence[Message], old: Sequence[Message], turns: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
    """The turns of `new`; `turns` is how `old` came."""
    known = dict(_blocks(old, turns))
    places = origins(old, new, lambda message: message.role)
    return [
        _fresh(message_members(message), known) if place is None else _turn(message, old[place], turns[place], known)
        for message, place in zip(new, places, strict=True)
    ]


def write_content(new: Sequence[Block], old: Sequence[Block], content: msgspec.Raw, known: Raws) -> msgspec.Raw:
    """A `content` that says `new`; `content` is how `old` came, as a text or as a list."""
    came = CONTENT.decode(content)
    if isinstance(came, str) and (words := as_words(new)):
        return raw(words)
    return raw(write_blocks(new, old, parts_of(came), known))


def write_blocks(
    new: Sequence[Block], old: Sequence[Block], parts: Sequence[msgspec.Raw], known: Raws
) -> list[msgspec.Raw]:
    """The blocks of `new`; `parts` is how `old` came."""
    places = origins(old, new, _key)
    return [
        _made(block, known) if place is None else _block(block, old[place], parts[place], known)
        for block, place in zip(new, places, strict=True)
    ]


def as_words(content: Sequence[Block]) -> str:
    """The text that says the same as these blocks, "" if it takes blocks to say it."""
    block = content[0] if len(content) == 1 else None
    return block.text if isinstance(block, TextBlock) and not block.cache else ""


def parts_of(content: str | list[msgspec.Raw] | None) -> list[msgspec.Raw]:
    """The blocks of a `content`, of which a text is one if it says something."""
    if isinstance(content, list):
        return content
    return [raw({"type": "text", "text": content})] if content else []


def _turn(new: Message, old: Message, turn: msgspec.Raw, known: Raws) -> msgspec.Raw:
    return turn if new == old else _changed(message_members(new), message_members(old), members_of(turn), known)


def _block(new: Block, old: Block, block: msgspec.Raw, known: Raws) -> msgspec.Raw:
    if new is old or new == old:
        return block
    if type(new) is not type(old) or id(new) in known:
        return _made(new, known)
    now, was, before = block_members(new), block_members(old), members_of(block)
    # A block that came as something else, such as a search result, can be marked but not reworded.
    only_marked = {**now, "cache_control": None} == {**was, "cache_control": None}
    if only_marked or before.get("type") == raw(was["type"]):
        return _changed(now, was, before, known)
    return _made(new, known)


def _made(block: Block, known: Raws) -> msgspec.Raw:
    """A block from elsewhere in the document as it came, any other from its own members."""
    return known.get(id(block)) or _fresh(block_members(block), known)


def _fresh(now: Members, known: Raws) -> msgspec.Raw:
    return _changed(now, {}, {}, known)


def _changed(now: Members, was: Members, before: Members, known: Raws) -> msgspec.Raw:
    """The members that came, changed from `was` to `now`, with the blocks inside written in their turn."""
    content = before.get("content", msgspec.Raw(b"null"))
    members = merged(before, was, now)
    if "content" in now and members["content"] is now["content"]:
        members["content"] = write_content(now["content"], was.get("content", ()), content, known)
    return raw(members)


def _blocks(messages: Sequence[Message], turns: Sequence[msgspec.Raw]) -> Iterator[tuple[int, msgspec.Raw]]:
    for message, turn in zip(messages, turns, strict=True):
        yield from _parts(message.content, turn)


def _parts(content: Sequence[Block], holder: msgspec.Raw) -> Iterator[tuple[int, msgspec.Raw]]:
    """The blocks of a turn or of a tool's result, and those inside of them."""
    for block, part in zip(content, parts_of(_HOLDER.decode(holder).content), strict=True):
        yield id(block), part
        if isinstance(block, ToolResultBlock):
            yield from _parts(block.content, part)


def _key(block: Block) -> tuple[Any, ...]:
    """What makes a block the successor of another."""
    if isinstance(block, ToolUseBlock):
        return ToolUseBlock, block.id
    return (ToolResultBlock, block.tool_use_id) if isinstance(block, ToolResultBlock) else (type(block),)
