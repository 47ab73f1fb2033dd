"""Tools and how they may be called, as Responses parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from penstock import Prompt, Tool, ToolChoice

from ..names import ToolNames
from ..schemas import is_function, is_strict, parameters
from ..untyped import items, members, words
from .quirks import ResponsesQuirks

SOURCES = "web_search_call.action.sources"
"""What `include` has to name for a search to say what it found."""

_PLACE = ("city", "country", "region", "timezone")


class ToolFields(NamedTuple):
    """The parameters about tools, and what was left out."""

    fields: dict[str, Any]
    searches: bool
    dropped: tuple[str, ...]


def tool_names(prompt: Prompt, quirks: ResponsesQuirks) -> ToolNames:
    """How the prompt's tools are called on the wire."""
    return ToolNames((tool.name for tool in prompt.tools), quirks.tool_name_limit)


def tool_fields(prompt: Prompt, names: ToolNames, quirks: ResponsesQuirks) -> ToolFields:
    """The parameters about tools; none without tools, since upstreams refuse an empty list or a choice of nothing."""
    functions = [tool for tool in prompt.tools if is_function(tool)]
    searches = [tool for tool in prompt.tools if _is_search(tool, quirks)]
    others = [tool for tool in prompt.tools if not is_function(tool) and not _is_search(tool, quirks)]
    dropped = [f"the tool {tool.type}" for tool in others]
    fields: dict[str, Any] = {"tools": [_function(tool, names) for tool in functions]}
    if searches:
        fields |= _search(searches[0], fields["tools"], dropped)
    if not fields["tools"]:
        return ToolFields({}, False, tuple(dropped))
    choice = prompt.tool_choice
    if choice is not None:
        fields["tool_choice"] = _choice(choice, functions, searches, names)
        if choice.mode in ("any", "tool") and not quirks.tool_choice_required:
            fields["tool_choice"] = "auto"
            dropped.append("a tool_choice that demands a call")
        if not choice.parallel and choice.mode != "none":
            fields["parallel_tool_calls"] = False
    return ToolFields(fields, bool(searches), tuple(dropped))


def _is_search(tool: Tool, quirks: ResponsesQuirks) -> bool:
    return quirks.web_search and tool.type.startswith("web_search") and not is_function(tool)


def _function(tool: Tool, names: ToolNames) -> dict[str, Any]:
    schema = parameters(tool.schema)
    function: dict[str, Any] = {"type": "function", "name": names.wire(tool.name)}
    if tool.description:
        function["description"] = tool.description
    # Strict is the default here, and makes every property required.
    strict = bool(tool.strict) and is_strict(msgspec.json.decode(msgspec.json.encode(schema)))
    return {**function, "parameters": schema, "strict": strict}


def _search(tool: Tool, tools: list[dict[str, Any]], dropped: list[str]) -> dict[str, Any]:
    """Add the server's own search to `tools`; gives the parameters beside them."""
    options = members(msgspec.json.decode(tool.options))
    search: dict[str, Any] = {"type": "web_search"}
    if domains := [domain for domain in items(options.get("allowed_domains")) if isinstance(domain, str)]:
        search["filters"] = {"allowed_domains": domains}
    if items(options.get("blocked_domains")):
        dropped.append(f"blocked_domains of the tool {tool.type}")
    place = members(options.get("user_location"))
    if known := {name: place[name] for name in _PLACE if words(place.get(name))}:
        search["user_location"] = {"type": "approximate", **known}
    tools.append(search)
    most = options.get("max_uses")
    return {"max_tool_calls": most} if isinstance(most, int) and most > 0 else {}


def _choice(choice: ToolChoice, functions: Sequence[Tool], searches: Sequence[Tool], names: ToolNames) -> Any:
    if choice.mode in ("auto", "none"):
        return choice.mode
    if choice.mode == "any":
        return "required"
    if any(tool.name == choice.name for tool in functions):
        return {"type": "function", "name": names.wire(choice.name)}
    # The search can only be demanded as a call of any tool, which it is if there is no other.
    return "required" if searches and not functions and searches[0].name == choice.name else "auto"
