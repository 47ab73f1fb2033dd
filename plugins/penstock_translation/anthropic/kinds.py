"""What an agent wants an answer for, told from signs in its request.

Agents do not say it, or only when they are asked to, so the signs are words of their prompts and shapes of their
documents. A sign that agents have dropped does no harm; one that a person writes by chance must not be taken for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from penstock import Kind, Request

from ..untyped import members
from .mistakes import BROKEN


class Sign(NamedTuple):
    """Words with which a text begins, in the system prompt or in the last turn, and where they are known from."""

    kind: Kind
    place: Literal["system", "user"]
    words: str
    source: str


# "seen" is in requests that proxies have recorded and published; versions are of Claude Code.
SIGNS: tuple[Sign, ...] = (
    Sign("title", "system", "You are a title generator.", "opencode 1.18, session/prompt/title.txt"),
    Sign("title", "system", "Summarize this coding conversation in under 50 characters.", "1.0, seen"),
    Sign("title", "user", "Please write a 5-10 word title", "1.0, seen"),
    Sign("topic", "system", "Analyze if this message indicates a new conversation topic.", "1.0 to 2.0, seen"),
    Sign("warmup", "user", "Warmup", "2.0, anthropics/claude-agent-sdk-python issue 445"),
    Sign(
        "command", "system", "Your task is to process Bash commands that an AI coding agent wants", "1.0 to 2.0, seen"
    ),
    Sign("command", "system", "Extract any file paths that this command reads or modifies.", "1.0 to 2.0, seen"),
    Sign("suggestion", "user", "[SUGGESTION MODE:", "2.1, seen"),
    Sign("compaction", "user", "Your task is to create a detailed summary of", "1.0 to 2.1, seen"),
    Sign("compaction", "user", "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.", "2.1, seen"),
)
_WHOLE = frozenset({"Warmup"})  # that are all of the text
_IN_SESSION = frozenset({"warmup", "suggestion", "compaction"})  # that come with the session's tools
_CLASSES: Mapping[str, Kind] = {"compaction": "compaction", "auxiliary": "auxiliary"}
_CLASS = "x-claude-code-request-class"  # sent if CLAUDE_CODE_GATEWAY_HINT_HEADERS=1
_STOP = "</block>"  # of Claude Code's own judge of actions, 2.1.329


class _Typed(msgspec.Struct):
    type: str = ""


class _Text(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[msgspec.Raw] | None = None


class _Format(msgspec.Struct):
    json_schema: dict[str, Any] | None = msgspec.field(default=None, name="schema")


class _Config(msgspec.Struct):
    format: _Format | None = None


_LIST = msgspec.json.Decoder(list[msgspec.Raw] | None)
_TYPED = msgspec.json.Decoder(_Typed)
_TEXT = msgspec.json.Decoder(_Text)
_TURN = msgspec.json.Decoder(_Turn)
_CONTENT = msgspec.json.Decoder(str | list[msgspec.Raw] | None)
_CONFIG = msgspec.json.Decoder(_Config | None)
_STOPS = msgspec.json.Decoder(list[str] | None)
_NULL = msgspec.Raw(b"null")


def kind_of(request: Request, headers: Mapping[str, str]) -> Kind:
    """The kind of a request for an answer. What cannot be read is `main`: somebody else will refuse it."""
    try:
        tools: list[msgspec.Raw] = _LIST.decode(_field(request, "tools")) or []
        return _shape(request, tools) or _sign(request, tools) or _CLASSES.get(headers.get(_CLASS, ""), "main")
    except BROKEN:
        return "main"


def _shape(request: Request, tools: Sequence[msgspec.Raw]) -> Kind | None:
    """The kind that is told from the form of the document alone (captured requests of Claude Code 2.1.329)."""
    if request.max_tokens is not None and request.max_tokens <= 1:
        return "warmup"
    if len(tools) == 1 and _TYPED.decode(tools[0]).type.startswith("web_search_"):
        return "search"
    if tools:
        return None
    if _STOP in (_STOPS.decode(_field(request, "stop_sequences")) or []):
        return "classifier"
    wanted = _CONFIG.decode(_field(request, "output_config")) or _Config()
    schema = wanted.format.json_schema if wanted.format else None
    return "title" if list(members((schema or {}).get("properties"))) == ["title"] else None


def _sign(request: Request, tools: Sequence[msgspec.Raw]) -> Kind | None:
    system = list(_texts(_CONTENT.decode(_field(request, "system"))))
    turns = _LIST.decode(_field(request, "messages")) or [_NULL]
    last = _TURN.decode(turns[-1]) if turns[-1] != _NULL else _Turn()
    places = {"system": system, "user": list(_texts(last.content)) if last.role == "user" else []}
    signs = [sign for sign in SIGNS if not tools or sign.kind in _IN_SESSION]
    return next((sign.kind for sign in signs if any(_fits(sign, text) for text in places[sign.place])), None)


def _fits(sign: Sign, text: str) -> bool:
    return text == sign.words if sign.words in _WHOLE else text.startswith(sign.words)


def _texts(content: str | Iterable[msgspec.Raw] | None) -> Iterator[str]:
    """The texts of a content, without the results of tools."""
    if isinstance(content, str):
        yield content
        return
    for raw in content or ():
        block = _TEXT.decode(raw)
        if block.type == "text" and block.text:
            yield block.text


def _field(request: Request, name: str) -> msgspec.Raw:
    return request.fields.get(name, _NULL)
