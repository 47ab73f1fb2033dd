"""An upstream's errors as kinds: from an error answer, or from inside an answer that began as a success."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from penstock import (
    GatewayError,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    RawError,
    TimedOut,
    TooLarge,
    UpstreamFailed,
)

from .complaint import Complaint, read_complaint
from .limits import too_long
from .masking import masked

_LONGEST_WAIT = 86_400.0  # seconds
_TIMEOUTS = (408, 499, 504, 522, 524)  # 499 is Google's for a cancelled operation, the last two are Cloudflare's
_OVERLOADS = (498, 503, 529)  # 498 is Groq's for a full flex tier

# An error inside a stream has no status, but its code or type often names one.
_STATUS_OF_NAME = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "too_many_requests": 429,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "invalid_encrypted_content": 400,
    "badrequesterror": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "content_filter": 400,
    "overloaded_error": 503,
    "over_capacity": 503,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "service_unavailable": 503,
    "timeout": 504,
    "timeout_error": 504,
    # google.rpc.Code
    "invalid_argument": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
_SPENT = ("insufficient_quota", "insufficient balance", "exceeded your current quota", "credit balance")
_NOTHING_GRANTED = re.compile(r"limit: 0(?![\d.])")  # Google's, where the account's plan has no quota for the model
_REFUSED_ACCOUNTS = ("api_key_invalid", "api key not valid", "api key expired", "user location is not supported")
_NO_MODEL = re.compile(r"model not exist|not a valid model|model .*does not exist|model_not_found", re.IGNORECASE)
_SECRETS = re.compile(r"\b\w{2,4}-[^\s\"',]{4,}|[\w*-]{20,}")

# What agents can act on, if it is said in the words they know: pattern of the upstream, words for the client.
_REWORDED = (
    (
        re.compile(r"((?:corrupted|invalid) thought.?signature)", re.IGNORECASE),
        "{0}: earlier answers of this conversation were made with another key or project; "
        "start a new conversation, or give the upstream another name, which leaves the signatures out",
    ),
    (
        re.compile(r"max_(?:completion_)?tokens is too large: (\d+).*at most (\d+) completion tokens", re.DOTALL),
        "max_tokens: {0} > {1}, which is the maximum allowed number of output tokens",
    ),
    (
        re.compile(r"(encrypted content .*could not be (?:verified|decrypted).*)", re.IGNORECASE | re.DOTALL),
        "Invalid `signature` in `thinking` block: {0}",
    ),
    (
        re.compile(r"(system message must be at the beginning)", re.IGNORECASE),
        "the model's chat template refuses system messages inside a conversation: "
        "set the quirk `system_in_place: false` for this upstream",
    ),
)


def answer_error(protocol: str, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An error answer in the format `protocol` as a kind. `headers` have lower-case names. Never raises."""
    complaint = read_complaint(body)
    raw = RawError(protocol, status, headers, body)
    retry = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return _error(status, complaint, raw=raw, retry_after=_retry_after(headers, complaint), should_retry=retry)


def inband_error(record: bytes) -> GatewayError:
    """The error in a record of an answer whose status was 200. Never raises."""
    complaint = read_complaint(record)
    named = (_STATUS_OF_NAME[name] for name in complaint.names if name in _STATUS_OF_NAME)
    return _error(complaint.status or next(named, 502), complaint, retry_after=_retry_after({}, complaint))


def _error(status: int, complaint: Complaint, **more: Any) -> GatewayError:
    complaint = complaint._replace(text=masked(complaint.text))
    text = complaint.text or f"the upstream answered with status {status}"
    if status in (401, 403) or _is_refused_account(complaint):
        # The client's own credential was fine; and the text may name the gateway's.
        return UpstreamFailed(
            f"the upstream refused the gateway's key: {_SECRETS.sub('***', text)}", should_retry=False
        )
    if status == 402:
        return UpstreamFailed(f"the upstream's account cannot pay: {_SECRETS.sub('***', text)}", should_retry=False)
    if status == 429:
        if _is_spent(complaint):
            more["should_retry"] = False
        return RateLimited(text, **more)
    if status == 404 or _NO_MODEL.search(" ".join((text, *complaint.names))):
        return NotFound(text, retryable=True, **more)
    length = too_long(complaint)
    if length is not None:
        length.raw = more.get("raw")
        return length
    return _by_status(status, text, more)


def _is_refused_account(complaint: Complaint) -> bool:
    """Whether an invalid request is one for the key or the place of the gateway, as Google has it."""
    said = " ".join((complaint.text, *complaint.names)).lower()
    return any(words in said for words in _REFUSED_ACCOUNTS)


def _is_spent(complaint: Complaint) -> bool:
    """Whether waiting a little does not help. Google uses the same words for a minute's quota and for a day's."""
    if complaint.quotas:
        return any("perday" in quota for quota in complaint.quotas) or bool(_NOTHING_GRANTED.search(complaint.text))
    said = " ".join((complaint.text, *complaint.names)).lower()
    return any(words in said for words in _SPENT)


def _by_status(status: int, text: str, more: dict[str, Any]) -> GatewayError:
    if status in _TIMEOUTS:
        return TimedOut(text, **more)
    if status == 413:
        return TooLarge(text, **more)
    if status in _OVERLOADS:
        return Overloaded(text, **more)
    for pattern, words in _REWORDED:
        if found := pattern.search(text):
            more["detail"] = text
            return InvalidRequest(words.format(*found.groups()), **more)
    if 400 <= status < 500:
        return InvalidRequest(text, **more)
    return UpstreamFailed(text, **more)


def _retry_after(headers: Mapping[str, str], complaint: Complaint) -> float | None:
    """Seconds to wait, a day at most; None for what is no number."""
    seconds = _waiting(headers)
    if seconds is None:
        seconds = complaint.wait
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT)


def _waiting(headers: Mapping[str, str]) -> float | None:
    """What the headers say. A date counts from the answer's own date, so that nobody's clock has to be right."""
    value = headers.get("retry-after", "").strip()
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return float(milliseconds) / 1000
        if not value or value.replace(".", "", 1).isdigit():
            return float(value) if value else None
        waiting = parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    return waiting.total_seconds()
