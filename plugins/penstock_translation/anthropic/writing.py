"""A new prompt written into a Messages document: only the fields that say something else are edited."""

from collections.abc import Mapping, Sequence

import msgspec

from penstock import InvalidRequest, Prompt, TextBlock, ThinkingControl, Tool

from ..origins import origins
from .blocks import read_content
from .members import Members, choice_members, members_of, merged, raw, tool_members
from .mistakes import BROKEN
from .prompt import PLACEHOLDER, visible
from .turnwriter import CONTENT, as_words, parts_of, write_blocks, write_messages

Fields = Mapping[str, msgspec.Raw]
Edits = dict[str, object]
"""The new values of fields, None where one is removed."""

_SCALARS = ("max_tokens", "temperature", "top_p", "top_k")
_TYPES = {"off": "disabled", "on": "enabled", "adaptive": "adaptive"}
_NULL = msgspec.Raw(b"null")


class _Named(msgspec.Struct):
    name: str = ""


class _Config(msgspec.Struct):
    effort: str | None = None


class _Configured(msgspec.Struct):
    output_config: _Config | None = None


_LIST: msgspec.json.Decoder[list[msgspec.Raw] | None] = msgspec.json.Decoder(list[msgspec.Raw] | None)
_NAMED = msgspec.json.Decoder(_Named)
_CONFIGURED = msgspec.json.Decoder(_Configured)


def write_prompt(fields: Fields, old: Prompt, new: Prompt) -> dict[str, bytes | None]:
    """The edits that have a document with these fields, which says `old`, say `new`.

    The same objects keep their bytes. What replaces another of its kind at the same place keeps the members that the
    neutral words do not know. Raises TypeError for what this format cannot say.
    """
    try:
        edits = _plain(fields, old, new) | _lists(fields, old, new) | _conversation(fields, old, new)
    except BROKEN as error:
        raise InvalidRequest(f"the request body cannot be edited: {error}") from None
    return {name: None if value is None else msgspec.json.encode(value) for name, value in edits.items()}


# ---------------------------------------------------------------- numbers, switches and names


def _plain(fields: Fields, old: Prompt, new: Prompt) -> Edits:
    edits: Edits = {name: getattr(new, name) for name in _SCALARS if getattr(new, name) != getattr(old, name)}
    if new.service_tier != old.service_tier:
        edits["service_tier"] = new.service_tier or None
    if new.stop != old.stop:
        edits["stop_sequences"] = new.stop or None
    if new.user != old.user:
        user = {"user_id": new.user} if new.user else {}
        edits["metadata"] = merged(members_of(fields.get("metadata")), {"user_id": old.user}, user) or None
    if new.tool_choice != old.tool_choice:
        edits["tool_choice"] = _tool_choice(fields, old, new)
    if (new.thinking.mode, new.thinking.budget) != (old.thinking.mode, old.thinking.budget):
        edits["thinking"] = _thinking(fields, old.thinking, new.thinking)
    return edits


def _tool_choice(fields: Fields, old: Prompt, new: Prompt) -> Members | None:
    if new.tool_choice is None:
        return None
    if old.tool_choice is None:
        return choice_members(new.tool_choice)
    before = members_of(fields.get("tool_choice"))
    return merged(before, choice_members(old.tool_choice), choice_members(new.tool_choice))


def _thinking(fields: Fields, old: ThinkingControl, new: ThinkingControl) -> Members | None:
    if new.mode == "unset":
        if new.budget is not None:
            raise TypeError("thinking: a budget needs a mode, 'on' or 'adaptive'")
        return None
    if new.mode == "off" or old.mode not in ("on", "adaptive"):  # nothing may stand beside `disabled`
        return _thinking_members(new)
    return merged(members_of(fields.get("thinking")), _thinking_members(old), _thinking_members(new))


def _thinking_members(control: ThinkingControl) -> Members:
    budget = {} if control.budget is None else {"budget_tokens": control.budget}
    return {"type": _TYPES[control.mode], **budget}


# ---------------------------------------------------------------- lists, of which the prompt may not show everything


def _lists(fields: Fields, old: Prompt, new: Prompt) -> Edits:
    edits: Edits = {}
    if new.system != old.system:
        edits["system"] = _system(fields.get("system", _NULL), old.system, new.system)
    if new.tools != old.tools:
        edits["tools"] = _tools(fields.get("tools", _NULL), old.tools, new.tools) or None
    return edits


def _system(system: msgspec.Raw, old: Sequence[TextBlock], new: Sequence[TextBlock]) -> object:
    came = CONTENT.decode(system)
    parts = parts_of(came)
    shown = [text is not None for text in visible(read_content(parts, "system"))]
    written = write_blocks(new, old, [part for part, is_shown in zip(parts, shown, strict=True) if is_shown], {})
    if isinstance(came, str) and all(shown) and (words := as_words(new)):
        return words
    return _around(parts, shown, written) or None


def _tools(tools: msgspec.Raw, old: Sequence[Tool], new: Sequence[Tool]) -> list[msgspec.Raw]:
    came = _LIST.decode(tools) or []
    shown = [_NAMED.decode(tool).name != PLACEHOLDER for tool in came]
    parts = [tool for tool, is_shown in zip(came, shown, strict=True) if is_shown]
    places = origins(old, new, lambda tool: tool.name)
    written = [
        raw(_new_tool(tool)) if place is None else _tool(tool, old[place], parts[place])
        for tool, place in zip(new, places, strict=True)
    ]
    return _around(came, shown, written)


def _tool(new: Tool, old: Tool, tool: msgspec.Raw) -> msgspec.Raw:
    if new == old:
        return tool
    if new.type and new.options != old.options:
        return raw(_new_tool(new))
    return raw(merged(members_of(tool), tool_members(old), tool_members(new)))


def _new_tool(tool: Tool) -> Members:
    """A built-in tool is defined by its options; its provider knows the description."""
    members = tool_members(tool)
    if not tool.type:
        return members
    members.pop("description", None)
    return members_of(tool.options) | members


def _around(came: list[msgspec.Raw], shown: list[bool], written: list[msgspec.Raw]) -> list[msgspec.Raw]:
    """What was written with what is not shown: the first ones stay the first, all others come last."""
    first = shown.index(True) if any(shown) else len(came)
    rest = zip(came[first:], shown[first:], strict=True)
    return [*came[:first], *written, *(part for part, is_shown in rest if not is_shown)]


# ---------------------------------------------------------------- messages, and what the newest of them configures


def _conversation(fields: Fields, old: Prompt, new: Prompt) -> Edits:
    edits: Edits = {}
    config = before = members_of(fields.get("output_config"))
    if new.messages != old.messages or new.thinking.effort != old.thinking.effort:
        came = _LIST.decode(fields.get("messages", _NULL)) or []
        turns, config = _with_effort(write_messages(new.messages, old.messages, came), config, new.thinking.effort)
        if turns != came:
            edits["messages"] = turns
    if new.output_schema != old.output_schema:
        config, more = _with_schema(fields, config, new.output_schema)
        edits |= more
    if config != before:
        edits["output_config"] = config or None
    return edits


def _with_effort(turns: list[msgspec.Raw], config: Members, effort: str) -> tuple[list[msgspec.Raw], Members]:
    """Turns and `output_config` whose newest effort is this one: a turn may set its own from there on."""
    holders = [place for place, turn in enumerate(turns) if _effort(turn)]
    newest = _effort(turns[holders[-1]]) if holders else _effort(raw({"output_config": config}))
    if newest == effort:
        return turns, config
    changed = list(turns)
    for place in holders[-1:] if effort else holders:
        turn = members_of(turns[place])
        changed[place] = raw(turn | {"output_config": _naming(effort, members_of(turn["output_config"]))})
    return changed, config if effort and holders else _naming(effort, config)


def _effort(holder: msgspec.Raw) -> str:
    config = _CONFIGURED.decode(holder).output_config
    return (config and config.effort) or ""


def _naming(effort: str, config: Members) -> Members:
    return merged(config, {"effort": None}, {"effort": effort} if effort else {})


def _with_schema(fields: Fields, config: Members, schema: msgspec.Raw | None) -> tuple[Members, Edits]:
    """`output_config` with a schema, and the edit of the field where it stood in an earlier beta."""
    if schema is None:
        return merged(config, {"format": None}, {}), {"output_format": None}
    wanted = {"type": "json_schema", "schema": schema}
    if "output_format" in fields and not members_of(config.get("format")):
        return config, {"output_format": members_of(fields["output_format"]) | wanted}
    return config | {"format": members_of(config.get("format")) | wanted}, {}
