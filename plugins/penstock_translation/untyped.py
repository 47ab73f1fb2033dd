"""JSON of unknown shape, looked at without fear: what is not of the wished type counts as nothing."""

from typing import Any, TypeGuard


def members(value: object) -> dict[str, Any]:
    """The members of an object."""
    return value if _is_object(value) else {}


def items(value: object) -> list[Any]:
    """The items of a list."""
    return value if _is_list(value) else []


def words(value: object) -> str:
    """A text."""
    return value if isinstance(value, str) else ""


def number(value: object) -> int:
    """A whole number that is not negative; servers write some as 3.0."""
    if isinstance(value, int):
        return max(0, value)
    return max(0, int(value)) if isinstance(value, float) and value.is_integer() else 0


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
