"""A client's request: a shallow view of its own bytes, and the neutral prompt inside.

The bytes stay as they came: unknown fields, the spelling of numbers, key order and cache markers. `model`, `stream`
and the like come from a shallow decode; writing one of them edits the document in place. The neutral Structs below
are made on first use only, when a plugin looks inside or another protocol has to be rendered.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from penstock.errors import InvalidRequest

_T = TypeVar("_T")

# ---------------------------------------------------------------- the neutral prompt


CacheMark = Literal["", "5m", "1h"]
"""That a provider should cache the prompt up to here, and for how long; "" for no mark."""


class TextBlock(msgspec.Struct, frozen=True):
    """Plain text."""

    text: str
    cache: CacheMark = ""


class ImageBlock(msgspec.Struct, frozen=True):
    """An image: base64 `data` with its media type, or a `url`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    cache: CacheMark = ""


class DocumentBlock(msgspec.Struct, frozen=True):
    """A document: base64 `data` with its media type, a `url`, or plain `text`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    text: str = ""
    title: str = ""
    cache: CacheMark = ""


class ToolUseBlock(msgspec.Struct, frozen=True):
    """A tool call the model made; `input` is a JSON object as bytes."""

    id: str
    name: str
    input: msgspec.Raw
    cache: CacheMark = ""


class ToolResultBlock(msgspec.Struct, frozen=True):
    """What a tool call gave."""

    tool_use_id: str
    content: tuple["Block", ...] = ()
    is_error: bool = False
    cache: CacheMark = ""


class ThinkingBlock(msgspec.Struct, frozen=True):
    """The model's earlier thinking, with the seal of who made it; `redacted` data replaces hidden thinking."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


class OtherBlock(msgspec.Struct, frozen=True):
    """A block outside this vocabulary; `text` is what can be said of it in words, possibly nothing."""

    type: str
    text: str = ""


Block = TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | OtherBlock
"""Any content block of a prompt."""


class Message(msgspec.Struct, frozen=True):
    """One turn. `system` turns may stand in the middle of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: tuple[Block, ...]


class Tool(msgspec.Struct, frozen=True):
    """A tool. `type` is empty for client tools with a schema, else the provider's name of a built-in one.

    A built-in tool that the client runs itself has the schema its provider has published. `options` is the whole of a
    built-in tool's definition, as the client wrote it.
    """

    name: str
    description: str = ""
    schema: msgspec.Raw = msgspec.Raw(b'{"type":"object","properties":{}}')
    type: str = ""
    strict: bool | None = None
    options: msgspec.Raw = msgspec.Raw(b"{}")
    cache: CacheMark = ""


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether a tool may, must or must not be called; `name` with mode `tool`."""

    mode: Literal["auto", "any", "tool", "none"] = "auto"
    name: str = ""
    parallel: bool = True


class ThinkingControl(msgspec.Struct, frozen=True):
    """How much the model should think: a mode, and a budget in tokens or an effort where the client named one."""

    mode: Literal["unset", "off", "on", "adaptive"] = "unset"
    budget: int | None = None
    effort: str = ""


class Prompt(msgspec.Struct, frozen=True):
    """Everything a model needs to know of a request, in no provider's words."""

    system: tuple[TextBlock, ...] = ()
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    thinking: ThinkingControl = ThinkingControl()
    output_schema: msgspec.Raw | None = None
    user: str = ""
    service_tier: str = ""


# ---------------------------------------------------------------- the client's document

WritePrompt = Callable[[Mapping[str, msgspec.Raw], Prompt, Prompt], Mapping[str, bytes | None]]
"""Writes a prompt: the document's top-level fields, the prompt read from them, and the new one that they shall say.

Gives the fields to replace, as JSON; None removes one.
"""


class Request:
    """One request as its client wrote it, with the few verbs that change it."""

    def __init__(
        self,
        body: bytes,
        read_prompt: Callable[[bytes], Prompt],
        *,
        write_prompt: WritePrompt | None = None,
        model: str | None = None,
        session: str = "",
    ) -> None:
        """`body` is the JSON document; `session` names the agent's.

        `read_prompt` and `write_prompt` belong to the client's protocol; without the latter, prompts are only read.
        `model` is given when the document does not name it. Raises InvalidRequest unless the body is a JSON object
        and the model is known.
        """
        self._original = body
        self._read_prompt = read_prompt
        self._write_prompt = write_prompt
        self._prompt: Prompt | None = None
        self._edits: dict[str, bytes | None] = {}
        self.fields = _fields(body)
        self._spans = _spans(body, self.fields)
        self.session = session
        self.client_model = (self._value("model", str) or "") if model is None else model
        if model is None and not self.client_model:
            raise InvalidRequest("model: a non-empty string is required")
        if len(self.client_model) > _LONGEST_MODEL:
            raise InvalidRequest(f"model: longer than {_LONGEST_MODEL} characters")
        self._model = self.client_model
        self.stream = self._value("stream", bool) or False
        self.max_tokens = self._value("max_tokens", int)

    @property
    def model(self) -> str:
        """The model to ask for; writing it changes the document, `client_model` keeps what the client named."""
        return self._model

    @model.setter
    def model(self, name: str) -> None:
        if name != self._model:
            self._model = name
            self._edits["model"] = msgspec.json.encode(name)

    @property
    def prompt(self) -> Prompt:
        """The neutral prompt, decoded on first use. Raises InvalidRequest with the path of what is wrong."""
        if self._prompt is None:
            self._prompt = self._read_prompt(self.body)
        return self._prompt

    @prompt.setter
    def prompt(self, prompt: Prompt) -> None:
        """Have the document say `prompt`. It is edited where the two differ; the same objects keep the client's bytes.

        Raises TypeError if the client's protocol cannot write prompts, or not what is new in this one.
        """
        if self._write_prompt is None:
            raise TypeError("the prompt cannot be changed: the client's protocol only reads prompts")
        old = self.prompt
        for name, value in self._write_prompt(self.current, old, prompt).items():
            if value is None:
                self.drop(name)
            else:
                self._edits[name] = value
        if prompt.max_tokens != old.max_tokens:
            self.max_tokens = prompt.max_tokens
        self._prompt = prompt

    @property
    def current(self) -> Mapping[str, msgspec.Raw]:
        """The top-level fields of the document as they are now; `fields` are those that came."""
        return _merged(self.fields, self._edits)

    @property
    def body(self) -> bytes:
        """The document: the client's bytes, changed only where something was set or dropped."""
        return _edited(self._original, self.fields, self._spans, self._edits) if self._edits else self._original

    def body_with(self, **fields: object) -> bytes:
        """The document with some top-level fields replaced for one attempt; the request itself stays."""
        edits = {name: msgspec.json.encode(value) for name, value in fields.items()}
        return _edited(self._original, self.fields, self._spans, {**self._edits, **edits})

    def set(self, name: str, value: Any) -> None:
        """Write a top-level field of the document. `value` is anything JSON can say."""
        self._edits[name] = msgspec.json.encode(value)
        self._prompt = None

    def drop(self, name: str) -> None:
        """Remove a top-level field from the document."""
        if name in self.fields or name in self._edits:
            self._edits[name] = None
            self._prompt = None

    def _value(self, name: str, kind: type[_T]) -> _T | None:
        raw = self.fields.get(name)
        if raw is None or bytes(raw) == b"null":
            return None
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{name}: {str(error)[:1].lower()}{str(error)[1:]}") from None


# ---------------------------------------------------------------- JSON, edited in place

_KEY = re.compile(rb'[\s,]*+"((?:[^"\\]++|\\.)*+)"\s*+:\s*+')
_LONGEST_MODEL = 256
_MOST_FIELDS = 1000
_TWICE = "the request body names a field twice"
_Spans = dict[str, tuple[int, int]]
_SHALLOW = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not body.isascii():
            body.decode()  # the shallow decode does not look inside
        return _SHALLOW.decode(body)
    except msgspec.ValidationError:
        raise InvalidRequest("the request body must be a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the request body is not JSON: {error}") from None


def _edited(body: bytes, fields: dict[str, msgspec.Raw], spans: _Spans, edits: dict[str, bytes | None]) -> bytes:
    """`body` with top-level members replaced, removed (None) or added; everything else keeps its bytes."""
    if not fields or None in edits.values():
        return msgspec.json.encode(_merged(fields, edits))
    out, position, added = [], 0, {}
    for name, value in edits.items():
        if name not in spans:
            added[name] = value
    for name in sorted(edits.keys() & spans.keys(), key=lambda key: spans[key][0]):
        start, end = spans[name]
        out += [body[position:start], edits[name] or b""]
        position = end
    out.append(body[position:])
    if added:
        members = b"".join(b",%b:%b" % (msgspec.json.encode(name), value or b"null") for name, value in added.items())
        out.append(out.pop().rstrip()[:-1] + members + b"}")
    return b"".join(out)


def _spans(body: bytes, fields: dict[str, msgspec.Raw]) -> _Spans:
    """Where each top-level value stands. Raises InvalidRequest where two readers could see two different requests."""
    if len(fields) > _MOST_FIELDS:
        raise InvalidRequest(f"the request body has more than {_MOST_FIELDS} fields")
    if any(name != "model" and name.casefold() == "model" for name in fields):
        raise InvalidRequest("model: spelled in lower case, and once")
    spans: _Spans = {}
    position = body.index(b"{") + 1
    for name, raw in fields.items():
        key = _KEY.match(body, position)
        value = bytes(raw)
        end = key.end() + len(value) if key else 0
        if key is None or msgspec.json.decode(b'"%b"' % key[1]) != name or body[key.end() : end] != value:
            raise InvalidRequest(_TWICE)
        spans[name] = (key.end(), end)
        position = end
    if body[position:].strip() != b"}":
        raise InvalidRequest(_TWICE)
    return spans


def _merged(fields: dict[str, msgspec.Raw], edits: dict[str, bytes | None]) -> dict[str, msgspec.Raw]:
    merged = dict(fields)
    for name, value in edits.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = msgspec.Raw(value)
    return merged
