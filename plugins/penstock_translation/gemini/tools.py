"""Tools and how they may be called, as `tools` and `toolConfig`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from penstock import Prompt, Tool, ToolChoice

from ..names import NameRule, ToolNames
from ..schemas import is_function, parameters
from ..untyped import items, members
from .quirks import GeminiQuirks
from .schema import openapi_parameters

_RULE = NameRule("a-zA-Z_", "a-zA-Z0-9_.:-")
_NO_PARAMETERS = parameters(msgspec.Raw(b"{}"))
_EMPTY = msgspec.Raw(b"{}")
_ONE_AT_A_TIME = "disable_parallel_tool_use"
_DOMAINS = ("allowed_domains", "blocked_domains")
_LARGE_SCHEMA = 1 << 14  # bytes

Field = dict[str, Any]


class ToolFields(NamedTuple):
    """The members of a request about tools, whether there are functions among them, and what was left out."""

    fields: Field
    functions: bool
    dropped: tuple[str, ...]


def tool_names(prompt: Prompt, quirks: GeminiQuirks) -> ToolNames:
    """How the prompt's tools are called on the wire."""
    return ToolNames((tool.name for tool in prompt.tools), quirks.tool_name_limit, _RULE)


def tool_fields(prompt: Prompt, names: ToolNames, quirks: GeminiQuirks) -> ToolFields:
    """The members about tools; none without tools, since an empty list or a choice of nothing is refused."""
    functions = [tool for tool in prompt.tools if is_function(tool)]
    built_in, dropped = _built_in(prompt.tools, quirks, beside_functions=bool(functions))
    tools: list[Field] = [{name: {}} for name in built_in]
    if functions:
        tools.insert(0, {"functionDeclarations": [_declaration(tool, names, quirks) for tool in functions]})
    choice = prompt.tool_choice
    if choice is not None and not choice.parallel and functions:
        dropped.append(_ONE_AT_A_TIME)
    config: Field = {}
    if functions:
        config = _config(choice, functions, names, combined=bool(built_in))
        if built_in and quirks.server_invocations:
            config["includeServerSideToolInvocations"] = True
    fields = {"tools": tools, "toolConfig": config}
    return ToolFields({name: value for name, value in fields.items() if value}, bool(functions), tuple(dropped))


def _built_in(tools: Sequence[Tool], quirks: GeminiQuirks, beside_functions: bool) -> tuple[list[str], list[str]]:
    """Google's counterparts of the provider's own tools, and what has none."""
    found: dict[str, None] = {}
    dropped: list[str] = []
    for tool in tools:
        if is_function(tool):
            continue
        counterpart = _counterpart(tool, quirks)
        if not counterpart or (beside_functions and not quirks.combine_tools):
            dropped.append(f"the tool {tool.type}")
            continue
        found[counterpart] = None
        options = _options(tool)
        dropped += [f"{name} of the tool {tool.type}" for name in _DOMAINS if items(options.get(name))]
    return list(found), dropped


def _counterpart(tool: Tool, quirks: GeminiQuirks) -> str:
    if tool.type.startswith("web_search") and quirks.web_search:
        return "googleSearch"
    return "urlContext" if tool.type.startswith("web_fetch") and quirks.web_fetch else ""


def _options(tool: Tool) -> Mapping[str, Any]:
    return members(msgspec.json.decode(tool.options))


def _declaration(tool: Tool, names: ToolNames, quirks: GeminiQuirks) -> Field:
    declaration: Field = {"name": names.wire(tool.name)}
    if tool.description:
        declaration["description"] = tool.description
    if quirks.schema == "json":
        plain = parameters(tool.schema)
        return declaration | ({} if plain == _NO_PARAMETERS else {"parametersJsonSchema": plain})
    schema = bytes(tool.schema)
    reduced = reduced_schema(schema) if len(schema) < _LARGE_SCHEMA else _reduced(schema)
    return declaration | ({"parameters": reduced} if reduced != _EMPTY else {})


def _reduced(schema: bytes) -> msgspec.Raw:
    """A tool's parameters; they depend on nothing else."""
    return msgspec.Raw(msgspec.json.encode(openapi_parameters(msgspec.Raw(schema))))


reduced_schema = lru_cache(maxsize=1000)(_reduced)
"""The same, remembered: agents send the same tools with every request."""


def _config(choice: ToolChoice | None, functions: Sequence[Tool], names: ToolNames, combined: bool) -> Field:
    """Automatic use is called VALIDATED where functions stand beside built-in tools, and AUTO is refused there."""
    automatic = {"functionCallingConfig": {"mode": "VALIDATED" if combined else "AUTO"}}
    if choice is None:
        return automatic if combined else {}
    if choice.mode == "none":
        return {"functionCallingConfig": {"mode": "NONE"}}
    if choice.mode == "any":
        return {"functionCallingConfig": {"mode": "ANY"}}
    if choice.mode == "tool" and any(tool.name == choice.name for tool in functions):
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [names.wire(choice.name)]}}
    return automatic
