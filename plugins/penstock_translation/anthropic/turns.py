"""Turns of a conversation that an upstream would refuse, edited one by one; all others keep their bytes."""

import re
from collections.abc import Callable

import msgspec

from penstock import Request, TextBlock
from penstock_translation.anthropic.blocks import read_content

_UNSEALED = re.compile(rb'"signature"\s*:\s*""')


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[msgspec.Raw] | None = None


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None


_TURNS = msgspec.json.Decoder(list[msgspec.Raw])
_TURN = msgspec.json.Decoder(_Turn)
_BLOCK = msgspec.json.Decoder(_Block)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def may_hold_unsealed_thinking(document: bytes | msgspec.Raw) -> bool:
    """Whether it is worth looking for thinking that has no signature; quick, since every request is asked."""
    text = bytes(document)
    return b'"signature"' in text and _UNSEALED.search(text) is not None


def drop_unsealed_thinking(document: Request) -> None:
    """Take out thinking that another model has made: Claude refuses it, and whoever made it cannot seal it."""
    _edit(document, _sealed)


def system_as_user(document: Request) -> None:
    """Turn system messages inside the conversation into marked text of the user."""
    _edit(document, _as_user)


def _edit(document: Request, edit: Callable[[msgspec.Raw], msgspec.Raw | None]) -> None:
    turns = _TURNS.decode(document.fields.get("messages", b"[]"))
    edited = [edit(turn) for turn in turns]
    if any(new is not old for new, old in zip(edited, turns, strict=True)):
        document.set("messages", [turn for turn in edited if turn is not None])


def _sealed(turn: msgspec.Raw) -> msgspec.Raw | None:
    """The turn without such thinking, None if there is nothing else in it."""
    if not may_hold_unsealed_thinking(turn):
        return turn
    content = _TURN.decode(turn).content
    blocks = content if isinstance(content, list) else []
    kept = [block for block in blocks if not _is_unsealed(_BLOCK.decode(block))]
    if len(kept) == len(blocks):
        return turn
    return _raw(_MEMBERS.decode(turn) | {"content": _raw(kept)}) if kept else None


def _is_unsealed(block: _Block) -> bool:
    return block.type == "thinking" and not block.signature


def _as_user(turn: msgspec.Raw) -> msgspec.Raw | None:
    read = _TURN.decode(turn)
    if read.role != "system":
        return turn
    blocks = read_content(read.content, "content")
    text = "\n\n".join(block.text for block in blocks if isinstance(block, TextBlock))
    return _raw({"role": "user", "content": f"<system>\n{text}\n</system>"}) if text else None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
