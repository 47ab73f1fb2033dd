"""The records of an answer as they are on the wire: a chunk of a stream, or a whole answer, which looks the same.

Only what is read is declared. `Any` stands where an oddity in one member should not spoil the answer.
Nothing here refers to itself, so the garbage collector need not look: `gc=False`.
"""

from typing import Any

import msgspec

NOTHING = msgspec.Raw(b"null")


class FunctionCall(msgspec.Struct, gc=False):
    """A call, always whole; older models give it no id."""

    name: str | None = None
    args: msgspec.Raw = NOTHING
    id: str | None = None


class Part(msgspec.Struct, rename="camel", gc=False):
    """A piece of content; one member says what it is, thoughts and signatures come beside it."""

    text: Any = None
    thought: Any = None
    thought_signature: Any = None
    function_call: FunctionCall | None = None
    inline_data: Any = None
    executable_code: Any = None
    code_execution_result: Any = None
    tool_call: msgspec.Raw = NOTHING
    tool_response: msgspec.Raw = NOTHING


class Content(msgspec.Struct, gc=False):
    """What a chunk adds."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    """One of the alternatives; nobody asks for more than one."""

    index: Any = 0
    content: Content | None = None
    finish_reason: Any = None
    finish_message: Any = None
    grounding_metadata: Any = None


class Chunk(msgspec.Struct, rename="camel", gc=False):
    """One record of the upstream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Any = None
    usage_metadata: msgspec.Raw = NOTHING
    model_version: Any = None
    response_id: Any = None
    error: Any = None


chunk_decoder = msgspec.json.Decoder(Chunk)
usage_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
