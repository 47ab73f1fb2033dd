"""What an upstream's error says, whichever shape it has."""

import re
from typing import Any, NamedTuple

import msgspec

from penstock_translation.untyped import items, members

_MOST = 1000  # characters of a message
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class Complaint(NamedTuple):
    """An error's text, its code and type in lower case, and the numbers that some servers put beside them."""

    text: str = ""
    names: tuple[str, ...] = ()
    tokens: int = 0
    maximum: int = 0

    @property
    def status(self) -> int | None:
        """The HTTP status among the codes: what an error inside an answer with status 200 would have had."""
        return next((int(name) for name in self.names if name.isdecimal() and 400 <= int(name) < 600), None)


def read_complaint(body: bytes) -> Complaint:
    """The complaint in an error's body. Never raises."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Complaint(_words(body))
    return _complaint(value)


def _complaint(value: Any) -> Complaint:
    if listed := items(value):
        value = listed[0]
    if own := members(value):
        return _of_object(own)
    return Complaint(str(value)[:_MOST] if value else "")


def _of_object(value: dict[str, Any]) -> Complaint:
    error = value.get("error")
    inner = members(error) or {**value, "message": error or _message(value)}
    text = _text(inner.get("message") or _message(inner))
    within = _within(inner)
    names = (*(str(inner[name]).lower() for name in ("code", "type", "status") if inner.get(name)), *within.names)
    if within.text and within.text not in text:
        text = f"{text}: {within.text}" if text else within.text
    return Complaint(
        text[:_MOST],
        names,
        _number(inner.get("n_prompt_tokens")) or within.tokens,  # llama.cpp
        _number(inner.get("n_ctx")) or within.maximum,
    )


def _message(value: dict[str, Any]) -> Any:
    return next((value[name] for name in ("message", "detail", "error_msg", "msg") if value.get(name)), "")


def _text(value: Any) -> str:
    """A message as text; FastAPI's are lists of objects."""
    if listed := items(value):
        return "; ".join(filter(None, map(_text, listed)))
    if own := members(value):
        return _text(_message(own))
    return str(value) if value else ""


def _within(inner: dict[str, Any]) -> Complaint:
    """What the upstream's own upstream said: a router keeps it, often as text, beside a message that says nothing."""
    raw = members(inner.get("metadata")).get("raw")
    return read_complaint(raw.encode()) if isinstance(raw, str) else _complaint(raw)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _words(body: bytes) -> str:
    """The gist of a body that is not JSON: a page's title, or plain text."""
    if body.lstrip().startswith(b"<"):
        title = _TITLE.search(body)
        return " ".join(title[1].decode(errors="replace").split()) if title else ""
    return " ".join(body.decode(errors="replace").split())[:_MOST]
