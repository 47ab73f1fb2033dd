"""Turns of a conversation that an upstream would refuse, edited one by one; all others keep their bytes."""

import re
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from penstock import Request, TextBlock

from ..seals import is_sealed
from ..words import joined
from .blocks import read_content
from .sealing import opened

BRIDGED = "srvtoolu_penstock_"
"""How the ids begin that codecs give to the calls of an upstream's own tools: no provider has made them."""

TurnEdit = Callable[[msgspec.Raw], msgspec.Raw | None]
"""A turn as it may be sent: the same object if it may stay, None if nothing of it is left."""

_UNSIGNED = re.compile(rb'"signature"\s*:\s*""')
_UNINDEXED = re.compile(rb'"encrypted_index"\s*:\s*""')
_OURS = (b"penstock1.", BRIDGED.encode())
_NOTHING = msgspec.Raw(b"null")


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[msgspec.Raw] | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str | None = None
    tool_use_id: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    citations: msgspec.Raw = _NOTHING
    cache_control: msgspec.Raw = _NOTHING


class _Citation(msgspec.Struct):
    type: str = ""
    encrypted_index: str | None = None


_TURNS = msgspec.json.Decoder(list[msgspec.Raw])
_TURN = msgspec.json.Decoder(_Turn)
_BLOCK = msgspec.json.Decoder(_Block)
_CITATION = msgspec.json.Decoder(_Citation)
_CITATIONS = msgspec.json.Decoder(list[msgspec.Raw] | None)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def may_hold_ours(document: bytes | msgspec.Raw) -> bool:
    """Whether it is worth looking for what codecs have made; quick, since every request is asked."""
    text = bytes(document)
    return any(mark in text for mark in _OURS) or _holds(text, b'"encrypted_index"', _UNINDEXED)


def may_hold_foreign(document: bytes | msgspec.Raw) -> bool:
    """Whether it is worth looking for what Claude has not made."""
    text = bytes(document)
    return may_hold_ours(text) or _holds(text, b'"signature"', _UNSIGNED)


def _holds(text: bytes, name: bytes, empty: re.Pattern[bytes]) -> bool:
    return name in text and empty.search(text) is not None


def edit_turns(document: Request, edits: Sequence[TurnEdit]) -> None:
    """Edit each turn; one of which nothing is left is taken out. Raises what the JSON reader raises."""
    turns = _TURNS.decode(document.fields.get("messages", b"[]"))
    edited = [_through(turn, edits) for turn in turns]
    if any(new is not old for new, old in zip(edited, turns, strict=True)):
        document.set("messages", [turn for turn in edited if turn is not None])


def for_claude(turn: msgspec.Raw) -> msgspec.Raw | None:
    """Without what another model has made and Claude refuses: thinking, signed or not, and searches, told in words."""
    return _edited(turn, _for_claude) if may_hold_foreign(turn) else turn


def for_maker(turn: msgspec.Raw, maker: str) -> msgspec.Raw | None:
    """With the maker's own signatures, without what only others can read; their thinking stays, unsigned."""
    return _edited(turn, partial(_for_maker, maker=maker)) if may_hold_ours(turn) else turn


def system_as_user(turn: msgspec.Raw) -> msgspec.Raw | None:
    """A system message inside the conversation becomes marked text of the user."""
    read = _TURN.decode(turn)
    if read.role != "system":
        return turn
    text = joined(block for block in read_content(read.content, "content") if isinstance(block, TextBlock))
    return _raw({"role": "user", "content": f"<system>\n{text}\n</system>"}) if text else None


def _through(turn: msgspec.Raw, edits: Sequence[TurnEdit]) -> msgspec.Raw | None:
    left: msgspec.Raw | None = turn
    for edit in edits:
        left = None if left is None else edit(left)
    return left


def _edited(turn: msgspec.Raw, edit: Callable[[msgspec.Raw], msgspec.Raw | None]) -> msgspec.Raw | None:
    """The turn with each of its blocks edited, None if no block is left."""
    content = _TURN.decode(turn).content
    blocks = content if isinstance(content, list) else []
    edited = [edit(block) for block in blocks]
    if all(new is old for new, old in zip(edited, blocks, strict=True)):
        return turn
    kept = [block for block in edited if block is not None]
    return _raw(_MEMBERS.decode(turn) | {"content": _raw(kept)}) if kept else None


# ---------------------------------------------------------------- blocks


def _for_claude(raw: msgspec.Raw) -> msgspec.Raw | None:
    block = _BLOCK.decode(raw)
    match block.type:
        case "thinking":
            return raw if block.signature and not is_sealed(block.signature) else None
        case "redacted_thinking":
            return None if is_sealed(block.data or "") else raw
        case _:
            return _without_bridge(raw, block)


def _for_maker(raw: msgspec.Raw, maker: str) -> msgspec.Raw | None:
    block = _BLOCK.decode(raw)
    match block.type:
        case "thinking" if is_sealed(block.signature or ""):
            signature = opened(block.signature or "", maker)
            return _with(raw, signature=signature or "") if signature or block.thinking else None
        case "redacted_thinking" if is_sealed(block.data or ""):
            data = opened(block.data or "", maker)
            return None if data is None else _with(raw, data=data)
        case _:
            return _without_bridge(raw, block)


def _without_bridge(raw: msgspec.Raw, block: _Block) -> msgspec.Raw | None:
    """A call of another upstream's own tool, or its result, in words; a text without the sources it names there."""
    if (block.id or block.tool_use_id or "").startswith(BRIDGED):
        text = joined(read_content([raw], "content"))
        mark = {} if block.cache_control == _NOTHING else {"cache_control": block.cache_control}
        return _raw({"type": "text", "text": text, **mark}) if text else None
    sources: list[msgspec.Raw] = (_CITATIONS.decode(block.citations) if block.type == "text" else None) or []
    kept = [source for source in sources if not _is_foreign(_CITATION.decode(source))]
    return raw if len(kept) == len(sources) else _with(raw, citations=kept or None)


def _is_foreign(source: _Citation) -> bool:
    """Claude's own sources of the web are encrypted."""
    index = source.encrypted_index or ""
    return source.type == "web_search_result_location" and (not index or is_sealed(index))


def _with(raw: msgspec.Raw, **members: object) -> msgspec.Raw:
    return _raw(_MEMBERS.decode(raw) | {name: _raw(value) for name, value in members.items()})


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
