"""What kinds of values a node of JSON Schema means, and what OpenAPI can say of each kind."""

import re
from typing import Any

from ..untyped import items, words
from .references import Node

_KINDS = ("string", "number", "integer", "boolean", "array", "object")
_SIGNS = {  # by what a kind is known where the schema does not name it
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
}
_FORMATS = {"string": ("date-time",), "number": ("float", "double"), "integer": ("int32", "int64")}
_COUNTS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_UNKNOWN_TO_RE2 = re.compile(r"\(\?(?![:i])|\\[1-9]")
_LARGEST = 2**63 - 1
_LONGEST_LIST = 500  # characters of values in a description


def kinds_of(node: Node) -> tuple[list[str], bool]:
    """The kinds, none for anything at all, and whether null is one of the values."""
    stated = node.get("type")
    names = [words(name).lower() for name in items(stated) or [stated]]
    values = _values(node)
    nullable = "null" in names or node.get("nullable") is True or None in values
    kinds = [kind for kind in _KINDS if kind in names]
    if not kinds and values:
        seen = set(map(_kind_of, values))
        kinds = [kind for kind in _KINDS if kind in seen]
    if not kinds:
        kinds = [kind for kind, signs in _SIGNS.items() if not signs.isdisjoint(node)][:1]
    return kinds, nullable


def nothing_but_null(variant: Any) -> bool:
    """Whether null is all that a variant allows."""
    return variant.get("type") == "null" or (not variant.get("type") and _values(variant) == [None])


def plain_schema(kind: str, node: Node) -> dict[str, Any]:
    """What there is to say of a value of this kind, apart from its properties or items."""
    schema: dict[str, Any] = {"type": kind.upper()}
    if (form := node.get("format")) in _FORMATS.get(kind, ()):
        schema["format"] = form
    for name in _COUNTS.get(kind, ()):
        if (count := _number(node.get(name))) is not None and count >= 0 and count == int(count):
            schema[name] = int(count)
    if kind in ("number", "integer"):
        schema |= _bounds(node, step=int(kind == "integer"))
    pattern = words(node.get("pattern"))
    if kind == "string" and pattern and not _UNKNOWN_TO_RE2.search(pattern):
        schema["pattern"] = pattern
    return schema | _choices(kind, [value for value in _values(node) if _fits(value, kind)])


def _values(node: Node) -> list[Any]:
    return [node["const"]] if "const" in node else items(node.get("enum"))


def _choices(kind: str, values: list[Any]) -> dict[str, Any]:
    """The values a string may have; those of other kinds can only be described."""
    if kind == "string":
        named = list(dict.fromkeys(value for value in values if value))
        return {"enum": named} if named else {}
    listed = ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    return {"description": f"One of: {listed[:_LONGEST_LIST]}"} if listed else {}


def _bounds(node: Node, step: int) -> dict[str, Any]:
    """The least and the greatest value; an integer beyond an excluded one is the next."""
    low = [_number(node.get("minimum")), _next(node.get("exclusiveMinimum"), step)]
    high = [_number(node.get("maximum")), _next(node.get("exclusiveMaximum"), -step)]
    least, greatest = [bound for bound in low if bound is not None], [bound for bound in high if bound is not None]
    return ({"minimum": max(least)} if least else {}) | ({"maximum": min(greatest)} if greatest else {})


def _next(value: Any, step: int) -> float | None:
    number = _number(value)
    return None if number is None else number + step


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _LARGEST else None


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = ((str, "string"), (int, "integer"), (float, "number"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "")


def _fits(value: Any, kind: str) -> bool:
    return _kind_of(value) == kind or (kind == "number" and _kind_of(value) == "integer")
