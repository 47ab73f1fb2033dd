"""The records of an answer as they are on the wire: one event of a stream, or a whole answer.

Only what is read is declared; everything else is skipped by the decoder at no cost. `Any` stands where servers
differ in the type, so that an oddity in one member does not spoil the answer.
Nothing here refers to itself, so the garbage collector need not look: `gc=False`.
"""

from typing import Any

import msgspec


class Response(msgspec.Struct, gc=False):
    """The answer as a whole: complete at the end of a stream, and a sketch at its beginning."""

    id: Any = None
    model: Any = None
    object: Any = None
    status: Any = None
    output: msgspec.Raw = msgspec.Raw(b"null")
    usage: Any = None
    service_tier: Any = None
    error: Any = None
    incomplete_details: Any = None


class Record(msgspec.Struct, gc=False):
    """One event of a stream; which members it has follows from its type."""

    type: Any = ""
    output_index: Any = None
    item_id: Any = None
    content_index: Any = None
    summary_index: Any = None
    annotation_index: Any = None
    item: Any = None
    part: Any = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    annotation: Any = None
    response: Response | None = None
    error: Any = None


record_decoder = msgspec.json.Decoder(Record)
"""Reads an event of a stream."""

response_decoder = msgspec.json.Decoder(Response)
"""Reads a whole answer."""

output_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
"""Reads the items of an answer."""
