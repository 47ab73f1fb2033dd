"""A schema in what a vendor takes of JSON Schema; most take all of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..untyped import items, members
from .quirks import ChatQuirks

Schema = dict[str, Any]

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # hold schemas by name
_VERBATIM = ("const", "default", "enum", "example", "examples", "required")  # hold values and no schemas


def adapted(schema: Mapping[str, Any], quirks: ChatQuirks) -> Mapping[str, Any]:
    """The schema without what the vendor refuses."""
    if not quirks.schema_drop and not quirks.schema_types_in_any_of:
        return schema
    decoded: Schema = msgspec.json.decode(msgspec.json.encode(schema))
    return _object(decoded, quirks)


def _object(schema: Schema, quirks: ChatQuirks) -> Schema:
    kept: Schema = {}
    for keyword, value in schema.items():
        if keyword in quirks.schema_drop:
            continue
        if keyword in _NAMED:
            kept[keyword] = {name: _any(member, quirks) for name, member in members(value).items()}
        else:
            kept[keyword] = value if keyword in _VERBATIM else _any(value, quirks)
    return _moonshot(kept) if quirks.schema_types_in_any_of else kept


def _any(value: Any, quirks: ChatQuirks) -> Any:
    if own := members(value):
        return _object(own, quirks)
    listed = items(value)
    return [_any(item, quirks) for item in listed] if listed else value


def _moonshot(schema: Schema) -> Schema:
    """Types in the alternatives and not beside them, and tuples in the newer spelling.

    Probed at the vendor by the authors of github.com/vercel/ai, pull request 18921.
    """
    alternatives, tuples = items(schema.get("anyOf")), items(schema.get("items"))
    if alternatives and "type" in schema:
        typed = {"type": schema.pop("type")}
        schema["anyOf"] = [typed | members(alternative) for alternative in alternatives]
    if tuples:
        del schema["items"]
        schema["prefixItems"] = tuples
    return schema
