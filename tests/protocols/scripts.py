"""Answers as neutral scripts: what a model says, before any format has a hand in it, and what a client makes of it."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from hypothesis import Phase, settings
from hypothesis import strategies as st

from penstock import StopReason, Usage

T = TypeVar("T")


class Said(NamedTuple):
    """Text for the user."""

    text: str


class Thought(NamedTuple):
    """Thinking, with opaque state that has to come back; a state without text is thinking nobody may read."""

    text: str
    state: str = ""


class Call(NamedTuple):
    """A tool call; `state` as that of thinking."""

    id: str
    name: str
    input: Mapping[str, Any]
    state: str = ""


Part = Said | Thought | Call
View = tuple[Any, ...]


class Script(NamedTuple):
    """One answer."""

    parts: tuple[Part, ...]
    usage: Usage
    reason: StopReason

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def states(self) -> list[str]:
        return [part.state for part in self.parts if not isinstance(part, Said) and part.state]


TOOLS = ("Read", "mcp__files__write", "with.dots and blanks", "日本語", "long_" * 20, "long_" * 20 + "!")
"""Names of a request's tools, of which some break the limits of some formats."""


EXAMPLES = settings().max_examples
"""What the profile of hypothesis allows: 100 examples of each test, or many more in `make fuzz`."""


def budget(share: float) -> settings:
    """A share of them."""
    return settings(max_examples=round(EXAMPLES * share), phases=set(Phase) - {Phase.explain})


# ---------------------------------------------------------------- strategies

_HARD = (
    "\r\n",
    '"',
    "\\",
    "\n\ndata: [DONE]\n\n",
    "é",
    "日本",
    "\U0001f9ff",
    "👩‍👩‍👧",
    "\u2028",
    "\x00",
    "</think>",
    "{}",
    " ",
)
_CHARACTERS = st.characters(codec="utf-8")
_PIECES = st.sampled_from(_HARD) | st.text(_CHARACTERS, max_size=12)


def _is_plain(text: str) -> bool:
    """Neither blank nor, since hypothesis looks for constants in the code, what only a seal begins with."""
    return bool(text.strip()) and not any(mark in text for mark in ("penstock1.", "opaque+", "bare+"))


texts = st.lists(_PIECES, min_size=1, max_size=6).map("".join).filter(_is_plain)
"""Texts that are not blank."""

states = st.binary(min_size=3, max_size=30).map(lambda data: "opaque+/" + b64encode(data).decode())
"""What an upstream wants back unread."""

_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
jsons = st.recursive(
    _SCALARS | st.text(_CHARACTERS, max_size=20) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(_CHARACTERS, max_size=8), inner, max_size=3),
    max_leaves=8,
)
"""Any JSON."""

inputs = st.dictionaries(st.text(_CHARACTERS, max_size=8), jsons, max_size=4)
"""Inputs of tool calls."""

_IDS = st.sampled_from(("call_%s_aB", "functions.Read:%s", "toolu_%s", "chatcmpl-tool-abcdefgh-%s", "%s"))
_counts = st.integers(0, 3) | st.integers(0, 300_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """What an answer has cost, never nothing."""
    reasoning = draw(_counts)
    return Usage(
        input=draw(_counts),
        cache_read=draw(_counts),
        cache_write=draw(_counts),
        output=reasoning + 1 + draw(_counts),
        reasoning=reasoning,
    )


@st.composite
def scripts(draw: st.DrawFn, allowed: Sequence[type], reasons: Sequence[StopReason], id: str = "0") -> Script:
    """An answer of these kinds of parts, in any order; `reasons` are those the format knows beside the usual ones.

    `id` is in the ids of its calls.
    """
    kinds = draw(st.lists(st.sampled_from(allowed), min_size=1, max_size=6))
    ids = draw(_IDS)
    parts = tuple(_part(draw, kind, ids % f"{id}_{number}") for number, kind in enumerate(kinds))
    usual: StopReason = "tool_use" if Call in kinds else "end_turn"
    return Script(parts, draw(usages()), draw(st.just(usual) | st.sampled_from((usual, *reasons))))


def _part(draw: st.DrawFn, kind: type, id: str) -> Part:
    state = draw(st.just("") | states)
    if kind is Said:
        return Said(draw(texts))
    if kind is Thought:
        return Thought("" if state and draw(st.booleans()) else draw(texts), state)
    return Call(id, draw(st.sampled_from(TOOLS)), draw(inputs), state)


# ---------------------------------------------------------------- what a client sees


def expected(parts: Iterable[Part]) -> list[View]:
    """What the parts must look like to a client; neighbours of a kind count as one."""
    views: list[View] = []
    for part in parts:
        if isinstance(part, Call):
            views.append(("call", part.name, dict(part.input)))
        elif part.text:
            _join(views, "text" if isinstance(part, Said) else "thinking", part.text)
    return views


def seen(content: Iterable[Any]) -> list[View]:
    """The same of a message's content; opaque state is looked at elsewhere."""
    views: list[View] = []
    for block in content:
        match block["type"]:
            case "tool_use":
                views.append(("call", block["name"], block["input"]))
            case "redacted_thinking":
                pass
            case kind if block[kind]:
                _join(views, kind, block[kind])
    return views


def counts(usage: Usage) -> dict[str, int]:
    """A usage as a message tells it."""
    return {
        "input_tokens": usage.input,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "output_tokens": usage.output,
        "thinking_tokens": usage.reasoning,
    }


def counts_in(usage: Mapping[str, Any]) -> dict[str, int]:
    """The same of a message's usage."""
    details = cast("dict[str, int]", usage.get("output_tokens_details") or {})
    flat: dict[str, Any] = {**usage, "thinking_tokens": details.get("thinking_tokens", 0)}
    return {name: flat[name] for name in counts(Usage())}


def _join(views: list[View], kind: str, text: str) -> None:
    if views and views[-1][0] == kind:
        views[-1] = (kind, views[-1][1] + text)
    else:
        views.append((kind, text))
