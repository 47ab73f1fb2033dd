"""Schemas of tools and of structured answers, as upstreams take them."""

from typing import Any

import msgspec

from penstock import Tool

from .untyped import items, members

Members = dict[str, msgspec.Raw]


class _Branch(msgspec.Struct):
    """One of the schemas that a schema is made of; with `$ref` it stands elsewhere."""

    properties: Members = {}
    required: list[str] = []
    ref: str = msgspec.field(default="", name="$ref")


_SCHEMA = msgspec.json.Decoder(Members)
_BRANCH = msgspec.json.Decoder(_Branch)
_BRANCHES = msgspec.json.Decoder(list[_Branch])
_OBJECT = msgspec.Raw(b'"object"')
_EMPTY = msgspec.Raw(b"{}")
_REFUSED = ("$schema", "anyOf", "oneOf", "allOf", "$ref", "enum", "not")  # at the top, by one upstream or the other


def parameters(schema: msgspec.Raw) -> Members:
    """A tool's schema as every upstream takes it: an object with properties.

    Alternatives at the top become one object that has the properties of all and needs what all of them need.
    """
    try:
        own = _SCHEMA.decode(schema)
    except msgspec.DecodeError:
        own = {}
    if not own.keys().isdisjoint(_REFUSED):
        own = _combined(own)
    own["type"] = _OBJECT
    own.setdefault("properties", _EMPTY)
    return own


def _combined(own: Members) -> Members:
    """A schema without what is refused at the top; what cannot be read of it is left out."""
    whole = _branch(own)
    branches = [whole, *_branches(own, "allOf"), *([_resolved(whole, own)] if whole.ref else [])]
    required = {name for branch in branches for name in branch.required}
    for keyword in ("anyOf", "oneOf"):
        if alternatives := _branches(own, keyword):
            first, *others = (frozenset(branch.required) for branch in alternatives)
            required |= first.intersection(*others)
            branches += alternatives
    kept = {name: member for name, member in own.items() if name not in _REFUSED}
    if len(branches) > 1:
        kept["properties"] = _raw(_united(branches))
        kept.pop("required", None)
    if len(branches) > 1 and required:
        kept["required"] = _raw(sorted(required))
    return kept


def _united(branches: list[_Branch]) -> Members:
    """The properties of all; one that is not the same everywhere may be any of what it is."""
    found: dict[str, list[msgspec.Raw]] = {}
    for branch in branches:
        for name, schema in branch.properties.items():
            if schema not in found.setdefault(name, []):
                found[name].append(schema)
    return {name: schemas[0] if len(schemas) == 1 else _raw({"anyOf": schemas}) for name, schemas in found.items()}


def _branches(own: Members, keyword: str) -> list[_Branch]:
    try:
        branches = _BRANCHES.decode(own.get(keyword, b"[]"))
    except msgspec.DecodeError:
        return []
    return [_resolved(branch, own) for branch in branches]


def _resolved(branch: _Branch, own: Members) -> _Branch:
    """The schema that a branch refers to, if it is one of the schema's own definitions."""
    place, _, name = branch.ref.removeprefix("#/").partition("/")
    try:
        return _branch(_SCHEMA.decode(_SCHEMA.decode(own[place])[name])) if branch.ref else branch
    except (KeyError, msgspec.DecodeError):
        return branch


def _branch(schema: Members) -> _Branch:
    try:
        return _BRANCH.decode(_raw(schema))
    except msgspec.DecodeError:
        return _Branch()


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def is_function(tool: Tool) -> bool:
    """Whether the client runs the tool itself; a provider's own tool is one only if it comes with a schema."""
    return tool.type in ("", "custom") or bytes(parameters(tool.schema)["properties"]).strip() != b"{}"


def is_strict(schema: Any) -> bool:
    """Whether every object in a schema is closed and needs all its properties, as OpenAI's strict mode demands."""
    own = members(schema)
    properties = members(own.get("properties"))
    required = {name for name in items(own.get("required")) if isinstance(name, str)}
    is_object = bool(properties) or own.get("type") == "object"
    if is_object and not (own.get("additionalProperties") is False and required.issuperset(properties)):
        return False
    return all(map(is_strict, own.values() or items(schema)))
