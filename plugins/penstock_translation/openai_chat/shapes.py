"""The records of an answer as they are on the wire: one chunk of a stream, or a whole answer, which looks the same.

Only what is read is declared; everything else is skipped by the decoder at no cost. `Any` stands where servers
differ in the type, so that an oddity in one member does not spoil the answer.
Nothing here refers to itself, so the garbage collector need not look: `gc=False`.
"""

from typing import Any

import msgspec


class Function(msgspec.Struct, gc=False):
    """A part of a tool call; `arguments` is a string on most servers and an object on some."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"null")


class ToolCall(msgspec.Struct, gc=False):
    """A tool call or a fragment of one; index and id may be missing."""

    index: int | float | str | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: msgspec.Raw = msgspec.Raw(b"null")


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to the message, or the whole message."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    reasoning_text: Any = None
    thinking: Any = None
    refusal: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Any = None
    annotations: Any = None


class Choice(msgspec.Struct, gc=False):
    """One of the alternatives; nobody asks for more than one."""

    index: Any = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None
    usage: Any = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    """One record of the upstream."""

    id: Any = None
    model: Any = None
    object: Any = None
    choices: list[Choice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None
    x_groq: Any = None
    base_resp: Any = None
    web_search: Any = None


CHUNK = msgspec.json.Decoder(Chunk)
"""Reads a record."""
