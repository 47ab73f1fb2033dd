"""JSON Schema with its references and `allOf` written out, one node at a time and not without bound."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from ..untyped import items, members, words

Node = Mapping[str, Any]

DEEPEST = 32
"""Levels of a schema, and references in a row, beyond which nothing is looked at."""

_BEHIND = "\0behind"  # a mark, which is nothing that JSON can say
_CUT: Node = {"type": "object"}
_FREE = 500  # nodes that references may always add,
_SHARE = 8  # and one more for so many bytes of the schema

# All that is read of a node; whatever else is in there is not copied along.
_KEYWORDS = (
    *("type", "nullable", "title", "description", "default", "format", "enum", "const", "pattern"),
    *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("items", "prefixItems", "minItems", "maxItems", "additionalProperties"),
    *("properties", "required", "minProperties", "maxProperties", "anyOf", "oneOf", "allOf", "$ref"),
)


class Place(NamedTuple):
    """Where in a schema a node stands: how deep, and behind which references."""

    depth: int = 0
    behind: frozenset[str] = frozenset()

    def below(self) -> "Place":
        """One level deeper."""
        return self._replace(depth=self.depth + 1)


class References:
    """The references of one schema."""

    def __init__(self, root: Any, size: int) -> None:
        """`size` is the schema's in bytes: what the references add is in proportion to it."""
        self._root = root
        self._left = size // _SHARE + _FREE
        self._targets: dict[str, Node] = {}

    def flat(self, value: Any, place: Place) -> tuple[Node, Place] | None:
        """A node without `$ref` and `allOf`, and its place behind the references.

        None where the schema is too deep, too large, or contains itself.
        """
        place = place._replace(behind=place.behind | _mark_of(value))
        node = _known(members(value))
        while reference := words(node.get("$ref")):
            if reference in place.behind or len(place.behind) > DEEPEST or self._left <= 0:
                return None
            place = place._replace(behind=place.behind | {reference})
            node = {**self._target(reference), **{name: node[name] for name in node if name != "$ref"}}
        if place.depth > DEEPEST:
            return None
        if place.behind:
            self._left -= _weight(node)
        return self._joined(node, place) if "allOf" in node else node, place

    def _joined(self, node: Node, place: Place) -> Node:
        """The node and all that it has to satisfy beside; where two say something else, the first is taken."""
        whole = {name: node[name] for name in node if name != "allOf"}
        properties = dict(members(whole.get("properties")))
        required = list(items(whole.get("required")))
        for part in items(node["allOf"]):
            found = self.flat(part, place.below())
            more = _marked(*found) if found else _CUT
            for name, schema in members(more.get("properties")).items():
                properties.setdefault(name, schema)
            required += items(more.get("required"))
            whole = {**more, **whole}
        whole |= {"properties": properties} if properties else {}
        return whole | ({"required": required} if required else {})

    def _target(self, reference: str) -> Node:
        if reference not in self._targets:
            self._targets[reference] = _known(members(self._find(reference)))
        return self._targets[reference]

    def _find(self, reference: str) -> Any:
        """What a JSON pointer (RFC 6901) points at; other references lead nowhere."""
        found, pointer = self._root, reference.removeprefix("#")
        for step in pointer.split("/")[1:] if reference.startswith("#") else ["?"]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            listed = items(found)
            number = int(name) if name.isdecimal() and len(name) < 9 else len(listed)
            found = listed[number] if number < len(listed) else members(found).get(name)
        return found


def _weight(node: Node) -> int:
    return 1 + len(members(node.get("properties"))) + sum(len(items(node.get(name))) for name in ("enum", "required"))


def _known(node: Node) -> Node:
    return {name: node[name] for name in _KEYWORDS if name in node}


def _marked(node: Node, place: Place) -> Node:
    """A node whose parts remember behind which references they stand, wherever they are put."""
    marked: dict[str, Any] = dict(node)
    for name in ("anyOf", "oneOf", "prefixItems"):
        if listed := items(node.get(name)):
            marked[name] = [_mark(schema, place) for schema in listed]
    if "items" in node:
        marked["items"] = _mark(node["items"], place)
    if properties := members(node.get("properties")):
        marked["properties"] = {name: _mark(schema, place) for name, schema in properties.items()}
    return marked


def _mark(value: Any, place: Place) -> Any:
    own = members(value)
    return {**_known(own), _BEHIND: place.behind | _mark_of(own)} if own else value


def _mark_of(value: Any) -> frozenset[str]:
    mark = members(value).get(_BEHIND)
    return cast("frozenset[str]", mark) if isinstance(mark, frozenset) else frozenset()
