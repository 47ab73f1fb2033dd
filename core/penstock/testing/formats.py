"""The formats that the kit speaks, told apart by the path of a request: short forms become answers in them."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from penstock import GatewayError
from penstock.testing import chat, contents, messages, responses
from penstock.testing.answers import kind_of
from penstock.testing.parts import Part, Thought, ToolCall
from penstock.testing.reply import Reply, json_reply

Short = Part | Iterable[Part]
"""What stands for an answer: a text, a thought, a tool call, or several of them in one answer."""

Failing = type[GatewayError] | GatewayError | int
"""What stands for a failure: a kind of error, an error with its message and `retry_after`, or a bare status."""


class Format(NamedTuple):
    """One format: where it is asked (the end of the path), and how it answers, streamed or whole, and fails."""

    path: str
    stream: Callable[..., Reply]
    whole: Callable[..., Reply]
    error: Callable[[int, str, str, Mapping[str, str]], Reply]


def _contents_error(status: int, kind: str, message: str, headers: Mapping[str, str]) -> Reply:
    return contents.error(status, _WORDS.get(status, "INTERNAL"), message, headers=headers)


_TYPES = {
    "unauthenticated": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limited": "rate_limit_error",
    "over_budget": "billing_error",
    "overloaded": "overloaded_error",
    "timed_out": "timeout_error",
}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _typed_error(status: int, kind: str, message: str, headers: Mapping[str, str]) -> Reply:
    return chat.error(status, message, kind, kind, headers)


_FORMATS = (
    Format(messages.PATH, messages.stream, messages.whole, messages.error),
    Format(chat.PATH, chat.stream, chat.whole, _typed_error),
    Format(responses.PATH, responses.stream, responses.whole, _typed_error),
    Format(":generateContent", contents.stream, contents.whole, _contents_error),
    Format(":streamGenerateContent", contents.stream, contents.whole, _contents_error),
)


def answer(short: Short, path: str, body: bytes) -> Reply:
    """An answer to a request, in its format, streamed if it asks for that. A 500 that says so for a foreign path."""
    found = _format(path)
    if found is None:
        return json_reply(
            {"error": {"message": f"nobody knows in which format {path} is answered: script a Reply"}}, 500
        )
    parts = (short,) if isinstance(short, str | Thought | ToolCall) else tuple(short)
    return (found.stream if _streams(path, body) else found.whole)(*parts)


def failure(failing: Failing, path: str) -> Reply:
    """An upstream's refusal, in the format of the request."""
    status, kind, message, headers = _told(failing)
    found = _format(path)
    if found is None:
        return json_reply({"error": {"message": message}}, status, headers)
    return found.error(status, kind, message, headers)


def _format(path: str) -> Format | None:
    return next((found for found in _FORMATS if path.endswith(found.path)), None)


def _streams(path: str, body: bytes) -> bool:
    if path.endswith("GenerateContent"):
        return True
    try:
        asked: Any = json.loads(body)
    except ValueError:
        return False
    return isinstance(asked, dict) and asked.get("stream") is True


def _told(failing: Failing) -> tuple[int, str, str, dict[str, str]]:
    """Status, type in words, message and headers."""
    if isinstance(failing, GatewayError):
        wait = failing.retry_after
        headers = {} if wait is None else {"retry-after": f"{wait:g}"}
        return failing.status, _type(failing.kind, failing.status), failing.message, headers
    if isinstance(failing, int):
        return failing, _type(kind_of(failing), failing), f"the script fails with {failing}", {}
    return failing.default_status, _type(failing.kind, failing.default_status), f"the script fails: {failing.kind}", {}


def _type(kind: str, status: int) -> str:
    return _TYPES.get(kind, "invalid_request_error" if status < 500 else "api_error")
