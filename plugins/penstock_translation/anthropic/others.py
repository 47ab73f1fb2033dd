"""Which other models a Messages request names, besides the one that it asks for: providers may have them answer, too.

Sources: platform.claude.com/docs, advisor tool (a tool with a `model` of its own) and server-side fallback
(`fallbacks`); openrouter.ai/docs, model fallbacks (`models`), server tools (`parameters.model`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..untyped import members
from .mistakes import BROKEN


class _Named(msgspec.Struct):
    """A fallback, or a tool: of a tool that a client runs, all that is its own is in its schema."""

    model: Any = None
    parameters: Any = None


_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_NAMED = msgspec.json.Decoder(_Named | str)


def other_models(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """The names, each once, for a document with these top-level fields."""
    found = (name for field in ("models", "fallbacks") for name in _names(fields.get(field), plain=True))
    return tuple(dict.fromkeys([*found, *_names(fields.get("tools"), plain=False)]))


def _names(entries: msgspec.Raw | None, *, plain: bool) -> Iterator[str]:
    """The models of the entries of a list; a `plain` text is one, too. What cannot be read names none."""
    if entries is None or not (plain or b"model" in bytes(entries)):
        return
    try:
        listed = _ENTRIES.decode(entries)
    except BROKEN:
        return
    for entry in listed:
        yield from _of(entry, plain=plain)


def _of(entry: msgspec.Raw, *, plain: bool) -> Iterator[str]:
    try:
        named = _NAMED.decode(entry)
    except BROKEN:
        return
    if isinstance(named, str):
        found: list[Any] = [named] if plain else []
    else:
        found = [named.model, members(named.parameters).get("model")]
    yield from (name for name in found if isinstance(name, str) and name)
