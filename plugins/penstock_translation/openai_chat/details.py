"""OpenRouter's `reasoning_details`: thinking as a list of entries, some of them sealed, that must come back as it was.

A stream brings the entries in fragments: those with the same type and index belong together, their text or summary is
joined, and a signature may come in a fragment without text (openrouter.ai/docs, reasoning tokens, "preserving
reasoning"). Encrypted entries are always whole.
"""

from collections.abc import Iterable
from typing import Any

from ..untyped import members, words

Entry = dict[str, Any]

_JOINED = ("text", "summary")
_SIGNED = "anthropic-claude-v1"  # a format whose entries are refused without their signature


class Details:
    """Puts entries together."""

    def __init__(self) -> None:
        self._parts: list[_Parts] = []
        self._open: dict[tuple[str, object], _Parts] = {}

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, fragments: Iterable[object]) -> None:
        """More fragments, in the order in which they came."""
        for fragment in map(members, fragments):
            if fragment:
                self._add(fragment)

    def entries(self) -> list[Entry]:
        """All entries so far."""
        return [parts.entry() for parts in self._parts]

    def _add(self, fragment: Entry) -> None:
        index = fragment.get("index")
        key = words(fragment.get("type")), index if isinstance(index, int | str) else None
        parts = self._open.get(key)
        if key[1] is None and parts is not (self._parts[-1] if self._parts else None):
            parts = None  # without an index only neighbours belong together
        if parts is None or parts.closed or fragment.get("data"):
            parts = self._open[key] = _Parts()
            self._parts.append(parts)
        parts.add(fragment)


class _Parts:
    """The fragments of one entry."""

    def __init__(self) -> None:
        self._members: Entry = {}
        self._texts: dict[str, list[str]] = {}

    @property
    def closed(self) -> bool:
        """Whether nothing more belongs to it."""
        return bool(self._members.get("signature") or self._members.get("data"))

    def add(self, fragment: Entry) -> None:
        for name, value in fragment.items():
            if name in _JOINED and isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
            if self._members.get(name) in (None, ""):
                self._members[name] = value

    def entry(self) -> Entry:
        return self._members | {name: "".join(texts) for name, texts in self._texts.items()}


def acceptable(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that their maker takes back: those whose signature a cut answer lacks are left out."""
    return [entry for entry in entries if entry.get("format") != _SIGNED or entry.get("signature") or entry.get("data")]
