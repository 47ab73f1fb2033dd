"""Markdown tables, and how the types and defaults of options look in them."""

import re
import typing
from collections.abc import Iterable
from typing import Any

import msgspec


def table(header: str, rows: Iterable[Iterable[str | None]]) -> str:
    """A table; the columns' names are separated by ` | `."""
    lines = (" | ".join((cell or "").replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in (header, re.sub(r"[^|]+", "---", header).replace("|", " | "), *lines))


def codes(words: Iterable[str]) -> str:
    """Words in the type of code."""
    return ", ".join(f"`{word}`" for word in words)


def fields(kind: type[msgspec.Struct]) -> str:
    """A Struct's fields with their types, in one cell."""
    return codes(f"{field.name}: {type_of(field)}" for field in msgspec.structs.fields(kind))


def options(kind: type[msgspec.Struct]) -> str:
    """A Struct's fields as options: type, default, and the meaning where the Struct tells it."""
    found = msgspec.structs.fields(kind)
    rows = [(f"`{f.encode_name}`", f"`{type_of(f)}`", default_of(f), _meaning(f.type)) for f in found]
    columns = 4 if any(meaning for *_, meaning in rows) else 3
    header = " | ".join(("option", "type", "default", "meaning")[:columns])
    return table(header, (row[:columns] for row in rows))


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """A field's default as one would write it in a file."""
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`"


def type_of(field: msgspec.structs.FieldInfo) -> str:
    """A field's type without the names of modules; the values themselves if it is one of a few."""
    hint = typing.get_args(field.type)[0] if typing.get_origin(field.type) is typing.Annotated else field.type
    plain = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    plain = re.sub(r"\b(\w+\.)+(?=\w)", "", plain)
    return re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", '"').replace(", ", " | "), plain)


def _meaning(hint: Any) -> str:
    notes = getattr(hint, "__metadata__", ())
    return next((note.description or "" for note in notes if isinstance(note, msgspec.Meta)), "")
