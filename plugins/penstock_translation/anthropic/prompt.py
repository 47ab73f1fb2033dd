"""A Messages request as the neutral prompt: lenient about what is unknown, strict about the types of what is known.

Sources: the official SDK's types of November 2026 and captured requests of real agents.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from penstock import Block, InvalidRequest, Message, Prompt, TextBlock, ThinkingControl, Tool, ToolChoice

from .blocks import Markable, read_content
from .defined import defined
from .mistakes import BROKEN, located

ATTRIBUTION = "x-anthropic-billing-header:"  # an agent's billing tag; it varies, so it would spoil prefix caches
PLACEHOLDER = "DeferredToolPlaceholder"  # announces a tool search that only this format's providers have
_NOTHING = msgspec.Raw(b"null")

_ROLES: Mapping[str, Literal["user", "assistant", "system"]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
}
_CHOICES: Mapping[str, Literal["auto", "any", "tool", "none"]] = {
    "auto": "auto",
    "any": "any",
    "tool": "tool",
    "none": "none",
}
_MODES: Mapping[str, Literal["off", "on", "adaptive"]] = {
    "disabled": "off",
    "enabled": "on",
    "adaptive": "adaptive",
    "between_tools": "adaptive",
}


class _Format(msgspec.Struct):
    type: str = ""
    schema: msgspec.Raw = _NOTHING


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Turn(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    output_config: _OutputConfig | None = None


class _TurnEffort(msgspec.Struct):
    output_config: _OutputConfig | None = None


class _Tool(Markable):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = _NOTHING
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str = ""
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Body(msgspec.Struct):
    messages: list[_Turn]
    system: str | list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: _Choice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None  # where `output_config.format` stood in an earlier beta
    metadata: _Metadata | None = None
    service_tier: Any = None


class _Asked(msgspec.Struct):
    messages: list[_TurnEffort]
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None


_BODY = msgspec.json.Decoder(_Body)
_ASKED = msgspec.json.Decoder(_Asked)
_TOOL = msgspec.json.Decoder(_Tool)


def read_prompt(body: bytes) -> Prompt:
    """The neutral prompt of a request body. Raises InvalidRequest that names the place."""
    try:
        wire = _BODY.decode(body)
    except BROKEN as error:
        raise InvalidRequest(located(error)) from None
    return Prompt(
        system=_system(wire.system),
        messages=tuple(_messages(wire.messages)),
        tools=tuple(_tools(wire.tools or ())),
        tool_choice=_tool_choice(wire.tool_choice),
        max_tokens=wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=tuple(wire.stop_sequences or ()),
        thinking=_thinking(wire),
        output_schema=_output_schema(wire),
        user=(wire.metadata and wire.metadata.user_id) or "",
        service_tier=wire.service_tier if isinstance(wire.service_tier, str) else "",
    )


def read_thinking(body: bytes) -> ThinkingControl:
    """How much the model should think. Raises what the JSON reader raises."""
    return _thinking(_ASKED.decode(body))


def _system(system: str | list[msgspec.Raw] | None) -> tuple[TextBlock, ...]:
    return tuple([block for block in visible(read_content(system, "system")) if block is not None])


def visible(system: Sequence[Block]) -> list[TextBlock | None]:
    """What the prompt says of each block of a system prompt: nothing of an agent's billing tag, nor of foreign ones."""
    texts = [block if isinstance(block, TextBlock) else None for block in system]
    first = next((text for text in texts if text is not None), None)
    hidden = first if first is not None and first.text.startswith(ATTRIBUTION) else None
    return [None if text is hidden else text for text in texts]


def _messages(turns: list[_Turn]) -> Iterable[Message]:
    for position, turn in enumerate(turns):
        role = _ROLES.get(turn.role)
        if role is None:
            place = f"messages[{position}].role"
            raise InvalidRequest(f"{place}: expected user, assistant or system, got {turn.role!r}")
        yield Message(role, read_content(turn.content, f"messages[{position}].content"))


def _tools(tools: Sequence[msgspec.Raw]) -> Iterable[Tool]:
    for position, raw in enumerate(tools):
        place = f"tools[{position}]"
        try:
            tool = _TOOL.decode(raw)
        except BROKEN as error:
            raise InvalidRequest(located(error, place)) from None
        if tool.name != PLACEHOLDER:
            yield _tool(tool, raw, place)


def _tool(tool: _Tool, raw: msgspec.Raw, place: str) -> Tool:
    kind = "" if tool.type is None or tool.type == "custom" else tool.type
    if not tool.name and not kind:
        raise InvalidRequest(f"{place}.name: a tool needs a name")
    made = Tool(tool.name or kind, tool.description or "", type=kind, strict=tool.strict, cache=tool.cache)
    if kind:
        made = _built_in(made, raw)
    if tool.input_schema == _NOTHING:
        return made
    if not bytes(tool.input_schema).startswith(b"{"):
        raise InvalidRequest(f"{place}.input_schema: expected object")
    return replace(made, schema=tool.input_schema)


def _built_in(tool: Tool, raw: msgspec.Raw) -> Tool:
    """The tool with its whole definition, and with what its provider has published of it."""
    known = defined(tool.type, raw)
    if known is None:
        return replace(tool, options=raw)
    return replace(tool, options=raw, description=tool.description or known.description, schema=known.schema)


def _tool_choice(choice: _Choice | None) -> ToolChoice | None:
    mode = _CHOICES.get(choice.type) if choice else None
    if choice is None or mode is None:
        return None
    return ToolChoice(mode, choice.name or "", parallel=not choice.disable_parallel_tool_use)


def _thinking(wire: _Body | _Asked) -> ThinkingControl:
    """Mode and budget, and the newest effort: a system turn may set its own from there on."""
    configs = (wire.output_config, *(turn.output_config for turn in wire.messages))
    efforts = [config.effort for config in configs if config and config.effort]
    effort = efforts[-1] if efforts else ""
    if wire.thinking is None:
        return ThinkingControl(effort=effort)
    return ThinkingControl(_MODES.get(wire.thinking.type, "unset"), wire.thinking.budget_tokens, effort)


def _output_schema(wire: _Body) -> msgspec.Raw | None:
    wanted = (wire.output_config and wire.output_config.format) or wire.output_format
    return wanted.schema if wanted and wanted.type == "json_schema" and wanted.schema != _NOTHING else None
