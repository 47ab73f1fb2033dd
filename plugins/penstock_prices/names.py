"""How a model's name is read: the many spellings under which vendors, clouds and routers offer the same model.

Letters in any case, and `.`, `:`, `@` and `_` like `-`. If that name is not found, these come off its end, one after
another: `[1m]` and the like, `:free` and other variants after a colon, the version of Bedrock (`-v1:0`), a date
(`-20251001`, `-2025-10-01`, `@20251001`), `-latest`. Then the same again without what stands before the last `/`
(`anthropic/` of a router, `publishers/anthropic/models/`), and then without the words that end in a dot, one by one
(`us.anthropic.`).
"""

import re
from collections.abc import Iterator

LONGEST = 200
"""No model's name is longer; the rest of a longer one is not looked at."""

_ENDS = tuple(
    re.compile(end)
    for end in (r"\[\w+\]$", r"-v?\d+:\d+$", r":[\w-]+$", r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)$", r"@\w+$", r"-latest$")
)
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*\.(?=[a-z])")
_SIGNS = re.compile(r"[.:@_]")


def plain(name: str) -> str:
    """The name with one spelling of letters and signs."""
    return _SIGNS.sub("-", name.lower())


def spellings(name: str) -> Iterator[tuple[str, ...]]:
    """Groups of names to look for, most exact first; within a group the full name, then what is left of its end."""
    name = name[:LONGEST].lower()
    tail = name.rpartition("/")[2]
    for head in dict.fromkeys((name, *_unprefixed(tail))):
        yield tuple(dict.fromkeys(map(plain, _shorter(head))))


def beginnings(name: str) -> Iterator[str]:
    """The plain name, and each shorter one that ends before a `-` or `/`; the longest first."""
    while name:
        yield name
        name = name[: max(name.rfind("-"), name.rfind("/"), 0)]


def _unprefixed(name: str) -> Iterator[str]:
    yield name
    while word := _WORD.match(name):
        name = name[word.end() :]
        yield name


def _shorter(name: str) -> Iterator[str]:
    yield name
    for end in _ENDS:
        shorter = end.sub("", name)
        if shorter and shorter != name:
            name = shorter
            yield name
