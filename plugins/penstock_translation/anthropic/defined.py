"""Tools that Anthropic has defined and the client runs itself, as plain functions for models that do not know them.

Sources: Anthropic's pages on the bash, text editor, memory and computer use tools, and the types of the official SDK of
November 2026. What the provider runs itself, such as a web search, is not in here, nor are the toolsets of 2026, whose
one entry stands for many functions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from .mistakes import BROKEN


class Defined(NamedTuple):
    """What a definition leaves out because Claude knows it."""

    description: str
    schema: msgspec.Raw


class _Screen(msgspec.Struct):
    display_width_px: int = 0
    display_height_px: int = 0
    enable_zoom: bool = False


_SCREEN = msgspec.json.Decoder(_Screen)
_Properties = Mapping[str, Mapping[str, Any]]


def defined(type: str, options: msgspec.Raw) -> Defined | None:
    """The function behind a dated type such as `bash_20250124`, None for all others; `options` is the definition."""
    found = next((found for prefix, found in _TOOLS if type.startswith(prefix)), None)
    return _on_screen(found, options) if found and type.startswith(_COMPUTER) else found


def _on_screen(computer: Defined, options: msgspec.Raw) -> Defined:
    """The computer and its size, for that is how a model points; with zoom only if the client can do it."""
    try:
        screen = _SCREEN.decode(options)
    except BROKEN:
        return computer
    size = f" The screen is {screen.display_width_px} pixels wide and {screen.display_height_px} high."
    schema = _computer(*_FIRST_ACTIONS, *_LATER_ACTIONS, "zoom") if screen.enable_zoom else computer.schema
    return Defined(computer.description + size, schema)


# ---------------------------------------------------------------- how schemas are written


def _schema(properties: _Properties, *required: str) -> msgspec.Raw:
    members = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    return msgspec.Raw(msgspec.json.encode(members))


def _text(description: str) -> Mapping[str, Any]:
    return {"type": "string", "description": description}


def _number(description: str, type: str = "integer") -> Mapping[str, Any]:
    return {"type": type, "description": description}


def _numbers(description: str) -> Mapping[str, Any]:
    return {"type": "array", "items": {"type": "integer"}, "description": description}


def _one_of(description: str, *values: str) -> Mapping[str, Any]:
    return {"type": "string", "enum": values, "description": description}


# ---------------------------------------------------------------- the tools

_BASH: _Properties = {
    "command": _text("The command to run; required unless the session is restarted."),
    "restart": {"type": "boolean", "description": "Whether to restart the session instead."},
}
_FILES: _Properties = {
    "path": _text("The path of the file or directory."),
    "view_range": _numbers("For view: the first and the last line, counted from 1; -1 is the end of the file."),
    "file_text": _text("For create: the content of the file."),
    "old_str": _text("For str_replace: the text to replace; it has to occur exactly once."),
    "new_str": _text("For str_replace: the text in its place."),
    "insert_line": _number("For insert: the line after which to insert, 0 for the beginning of the file."),
}
_INSERTED_APART: _Properties = {"insert_text": _text("For insert: the text to insert.")}
_INSERTED_ALIKE: _Properties = {"new_str": _text("For str_replace: the text in its place. For insert: the text.")}
_RENAMED: _Properties = {
    "old_path": _text("For rename: the path as it is."),
    "new_path": _text("For rename: the path as it is to be."),
}
_EDITS = ("view", "create", "str_replace", "insert")

_COMPUTER = "computer_2"
_FIRST_ACTIONS = (
    *("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click"),
    *("middle_click", "double_click", "screenshot", "cursor_position"),
)
_LATER_ACTIONS = ("left_mouse_down", "left_mouse_up", "triple_click", "scroll", "hold_key", "wait")
_ACTED: _Properties = {
    "coordinate": _numbers("Where: x from the left edge and y from the top, in pixels."),
    "text": _text("What to type, or the keys to press or hold, such as ctrl+s."),
    "start_coordinate": _numbers("For left_click_drag: where to begin."),
}
_ACTED_LATER: _Properties = {
    "scroll_direction": _one_of("For scroll: where to.", "up", "down", "left", "right"),
    "scroll_amount": _number("For scroll: how many clicks of the wheel."),
    "duration": _number("For hold_key and wait: how many seconds.", "number"),
}
_ZOOMED: _Properties = {"region": _numbers("For zoom: the corners x0, y0, x1, y1 of what to show enlarged.")}


def _editor(commands: tuple[str, ...], inserted: _Properties) -> Defined:
    properties = {"command": _one_of("What to do.", *commands), **_FILES, **inserted}
    return Defined("View, create and edit text files.", _schema(properties, "command", "path"))


def _memory() -> Defined:
    command = {"command": _one_of("What to do.", *_EDITS, "delete", "rename")}
    return Defined(
        "Keep notes in files under /memories, which last beyond this conversation.",
        _schema({**command, **_FILES, **_INSERTED_APART, **_RENAMED}, "command"),
    )


def _computer(*actions: str) -> msgspec.Raw:
    properties = {"action": _one_of("What to do.", *actions), **_ACTED}
    if "scroll" in actions:
        properties.update(_ACTED_LATER)
    if "zoom" in actions:
        properties.update(_ZOOMED)
    return _schema(properties, "action")


_USE = "Use a computer by its screen, mouse and keyboard."
_TOOLS: tuple[tuple[str, Defined], ...] = (
    ("bash_2", Defined("Run a command in a persistent bash session.", _schema(_BASH))),
    ("text_editor_20241022", _editor((*_EDITS, "undo_edit"), _INSERTED_ALIKE)),
    ("text_editor_20250124", _editor((*_EDITS, "undo_edit"), _INSERTED_ALIKE)),
    ("text_editor_20250429", _editor(_EDITS, _INSERTED_ALIKE)),
    ("text_editor_2", _editor(_EDITS, _INSERTED_APART)),
    ("memory_2", _memory()),
    ("computer_20241022", Defined(_USE, _computer(*_FIRST_ACTIONS))),
    (_COMPUTER, Defined(_USE, _computer(*_FIRST_ACTIONS, *_LATER_ACTIONS))),
)
"""By how a type begins; of two that fit the first counts. Types end in a date."""
