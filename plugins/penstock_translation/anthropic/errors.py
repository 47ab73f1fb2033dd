"""Errors both ways: the gateway's kinds as answers and events, an upstream's answers as kinds.

The choices follow what agents do with an answer, as measured: 401 and 403 make them ask for a new login, three 529
in a row end a turn, a `retry-after` above 60 ends it at once, and a 400 is tried again in up to six variants.
"""

import html
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from penstock import (
    Answer,
    GatewayError,
    InvalidRequest,
    NotFound,
    OverBudget,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RawError,
    TimedOut,
    TooLarge,
    UpstreamFailed,
    sse,
)

from ..complaint import read_complaint
from ..limits import too_long
from ..masking import masked
from .mistakes import BROKEN

NAME = "anthropic"

_LONGEST_WAIT = 60  # seconds
_LONGEST_TEXT = 300  # characters
_PAGE = 16 * 1024  # bytes of a body that is not JSON
_DEPTH = 5  # of objects in objects that are looked into

_TYPES: Mapping[str, str] = {
    "invalid_request": "invalid_request_error",
    "prompt_too_long": "invalid_request_error",
    "unauthenticated": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limited": "rate_limit_error",
    "over_budget": "billing_error",
    "overloaded": "overloaded_error",
    "timed_out": "timeout_error",
}
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_KEPT = ("retry-after", "x-should-retry", "request-id")
_KEPT_PREFIX = "anthropic-ratelimit-"

_TOO_LONG = re.compile(r"prompt is too long: (\d{1,15}) tokens > (\d{1,15}) maximum")
_LENGTH_STATUSES = (400, 413, 422, 500)  # the last is that of errors in a stream whose type nobody knows
# What Anthropic and the clouds with Claude say of lengths: clients know these words, so they stay.
_OWN_WORDS = re.compile(
    r"prompt is too long: \d+ tokens > \d+ maximum"
    r"|^input is too long(?: for requested model)?\.?$"
    r"|^capability_rejected: prompt_too_long"
    r"|^input length and `max_tokens` exceed context limit: \d+ \+ \d+ > \d+",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
_INVISIBLE = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)


# ---------------------------------------------------------------- to a client


def answer_of(error: GatewayError, request_id: str) -> Answer:
    """An error as an HTTP answer; an upstream of this format has its own relayed."""
    raw = error.raw
    headers = {"content-type": "application/json", "request-id": request_id}
    if raw is not None and raw.protocol == NAME:
        return Answer(raw.status, headers | dict(raw.headers), raw.body)
    if error.retry_after is not None:
        headers["retry-after"] = str(_whole_seconds(error))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    return Answer(error.status, headers, _body_of(error, request_id))


def event_of(error: GatewayError, request_id: str) -> bytes:
    """An error as the last event of a stream."""
    if error.raw is not None and error.raw.protocol == NAME:
        return sse.write("error", msgspec.json.format(error.raw.body, indent=-1))
    return sse.write("error", _body_of(error, request_id))


def _body_of(error: GatewayError, request_id: str) -> bytes:
    inner = {"type": _TYPES.get(error.kind, "api_error"), "message": error.message}
    return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})


def _whole_seconds(error: GatewayError) -> int:
    wait = error.retry_after or 0.0
    seconds = max(1, math.ceil(wait)) if math.isfinite(wait) else _LONGEST_WAIT
    told_to_stop = isinstance(error, OverBudget) or error.should_retry is False
    return seconds if told_to_stop else min(seconds, _LONGEST_WAIT)


# ---------------------------------------------------------------- from an upstream


class _Inner(msgspec.Struct):
    message: str
    type: str = ""


class _Envelope(msgspec.Struct):
    type: Literal["error"]
    error: _Inner


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An error answer as a kind. `raw` is kept when the body has this format and is the client's business."""
    said = _envelope(body)
    text = masked(said.message if said else f"the upstream answered {status}: {_text_of(body)}".removesuffix(": "))
    if status in (401, 403):
        return UpstreamFailed(f"the upstream refused the gateway's credential: {text}", should_retry=False)
    more: dict[str, Any] = {"retry_after": _seconds(headers), "should_retry": _should_retry(headers)}
    if said and status != 405 and status >= 400:
        kept = {name: value for name, value in headers.items() if name in _KEPT or name.startswith(_KEPT_PREFIX)}
        more["raw"], more["status"] = RawError(NAME, status, kept, body), status
    if (foreign := _foreign_length(status, text, body)) is not None:
        return foreign
    if status in (400, 413, 422) and (numbers := _TOO_LONG.search(text)):
        return PromptTooLong(int(numbers[1]), int(numbers[2]), **more)
    return _kind_of(status, text, more)


def read_event(data: bytes) -> GatewayError:
    """An error that came as an event or with a status of 200, as a kind, by the type it names."""
    said = _envelope(data)
    if said is None:
        return UpstreamFailed(f"the upstream failed: {_text_of(data)}".removesuffix(": "))
    return read_error(_STATUSES.get(said.type, 500), {}, data)


def _foreign_length(status: int, text: str, body: bytes) -> GatewayError | None:
    """A complaint about length in words that not every client knows, in those that all know."""
    if status not in _LENGTH_STATUSES or _OWN_WORDS.search(text):
        return None
    complaint = read_complaint(body)
    error = too_long(complaint._replace(text=masked(complaint.text)))
    if error is not None:
        error.detail = text
    return error


def _kind_of(status: int, text: str, more: dict[str, Any]) -> GatewayError:
    own: dict[str, Any] = {**more, "status": status}
    match status:
        case _ if status == 402 or _NO_CREDIT.search(text):
            return UpstreamFailed(text, **own)
        case 404:
            return NotFound(text, retryable=True, **more)
        case 408 | 504 | 524:
            return TimedOut(text, **more)
        case 413:
            return TooLarge(text, **more)
        case 429:
            return RateLimited(text, **more)
        case 503:
            return Overloaded(text, **more)
        case 529:
            return Overloaded(text, **own)
        case _ if 400 <= status < 500 and status != 405:
            return InvalidRequest(text, **own)
        case _:
            return UpstreamFailed(text, **more)


def _envelope(body: bytes) -> _Inner | None:
    try:
        return _ENVELOPE.decode(body).error
    except BROKEN:
        return None


def _text_of(body: bytes) -> str:
    """What a foreign error body says, in one short line."""
    try:
        text = _message_in(msgspec.json.decode(body), _DEPTH)
    except BROKEN:
        text = html.unescape(_INVISIBLE.sub(" ", body[:_PAGE].decode(errors="replace")))
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _message_in(value: Any, depth: int) -> str:
    if not depth:
        return ""
    if isinstance(value, list):
        return _message_in(value[0], depth - 1) if value else ""
    if not isinstance(value, dict):
        return str(value)  # pyright: ignore[reportUnknownArgumentType]
    members = cast("dict[str, Any]", value)
    found = (members.get(name) for name in ("error", "message", "detail"))
    return _message_in(next((said for said in found if said and not isinstance(said, int | float)), ""), depth - 1)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """`retry-after` as seconds; a date is ignored, as agents do."""
    value = headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"\d{1,9}(\.\d+)?", value) else None


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
