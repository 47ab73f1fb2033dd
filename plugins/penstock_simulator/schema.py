"""A smallest value that a JSON Schema accepts, for tool inputs and structured answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

Schema = Mapping[str, Any]

_DEPTH = 30  # a schema that requires itself has no finite value: stop somewhere
_WORK = 10_000  # nor may one that doubles at each level keep the gateway busy
_LENGTH = 1_000
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def example(schema: Any, word: str = "simulated") -> Any:
    """A value with the required properties only; strings say `word` unless the schema wants something else.

    Knows types, required properties, enumerations, bounds, local references and combinations; of alternatives it takes
    the first. It does not know `pattern`, `not` and conditions. Raises ValueError if this is not a JSON Schema.
    """
    try:
        return _Maker(schema, word).make(schema, 0)
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError("not a valid JSON Schema") from None


class _Maker:
    def __init__(self, root: Any, word: str) -> None:
        self._root = root
        self._word = word
        self._work = 0

    def make(self, schema: Any, depth: int) -> Any:
        schema = self._plain(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case _:
                return None

    def _plain(self, schema: Any, depth: int) -> Schema:
        """The schema with its reference and its combinations merged in."""
        self._work += 1
        if not isinstance(schema, Mapping) or depth > _DEPTH or self._work > _WORK:
            return {}
        plain = cast(Schema, schema)
        branches = [self._at(plain["$ref"])] if "$ref" in plain else []
        branches += [plain[key][0] for key in ("anyOf", "oneOf") if plain.get(key)]
        branches += plain.get("allOf", [])
        for branch in branches:
            plain = _merged(plain, self._plain(branch, depth + 1))
        return plain

    def _at(self, reference: str) -> Any:
        """What a local JSON pointer such as `#/$defs/Point` points at, if anything."""
        place = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            place = place.get(step.replace("~1", "/").replace("~0", "~"), {})
        return place

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        return {name: self.make(properties.get(name, {}), depth + 1) for name in schema.get("required", [])}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first, rest = schema.get("prefixItems", []), schema.get("items", {})
        count = min(schema.get("minItems", 0), _LENGTH)
        return [self.make(first[i] if i < len(first) else rest, depth + 1) for i in range(count)]

    def _string(self, schema: Schema) -> str:
        text = _FORMATS.get(schema.get("format", ""), self._word)
        return text.ljust(min(schema.get("minLength", 0), _LENGTH), ".")[: schema.get("maxLength")]


def _type(schema: Schema) -> str:
    kinds = schema.get("type") or ("object" if "properties" in schema else "string")
    return kinds if isinstance(kinds, str) else next((kind for kind in kinds if kind != "null"), "null")


def _number(schema: Schema, whole: bool) -> float:
    return next((value for value in _numbers(schema, whole) if _accepts(schema, value)), 0)


def _numbers(schema: Schema, whole: bool) -> Iterator[float]:
    """Candidates: zero, then what lies at, beside and between the bounds."""
    bounds = [schema[key] for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if key in schema]
    step = schema.get("multipleOf", 1)
    yield 0
    for bound in bounds:
        yield from (step * (bound // step + steps) for steps in (0, 1, -1))
    if bounds and not whole:
        yield from (*bounds, sum(bounds) / len(bounds))


def _accepts(schema: Schema, value: float) -> bool:
    infinity = float("inf")
    return bool(
        schema.get("minimum", -infinity) <= value <= schema.get("maximum", infinity)
        and schema.get("exclusiveMinimum", -infinity) < value < schema.get("exclusiveMaximum", infinity)
    )


def _merged(first: Schema, second: Schema) -> Schema:
    """Both schemas in one; where both say something, the first is heard."""
    merged = {**second, **first}
    if "properties" in first and "properties" in second:
        merged["properties"] = {**second["properties"], **first["properties"]}
    if "required" in first and "required" in second:
        merged["required"] = list(dict.fromkeys([*first["required"], *second["required"]]))
    return merged
