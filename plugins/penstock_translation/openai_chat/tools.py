"""Tools and how they may be called, as Chat Completions parameters."""

from collections.abc import Sequence
from typing import Any

from penstock import Prompt, Tool, ToolChoice

from ..names import ToolNames
from ..schemas import is_function, parameters
from .quirks import ChatQuirks
from .schema import adapted
from .websearch import bridged, is_bridged, search_fields

FORCED = "a tool_choice that demands a call"
"""What is left out where calls cannot be forced."""


def tool_names(prompt: Prompt, quirks: ChatQuirks) -> ToolNames:
    """How the prompt's tools are called on the wire."""
    return ToolNames((tool.name for tool in prompt.tools), quirks.tool_name_limit)


def tool_fields(
    prompt: Prompt, names: ToolNames, stream: bool, quirks: ChatQuirks, dropped: list[str]
) -> dict[str, Any]:
    """The parameters about tools; none without tools, since upstreams refuse an empty list or a choice of nothing."""
    functions = [tool for tool in prompt.tools if is_function(tool) and not _withheld(prompt, quirks)]
    if quirks.tools_limit and len(functions) > quirks.tools_limit:
        functions = functions[: quirks.tools_limit]
        dropped.append(f"tools beyond the first {quirks.tools_limit}")
    entries = [_function(tool, names, quirks) for tool in functions]
    fields: dict[str, Any] = {}
    if search := bridged(prompt.tools, quirks):
        more, fields = search_fields(search, quirks)
        entries += more
    dropped += [f"the tool {t.type}" for t in prompt.tools if not is_function(t) and not is_bridged(t, quirks)]
    if not entries:
        return fields
    fields["tools"] = entries
    if functions and prompt.tool_choice is not None:
        fields |= _choice_fields(prompt.tool_choice, functions, names, quirks, dropped)
    if functions and stream and quirks.tool_stream:
        fields["tool_stream"] = True
    return fields


def is_forced(prompt: Prompt, quirks: ChatQuirks) -> bool:
    """Whether the client demands a call and the upstream can be made to give one."""
    choice = prompt.tool_choice
    wanted = choice is not None and choice.mode in ("any", "tool") and any(map(is_function, prompt.tools))
    return wanted and _can_force(quirks)


def _withheld(prompt: Prompt, quirks: ChatQuirks) -> bool:
    """Whether the tools stay here because the upstream cannot be told not to call them."""
    return "tool_choice" in quirks.drop and prompt.tool_choice is not None and prompt.tool_choice.mode == "none"


def _can_force(quirks: ChatQuirks) -> bool:
    return quirks.tool_choice_required and "tool_choice" not in quirks.drop


def _function(tool: Tool, names: ToolNames, quirks: ChatQuirks) -> dict[str, Any]:
    function: dict[str, Any] = {"name": names.wire(tool.name)}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = adapted(parameters(tool.schema), quirks)
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice_fields(
    choice: ToolChoice, tools: Sequence[Tool], names: ToolNames, quirks: ChatQuirks, dropped: list[str]
) -> dict[str, Any]:
    fields: dict[str, Any] = {"tool_choice": _choice(choice, tools, names)}
    if choice.mode in ("any", "tool") and not _can_force(quirks):
        fields["tool_choice"] = "auto"
        dropped.append(FORCED)
    if not choice.parallel and choice.mode != "none":
        fields["parallel_tool_calls"] = False
        if "parallel_tool_calls" in quirks.drop:
            dropped.append("disable_parallel_tool_use")
    return fields


def _choice(choice: ToolChoice, tools: Sequence[Tool], names: ToolNames) -> Any:
    if choice.mode in ("auto", "none"):
        return choice.mode
    if choice.mode == "any":
        return "required"
    if all(tool.name != choice.name for tool in tools):
        return "auto"  # a provider's own tool, which is not on offer here
    return {"type": "function", "function": {"name": names.wire(choice.name)}}
