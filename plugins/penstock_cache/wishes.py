"""What the client of one request wants of the cache."""

from collections.abc import Mapping
from typing import Literal

from penstock import InvalidRequest

Wish = Literal["", "bypass", "refresh"]
"""Nothing; an answer that neither comes from the cache nor goes there; a new one that replaces the old."""

_OWN = "x-penstock-cache"
_OWN_WORDS: Mapping[str, Wish] = {"bypass": "bypass", "refresh": "refresh", "": ""}


def wish_of(headers: Mapping[str, str]) -> Wish:
    """By our own header, else by `cache-control` (RFC 9111, 5.2.1). Raises InvalidRequest."""
    own = headers.get(_OWN, "").strip().lower()
    if own not in _OWN_WORDS:
        raise InvalidRequest(f"{_OWN}: expected bypass or refresh, got {own[:40]!r}")
    if own:
        return _OWN_WORDS[own]
    said = {word.strip().lower() for word in headers.get("cache-control", "").split(",")}
    return "bypass" if "no-store" in said else "refresh" if "no-cache" in said else ""
