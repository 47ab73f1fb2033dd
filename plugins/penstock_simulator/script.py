"""Scripted answers: a JSON file of entries, each with what it answers to and what it answers."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from penstock import (
    GatewayError,
    InvalidRequest,
    NotFound,
    OverBudget,
    Overloaded,
    PromptTooLong,
    RateLimited,
    StopReason,
    TimedOut,
    UpstreamFailed,
    Usage,
)

from .reply import MARK, Part, Reply

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Tokens = Annotated[int, msgspec.Meta(ge=0)]

_KINDS = MappingProxyType(
    {
        kind.kind: kind
        for kind in (InvalidRequest, NotFound, OverBudget, Overloaded, RateLimited, TimedOut, UpstreamFailed)
    }
)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refuses what it does not know."""


class TextPart(_Strict, frozen=True, tag_field="type", tag="text"):
    """A text block."""

    text: str


class ThinkingPart(_Strict, frozen=True, tag_field="type", tag="thinking"):
    """A thinking block."""

    thinking: str
    signature: str = "simulated"


class ToolUsePart(_Strict, frozen=True, tag_field="type", tag="tool_use"):
    """A tool call; without an `id` it gets a fresh one."""

    name: str
    input: dict[str, Any] = {}
    id: str = ""


class ScriptUsage(_Strict, frozen=True):
    """Token counts by their names in the Messages API."""

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cache_read_input_tokens: Tokens = 0
    cache_creation_input_tokens: Tokens = 0

    def neutral(self) -> Usage:
        """The same in the gateway's words."""
        return Usage(
            input=self.input_tokens,
            output=self.output_tokens,
            cache_read=self.cache_read_input_tokens,
            cache_write=self.cache_creation_input_tokens,
            estimated=True,
        )


class ScriptError(_Strict, frozen=True):
    """An error by its kind. `prompt_too_long` words itself from `tokens` and `maximum`."""

    kind: Literal[
        "invalid_request",
        "not_found",
        "over_budget",
        "overloaded",
        "prompt_too_long",
        "rate_limited",
        "timed_out",
        "upstream_failed",
    ]
    message: str = "an error from the script"
    retry_after: Seconds | None = None
    tokens: Tokens = 200_001
    maximum: Tokens = 200_000

    def made(self) -> GatewayError:
        """A new error of that kind."""
        if self.kind == "prompt_too_long":
            return PromptTooLong(self.tokens, self.maximum)
        return _KINDS[self.kind](MARK + self.message, retry_after=self.retry_after)


class Entry(_Strict, frozen=True, kw_only=True):
    """One scripted answer.

    It answers when `match`, a regular expression, is found in the user's last words and `model`, a shell pattern, fits
    the model's name; `times` bounds how often. With an `error` and an `answer` the answer breaks off in its last block.
    """

    match: str = ""
    model: str = "*"
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    answer: tuple[TextPart | ThinkingPart | ToolUsePart, ...] = ()
    stop_reason: StopReason | None = None
    usage: ScriptUsage | None = None
    delay: Seconds = 0.0
    error: ScriptError | None = None

    def __post_init__(self) -> None:
        if not self.answer and self.error is None:
            raise ValueError("an entry needs an `answer` or an `error`")
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"`match` is not a regular expression: {error}") from None

    def fits(self, model: str, user_text: str) -> bool:
        """Whether this entry is for such a request."""
        return fnmatchcase(model, self.model) and re.search(self.match, user_text) is not None

    def reply(self, id: str, mark: str) -> Reply:
        """The answer. `id` makes ids of tool calls unique; `mark` leads the first text."""
        calls = any(isinstance(part, ToolUsePart) for part in self.answer)
        first = next((part for part in self.answer if isinstance(part, TextPart)), None)
        return Reply(
            parts=tuple(
                _part(part, f"toolu_{id}_{number}", mark if part is first else "")
                for number, part in enumerate(self.answer, 1)
            ),
            stop=self.stop_reason or ("tool_use" if calls else "end_turn"),
            delay=self.delay,
            usage=None if self.usage is None else self.usage.neutral(),
            failure=None if self.error is None else self.error.made(),
        )


class Script:
    """The entries of a file, and how often each has answered."""

    def __init__(self, entries: list[Entry]) -> None:
        self._left: list[tuple[Entry, float]] = [(entry, entry.times or float("inf")) for entry in entries]

    def take(self, model: str, user_text: str) -> Entry | None:
        """The first entry that fits and may still answer; counts as an answer of it."""
        for place, (entry, left) in enumerate(self._left):
            if left and entry.fits(model, user_text):
                self._left[place] = (entry, left - 1)
                return entry
        return None


def read_script(path: Path) -> Script:
    """The script in a file. Raises ValueError, which names the file, the entry (from 1) and what is wrong."""
    try:
        entries = msgspec.convert(msgspec.json.decode(path.read_bytes()), list[Any])
    except OSError as error:
        raise ValueError(f"script {path}: cannot be read: {error.strerror}") from None
    except msgspec.ValidationError:
        raise ValueError(f"script {path}: expected a list of entries") from None
    except ValueError as error:
        raise ValueError(f"script {path}: not JSON: {error}") from None
    return Script([_entry(path, number, entry) for number, entry in enumerate(entries, 1)])


def _entry(path: Path, number: int, data: object) -> Entry:
    try:
        return msgspec.convert(data, Entry)
    except msgspec.ValidationError as error:
        raise ValueError(f"script {path}: entry {number}: {str(error).replace('`$.', '`')}") from None


def _part(part: TextPart | ThinkingPart | ToolUsePart, id: str, mark: str) -> Part:
    match part:
        case TextPart(text=text):
            return Part("text", mark + text)
        case ThinkingPart(thinking=thinking, signature=signature):
            return Part("thinking", thinking, signature=signature)
        case ToolUsePart(name=name, input=given):
            return Part("tool_use", msgspec.json.encode(given).decode(), name=name, id=part.id or id)
