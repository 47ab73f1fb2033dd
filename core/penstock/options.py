"""Types for plugin options and files: Duration, Money, Patterns, Secret, Targets, and how YAML values become them."""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from penstock.exchange import Target
from penstock.money import Money, parse_money
from penstock.problems import suggest

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")

if TYPE_CHECKING:
    Duration = float
else:

    class Duration(float):
        """Seconds, written as `90`, `1.5s`, `10m`, `1h30m` or `7d`. A plain float to type checkers."""


class Secret:
    """A value that never prints: `reveal()` gives it, everything else shows `***`. Its only possible default is None.

        class Hook(Plugin):
            url: str
            token: Secret | None = None  # in the file: `token: ${HOOK_TOKEN}`

    It cannot be encoded as JSON. To compare it, use `hmac.compare_digest` with what `reveal()` gives.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one place that sends or compares it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***" if self._value else "''"


class Targets(tuple[Target, ...]):
    """Where to go, in the order to try: `upstream`, `upstream/model`, `upstream,model`, or a list of them."""

    __slots__ = ()


class Patterns(tuple[str, ...]):
    """Texts, or shell patterns of them with `*`, `?` and `[...]`: one, or a list of which one has to fit."""

    __slots__ = ()

    def fits(self, text: str) -> bool:
        """Whether one of them takes the whole text; case counts."""
        return any(fnmatchcase(text, pattern) for pattern in self)


def parse_duration(value: object) -> float:
    """Seconds from a number or a text such as `1h30m`. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip()
        parts = _DURATION.findall(text)
        if not parts or _DURATION.sub("", text).strip():
            raise ValueError(f"expected a duration such as 30s, 10m or 1h30m, got {text!r}")
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= seconds < float("inf"):
        raise ValueError("a duration cannot be negative or infinite")
    return seconds


def parse_target(text: str, upstreams: Iterable[str]) -> Target:
    """`upstream`, `upstream/model` or `upstream,model`. Raises ValueError for an unknown upstream."""
    known = list(upstreams)
    name, model = split_target(text)
    if name not in known:
        there_are = f"; there are: {', '.join(sorted(known))}" if known else "; the pipeline has no upstreams"
        raise ValueError(f"unknown upstream {name!r}{suggest(name, known) or there_are}")
    return Target(name, model)


def split_target(text: str) -> tuple[str, str]:
    """The upstream's name and the model of `upstream/model` or `upstream,model`; the model may be empty."""
    found = re.match(r"([^/,]+)[/,](.+)", text)
    return (found[1].strip(), found[2].strip()) if found else (text.strip(), "")


def decode_hook(upstreams: Iterable[str] = ()) -> Callable[[type, Any], Any]:
    """How msgspec makes our types from YAML values, for options of a pipeline with these upstreams."""

    def decode(kind: type, value: Any) -> Any:
        if kind is Duration:
            return Duration(parse_duration(value))
        if kind is Money:
            return Money(parse_money(value))
        if kind is Secret:
            if not isinstance(value, str):
                raise ValueError(f"expected text, got {type(value).__name__}; quote it")
            return Secret(value)
        if kind is Targets:
            texts = value if isinstance(value, list) else [value]
            if not texts or not all(isinstance(text, str) for text in texts):
                raise ValueError("expected `upstream`, `upstream/model`, or a list of them")
            return Targets(parse_target(text, upstreams) for text in texts)
        if kind is Patterns:
            texts = value if isinstance(value, list) else [value]
            if not texts or not all(isinstance(text, str) for text in texts):
                raise ValueError("expected a text, or a list of texts; quote what is read as something else")
            return Patterns(texts)
        raise NotImplementedError(f"options cannot have the type {kind.__name__}")

    return decode


def schema_hook(kind: type) -> dict[str, Any]:
    """The JSON Schema of our types, for editors."""
    if kind is Duration:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d"}]}
    if kind is Money:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\$?\s*\d"}]}
    if kind is Secret:
        return {"type": "string"}
    if kind in (Targets, Patterns):
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    raise NotImplementedError(f"options cannot have the type {kind.__name__}")
