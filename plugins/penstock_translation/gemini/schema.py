"""Any JSON Schema reduced to the subset of OpenAPI that Google's `Schema` is; one unknown member refuses a request.

What the subset has no words for is said in the description or left out. Rules: ai.google.dev/api/caching#Schema, and
the refusals that other gateways have met; Vertex AI wants a type everywhere and nothing beside `anyOf`.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from ..untyped import items, members, words
from .kinds import kinds_of, nothing_but_null, plain_schema
from .references import Node, Place, References

Schema = dict[str, Any]

_ANYTHING: tuple[Schema, ...] = (
    *({"type": kind} for kind in ("STRING", "NUMBER", "BOOLEAN", "OBJECT")),
    {"type": "ARRAY", "items": {"type": "STRING"}},
)
_SHAPES = frozenset({"type", "$ref", "properties", "enum", "const", "items", "anyOf", "oneOf", "allOf"})


def openapi_parameters(schema: msgspec.Raw) -> Schema:
    """A tool's schema as an object with properties, {} for a tool without parameters."""
    root = msgspec.json.decode(schema)
    references = References(root, len(bytes(schema)))
    found = references.flat(root, Place())
    whole = _Reducer(references).object(*found) if found else {}
    return whole if "properties" in whole else {}


def openapi_schema(schema: msgspec.Raw) -> Schema:
    """The schema of a structured answer."""
    root = msgspec.json.decode(schema)
    return _Reducer(References(root, len(bytes(schema)))).reduce(root, Place())


class _Reducer:
    """Reduces the nodes of one schema."""

    def __init__(self, references: References) -> None:
        self._references = references

    def reduce(self, value: Any, place: Place) -> Schema:
        """A node in the subset; a plain object stands for what is too deep or contains itself."""
        found = self._references.flat(value, place)
        if found is None:
            return {"type": "OBJECT"}
        node, place = found
        kinds, nullable = kinds_of(node)
        variants = _variants(node)
        shapes = [variant for variant in variants if not nothing_but_null(variant)]
        if shapes and not members(node.get("properties")):
            whole = _united([self.reduce(variant, place.below()) for variant in shapes])
        elif kinds:
            whole = _united([self._of_kind(kind, node, place) for kind in kinds])
        else:
            whole = {"anyOf": [dict(schema) for schema in _ANYTHING]}
        return _described(whole, node, nullable or len(shapes) < len(variants))

    def object(self, node: Node, place: Place) -> Schema:
        """An object with the properties of the node, and with those of its variants, which are merged."""
        found: dict[str, list[tuple[Any, Place]]] = {}
        self._collect(node, place, found)
        schema = plain_schema("object", node)
        if found:
            schema["properties"] = {name: self._property(given) for name, given in found.items()}
        required = (name for name in items(node.get("required")) if isinstance(name, str) and name in found)
        return schema | ({"required": list(dict.fromkeys(required))} if found and items(node.get("required")) else {})

    def _collect(self, node: Node, place: Place, into: dict[str, list[tuple[Any, Place]]]) -> None:
        for name, schema in members(node.get("properties")).items():
            if schema is not False:
                into.setdefault(name, []).append((schema, place.below()))
        for variant in _variants(node):
            if found := self._references.flat(variant, place.below()):
                self._collect(*found, into)

    def _property(self, given: Iterable[tuple[Any, Place]]) -> Schema:
        return _united([self.reduce(schema, place) for schema, place in given])

    def _of_kind(self, kind: str, node: Node, place: Place) -> Schema:
        if kind == "object":
            return self.object(node, place)
        schema = plain_schema(kind, node)
        return schema | ({"items": self._items(node, place)} if kind == "array" else {})

    def _items(self, node: Node, place: Place) -> Schema:
        """One schema for all items; those of a tuple, which the subset does not know, are its variants."""
        rest = node.get("items")
        given = [*items(node.get("prefixItems")), *(items(rest) or [rest])]
        known = [schema for schema in given if members(schema)]
        return _united([self.reduce(schema, place.below()) for schema in known or [{}]])


def _variants(node: Node) -> list[Any]:
    """The alternatives that say more than a further condition."""
    return [
        variant
        for variant in items(node.get("anyOf")) or items(node.get("oneOf"))
        if not _SHAPES.isdisjoint(members(variant))
    ]


def _united(made: list[Schema]) -> Schema:
    """One schema for all of these; several lists of words are one list."""
    if len(made) == 1:
        return made[0]
    flat = [inner for schema in made for inner in schema.get("anyOf", (schema,))]
    if all(schema.keys() == {"type", "enum"} for schema in flat):
        return {"type": "STRING", "enum": list(dict.fromkeys(word for schema in flat for word in schema["enum"]))}
    distinct = {msgspec.json.encode(schema, order="sorted"): schema for schema in flat}
    return {"anyOf": list(distinct.values())} if len(distinct) > 1 else flat[0]


def _described(schema: Schema, node: Node, nullable: bool) -> Schema:
    """The schema with what the node says of itself. Beside `anyOf` nothing may stand, so the variants say it."""
    variants: list[Schema] = schema.get("anyOf", [schema])
    first = variants[0]
    texts = dict.fromkeys(filter(None, (words(node.get("description")), words(first.get("description")))))
    if texts:
        first["description"] = "\n".join(texts)
    if first is schema:
        for name in ("title", "default"):
            if (value := node.get(name)) is not None and (name == "default" or isinstance(value, str)):
                schema[name] = value
    if nullable:
        for variant in variants:
            variant["nullable"] = True
    return schema
