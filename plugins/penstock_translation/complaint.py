"""What an upstream's error says, whichever shape it has."""

import re
from typing import Any, NamedTuple

import msgspec

from .untyped import items, members

_MOST = 1000  # characters of a message
_PAGE = 16 * 1024  # bytes of a body that is not JSON
_DEPTH = 5  # of objects in objects that are looked into
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)s")
_TITLE = re.compile(rb"<title[^<>]*>([^<]*)", re.IGNORECASE)


class Complaint(NamedTuple):
    """An error's text, its codes and types in lower case, and the numbers that some servers put beside them.

    `quotas` are the names of spent quotas, in lower case; `wait` is in seconds, None when nothing is said of it.
    """

    text: str = ""
    names: tuple[str, ...] = ()
    tokens: int = 0
    maximum: int = 0
    quotas: tuple[str, ...] = ()
    wait: float | None = None

    @property
    def status(self) -> int | None:
        """The HTTP status among the codes: what an error inside an answer with status 200 would have had."""
        return next((int(name) for name in self.names if re.fullmatch(r"[45]\d\d", name)), None)


def read_complaint(body: bytes) -> Complaint:
    """The complaint in an error's body. Never raises."""
    return _read(body, _DEPTH)


def _read(body: bytes, depth: int) -> Complaint:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Complaint(_words(body[:_PAGE]))
    return _complaint(value, depth)


def _complaint(value: Any, depth: int) -> Complaint:
    if listed := items(value):
        value = listed[0]
    if own := members(value):
        return _of_object(own, depth - 1) if depth else Complaint()
    return Complaint(_plain(value)[:_MOST])


def _of_object(value: dict[str, Any], depth: int) -> Complaint:
    error = value.get("error")
    said = "" if isinstance(error, int | float) else error  # a mere flag, or a code
    inner = members(error) or {**value, "message": said or _message(value)}
    text = _text(inner.get("message") or _message(inner), depth)
    within = _within(inner, depth)
    own = (_plain(inner.get(name))[:_MOST].lower() for name in ("code", "type", "status"))
    details = [members(detail) for detail in items(inner.get("details"))]
    names = (*filter(None, own), *_named(details, "reason"), *within.names)
    if within.text and within.text not in text:
        text = f"{text}: {within.text}" if text else within.text
    return Complaint(
        text[:_MOST],
        names,
        _number(inner.get("n_prompt_tokens")) or within.tokens,  # llama.cpp
        _number(inner.get("n_ctx")) or within.maximum,
        _named([violation for detail in details for violation in _violations(detail)], "quotaId") or within.quotas,
        next((wait for detail in details if (wait := _duration(detail.get("retryDelay"))) is not None), within.wait),
    )


def _named(details: list[dict[str, Any]], member: str) -> tuple[str, ...]:
    """What this member says in the details of Google's errors (google.rpc.ErrorInfo, QuotaFailure)."""
    return tuple(name for detail in details if (name := _plain(detail.get(member))[:_MOST].lower()))


def _violations(detail: dict[str, Any]) -> list[dict[str, Any]]:
    return [members(violation) for violation in items(detail.get("violations"))]


def _duration(value: Any) -> float | None:
    """Seconds of a duration in JSON (google.protobuf.Duration), such as "34.5s"."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) if found else None


def _message(value: dict[str, Any]) -> Any:
    return next((value[name] for name in ("message", "detail", "error_msg", "msg") if value.get(name)), "")


def _text(value: Any, depth: int) -> str:
    """A message as text; FastAPI's are lists of objects."""
    if not depth:
        return ""
    if listed := items(value):
        return "; ".join(filter(None, (_text(item, depth - 1) for item in listed)))
    if own := members(value):
        return _text(_message(own), depth - 1)
    return _plain(value)


def _plain(value: Any) -> str:
    """A text or a number, as text."""
    return str(value) if value and isinstance(value, str | int | float) else ""


def _within(inner: dict[str, Any], depth: int) -> Complaint:
    """What the upstream's own upstream said: a router keeps it, often as text, beside a message that says nothing."""
    raw = members(inner.get("metadata")).get("raw")
    return _read(raw.encode(errors="replace"), depth) if isinstance(raw, str) else _complaint(raw, depth)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _words(body: bytes) -> str:
    """The gist of a body that is not JSON: a page's title, or plain text."""
    if body.lstrip().startswith(b"<"):
        title = _TITLE.search(body)
        return " ".join(title[1].decode(errors="replace").split()) if title else ""
    return " ".join(body.decode(errors="replace").split())[:_MOST]
