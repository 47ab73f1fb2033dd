"""The content blocks of a request as neutral ones; what is foreign to the vocabulary is kept in words."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import msgspec

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    InvalidRequest,
    OtherBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

from .mistakes import BROKEN, located

# Members that say something in words.
_WORDS = frozenset(
    {"text", "title", "url", "name", "tool_name", "query", "code", "command"}
    | {"stdout", "stderr", "content", "input", "error_code"}
)


class CacheControl(msgspec.Struct):
    """Where a client wants the prompt to be cached."""

    type: Any = None
    ttl: Any = None


class Markable(msgspec.Struct, kw_only=True):
    """What can carry such a mark."""

    cache_control: CacheControl | None = None

    @property
    def cache(self) -> Literal["", "5m", "1h"]:
        """The mark in neutral words."""
        control = self.cache_control
        if control is None or control.type != "ephemeral":
            return ""
        return "1h" if control.ttl == "1h" else "5m"


class _Typed(msgspec.Struct):
    type: str = ""


class _Text(Markable):
    text: str


class _Source(msgspec.Struct):
    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[msgspec.Raw] | None = None


class _Image(Markable):
    source: _Source


class _Document(Markable):
    source: _Source
    title: str | None = None


class _SearchResult(Markable):
    title: str | None = None
    source: str | None = None
    content: list[_Text] = []


class _Thinking(msgspec.Struct):
    thinking: str = ""
    signature: str | None = None


class _Redacted(msgspec.Struct):
    data: str


class _ToolUse(Markable):
    id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _ToolResult(Markable):
    tool_use_id: str
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None


_TYPED = msgspec.json.Decoder(_Typed)
_TEXT = msgspec.json.Decoder(_Text)
_IMAGE = msgspec.json.Decoder(_Image)
_DOCUMENT = msgspec.json.Decoder(_Document)
_SEARCH_RESULT = msgspec.json.Decoder(_SearchResult)
_THINKING = msgspec.json.Decoder(_Thinking)
_REDACTED = msgspec.json.Decoder(_Redacted)
_TOOL_USE = msgspec.json.Decoder(_ToolUse)
_TOOL_RESULT = msgspec.json.Decoder(_ToolResult)


def read_content(content: str | list[msgspec.Raw] | None, where: str) -> tuple[Block, ...]:
    """A block for each of a `content`; `where` is its place in the document. Raises InvalidRequest."""
    if content is None or isinstance(content, str):
        return (TextBlock(content),) if content else ()
    return tuple([_block(raw, f"{where}[{position}]") for position, raw in enumerate(content)])


def _block(raw: msgspec.Raw, where: str) -> Block:
    try:
        kind = _TYPED.decode(raw).type
        read = _READERS.get(kind)
        return OtherBlock(kind, _words(msgspec.json.decode(raw))) if read is None else read(raw, where)
    except BROKEN as error:
        raise InvalidRequest(located(error, where)) from None


def _text(raw: msgspec.Raw, where: str) -> Block:
    block = _TEXT.decode(raw)
    return TextBlock(block.text, block.cache)


def _image(raw: msgspec.Raw, where: str) -> Block:
    image = _IMAGE.decode(raw)
    source = image.source
    if source.type == "base64":
        return ImageBlock(source.media_type or "", source.data or "", cache=image.cache)
    return ImageBlock(url=source.url, cache=image.cache) if source.url else OtherBlock("image")


def _document(raw: msgspec.Raw, where: str) -> Block:
    document = _DOCUMENT.decode(raw)
    source, title, cache = document.source, document.title or "", document.cache
    match source.type:
        case "base64":
            return DocumentBlock(source.media_type or "", source.data or "", title=title, cache=cache)
        case "text":
            return DocumentBlock(source.media_type or "", text=source.data or "", title=title, cache=cache)
        case "content":
            parts = read_content(source.content, f"{where}.source.content")
            text = "\n".join(part.text for part in parts if isinstance(part, TextBlock))
            return DocumentBlock(text=text, title=title, cache=cache)
        case _ if source.url:
            return DocumentBlock(url=source.url, title=title, cache=cache)
        case _:
            return OtherBlock("document", title)  # a file kept at the provider: nobody else can open it


def _search_result(raw: msgspec.Raw, where: str) -> Block:
    found = _SEARCH_RESULT.decode(raw)
    lines = (found.title, found.source, *(part.text for part in found.content))
    return TextBlock("\n".join(line for line in lines if line), found.cache)


def _thinking(raw: msgspec.Raw, where: str) -> Block:
    block = _THINKING.decode(raw)
    return ThinkingBlock(block.thinking, block.signature or "")


def _redacted(raw: msgspec.Raw, where: str) -> Block:
    return ThinkingBlock(redacted=_REDACTED.decode(raw).data)


def _tool_use(raw: msgspec.Raw, where: str) -> Block:
    call = _TOOL_USE.decode(raw)
    if not bytes(call.input).startswith(b"{"):
        raise InvalidRequest(f"{where}.input: expected object")
    return ToolUseBlock(call.id, call.name, call.input, call.cache)


def _tool_result(raw: msgspec.Raw, where: str) -> Block:
    result = _TOOL_RESULT.decode(raw)
    content = read_content(result.content, f"{where}.content")
    return ToolResultBlock(result.tool_use_id, content, bool(result.is_error), result.cache)


def _words(value: Any) -> str:
    """What foreign JSON says in words, line by line: its texts, titles, addresses, queries and outputs."""
    if isinstance(value, str):
        return value
    parts: list[Any] = []
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        parts = [member for name, member in members.items() if name in _WORDS]
    elif isinstance(value, list):
        parts = value  # pyright: ignore[reportUnknownVariableType]
    return "\n".join(line for part in parts if (line := _words(part)))


_READERS: Mapping[str, Callable[[msgspec.Raw, str], Block]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}
