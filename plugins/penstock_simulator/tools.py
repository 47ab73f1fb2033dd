"""Harmless tool calls: small files where a tool can write them, else whatever a tool's schema accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock import Block, TextBlock, Tool, ToolResultBlock

from .reply import Part
from .scene import Scene, json_for

_FILES = ("penstock-demo.txt", "penstock-demo-2.txt")
_PATHS = ("file_path", "filePath", "path")
_SHOWN = 200  # characters of a tool result


def calls(scene: Scene) -> tuple[Part, ...]:
    """Two calls of the tools on offer, one if the client wants them one by one, none if there is no tool to call."""
    choice = scene.prompt.tool_choice
    tools = [tool for tool in scene.prompt.tools if not tool.type]  # the others run at the provider
    if choice is not None and choice.mode == "tool":
        tools = [tool for tool in tools if tool.name == choice.name]
    if not tools or (choice is not None and choice.mode == "none"):
        return ()
    writer = next((tool for tool in tools if _path_of(tool)), None)
    chosen = (writer, writer) if writer else (tools[0], tools[1 % len(tools)])
    count = 1 if choice is not None and not choice.parallel else 2
    return tuple(_call(scene, tool, number) for number, tool in enumerate(chosen[:count], 1))


def told(results: list[ToolResultBlock]) -> str:
    """What came back from the tools, in words."""
    lines = (
        f"{number}. {'failed: ' if result.is_error else ''}{_shortened(result.content)}"
        for number, result in enumerate(results, 1)
    )
    return "\n".join(["The tools have answered:", *lines])


def _call(scene: Scene, tool: Tool, number: int) -> Part:
    return Part("tool_use", _input(scene, tool, number), name=tool.name, id=f"toolu_{scene.id}_{number}")


def _input(scene: Scene, tool: Tool, number: int) -> str:
    if path := _path_of(tool):
        file = f"{scene.directory.rstrip('/')}/{_FILES[number - 1]}"
        return msgspec.json.encode({path: file, "content": "Written by Penstock's simulator.\n"}).decode()
    word = "simulated" if number == 1 else f"simulated-{number}"
    text = json_for(tool.schema, f"the schema of tool {tool.name!r}", word)
    return _tame(text)


def _tame(text: str) -> str:
    """An input whose command, if it has one, does nothing but speak."""
    value = msgspec.json.decode(text)
    match value:
        case {"command": str()}:
            value["command"] = "echo simulated"
        case {"command": list()}:
            value["command"] = ["echo", "simulated"]
        case _:
            return text
    return msgspec.json.encode(value).decode()


def _path_of(tool: Tool) -> str:
    """The property that names the file, if the tool needs nothing but that and the content; else ""."""
    schema: Any = msgspec.json.decode(tool.schema)
    match schema:
        case {"properties": {"content": _, **others}, "required": [*required]}:
            path = next((name for name in _PATHS if name in others), "")
            return path if {"content", path} >= set(required) else ""
        case _:
            return ""


def _shortened(content: tuple[Block, ...]) -> str:
    text = " ".join(_words(content)) or "nothing"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _words(content: tuple[Block, ...]) -> Iterator[str]:
    for block in content:
        yield block.text.strip() if isinstance(block, TextBlock) else f"({type(block).__name__})"
