"""Tools that Anthropic has defined, for models that speak its format and are not Claude: functions, or left out."""

import msgspec

from penstock import Request

from .defined import defined

_NOTHING = msgspec.Raw(b"null")


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = _NOTHING
    cache_control: msgspec.Raw = _NOTHING

    @property
    def is_function(self) -> bool:
        """Whether it says all of itself."""
        return self.type in (None, "custom") or self.input_schema != _NOTHING


class _Choice(msgspec.Struct):
    name: str | None = None


_TOOLS = msgspec.json.Decoder(list[msgspec.Raw] | None)
_TOOL = msgspec.json.Decoder(_Tool)
_CHOICE = msgspec.json.Decoder(_Choice | None)


def adapt_tools(document: Request, *, server_tools: bool) -> list[str]:
    """Write out what the client runs, and take out what Anthropic runs unless the upstream does so too.

    Gives the types of what was taken out. Raises what the JSON reader raises.
    """
    raws: list[msgspec.Raw] = _TOOLS.decode(document.fields.get("tools", _NOTHING)) or []
    tools = [_TOOL.decode(raw) for raw in raws]
    if all(tool.is_function for tool in tools):
        return []
    adapted = [_adapted(raw, tool) for raw, tool in zip(raws, tools, strict=True)]
    kept = [new or raw for raw, new in zip(raws, adapted, strict=True) if new or server_tools]
    out = [tool for tool, new in zip(tools, adapted, strict=True) if not (new or server_tools)]
    if kept != raws:
        _put(document, kept, out)
    return [tool.type or "" for tool in out]


def _adapted(raw: msgspec.Raw, tool: _Tool) -> msgspec.Raw | None:
    """The tool as a function, None if it is none."""
    if tool.is_function:
        return raw
    known = defined(tool.type or "", raw)
    if known is None:
        return None
    members = {
        "name": tool.name or tool.type,
        "description": tool.description or known.description,
        "input_schema": known.schema,
    }
    mark = {} if tool.cache_control == _NOTHING else {"cache_control": tool.cache_control}
    return msgspec.Raw(msgspec.json.encode({**members, **mark}))


def _put(document: Request, kept: list[msgspec.Raw], out: list[_Tool]) -> None:
    """The tools, and no choice of what is not on offer."""
    choice = _CHOICE.decode(document.fields.get("tool_choice", _NOTHING))
    if not kept or (choice is not None and choice.name in {tool.name for tool in out}):
        document.drop("tool_choice")
    if kept:
        document.set("tools", kept)
    else:
        document.drop("tools")
