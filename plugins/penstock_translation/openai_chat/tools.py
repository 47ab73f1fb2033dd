"""Tools and how they may be called, as Chat Completions parameters."""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock import Prompt, Tool, ToolChoice
from penstock_translation.names import ToolNames
from penstock_translation.openai_chat.quirks import ChatQuirks

_SCHEMA = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT = msgspec.Raw(b'"object"')
_EMPTY = msgspec.Raw(b"{}")


def tool_names(prompt: Prompt, quirks: ChatQuirks) -> ToolNames:
    """How the prompt's tools are called on the wire."""
    return ToolNames((tool.name for tool in prompt.tools), quirks.tool_name_limit)


def tool_fields(prompt: Prompt, names: ToolNames, stream: bool, quirks: ChatQuirks) -> dict[str, Any]:
    """The parameters about tools; none without tools, since upstreams refuse an empty list or a choice of nothing."""
    tools = [tool for tool in prompt.tools if _is_function(tool)]
    if not tools:
        return {}
    fields: dict[str, Any] = {"tools": [_function(tool, names) for tool in tools]}
    choice = prompt.tool_choice
    if choice is not None:
        fields["tool_choice"] = _choice(choice, tools, names, quirks)
        if not choice.parallel and choice.mode != "none":
            fields["parallel_tool_calls"] = False
    if stream and quirks.tool_stream:
        fields["tool_stream"] = True
    return fields


def parameters(schema: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """A tool's schema as every upstream takes it: an object with properties, without the name of the dialect."""
    try:
        members = _SCHEMA.decode(schema)
    except msgspec.DecodeError:
        members = {}
    members.pop("$schema", None)
    members["type"] = _OBJECT
    members.setdefault("properties", _EMPTY)
    return members


def _is_function(tool: Tool) -> bool:
    """Whether the client runs the tool itself; a provider's own tool is one only if it comes with a schema."""
    return tool.type in ("", "custom") or bytes(parameters(tool.schema)["properties"]).strip() != b"{}"


def _function(tool: Tool, names: ToolNames) -> dict[str, Any]:
    function: dict[str, Any] = {"name": names.wire(tool.name)}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = parameters(tool.schema)
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice, tools: Sequence[Tool], names: ToolNames, quirks: ChatQuirks) -> Any:
    if choice.mode in ("auto", "none"):
        return choice.mode
    if not quirks.tool_choice_required:
        return "auto"
    if choice.mode == "any":
        return "required"
    if all(tool.name != choice.name for tool in tools):
        return "auto"  # a provider's own tool, which is not on offer here
    return {"type": "function", "function": {"name": names.wire(choice.name)}}
