"""How much to think, in the shape that a model of this format accepts."""

from typing import Any

import msgspec

from penstock import Request, ThinkingControl

from ..efforts import nearest, wanted_budget, wanted_effort
from .prompt import read_thinking
from .quirks import Quirks

LEAST_BUDGET = 1024
"""Tokens; the format knows no smaller budget."""


class _Fields(msgspec.Struct):
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None


class _Block(msgspec.Struct):
    type: str = ""


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[_Block] | None = None


class _Turns(msgspec.Struct):
    messages: list[msgspec.Raw] = []


class _Management(msgspec.Struct):
    edits: list[dict[str, Any]] = []


_FIELDS = msgspec.json.Decoder(_Fields)
_TURNS = msgspec.json.Decoder(_Turns)
_TURN = msgspec.json.Decoder(_Turn)
_MANAGEMENT = msgspec.json.Decoder(_Management)
_THOUGHT = ("thinking", "redacted_thinking")


def shape_thinking(document: Request, quirks: Quirks, most: int) -> None:
    """Write `thinking` and `output_config` anew; `most` tokens can be written, 0 for unknown."""
    body = document.body
    control, fields = read_thinking(body), _FIELDS.decode(body)
    if quirks.thinking != "as_is":
        _put(document, "thinking", fields.thinking, _thinking(control, quirks, most))
    config = {name: value for name, value in (fields.output_config or {}).items() if name != "effort"}
    effort = _effort(control, quirks)
    _put(document, "output_config", fields.output_config, config | ({"effort": effort} if effort else {}))


def may_need_rest(document: Request) -> bool:
    """Whether the request gives a budget for thinking, as to models before Claude 4.6."""
    return b'"enabled"' in bytes(document.fields.get("thinking", b""))


def rest_in_loop(document: Request) -> None:
    """Switch thinking off for a tool loop that did not begin with thinking, because another model has begun it.

    Models with a budget for thinking refuse such a loop ("Expected `thinking` or `redacted_thinking`, but found
    `tool_use`") and advise just that. The edits of the context that are about thinking go with it.
    """
    begun = _begin_of_loop(_TURNS.decode(document.body).messages)
    if begun is None or begun in _THOUGHT:
        return
    document.set("thinking", {"type": "disabled"})
    if managed := document.fields.get("context_management"):
        edits = _MANAGEMENT.decode(managed).edits
        document.set("context_management", {"edits": [e for e in edits if "thinking" not in str(e.get("type"))]})


def _begin_of_loop(turns: list[msgspec.Raw]) -> str | None:
    """The type of the block with which the tool loop under way has begun, None if there is no loop."""
    begun = None
    for raw in reversed(turns):
        turn = _TURN.decode(raw)
        types = [block.type for block in turn.content] if isinstance(turn.content, list) else ["text"]
        if turn.role == "assistant":
            begun = types[0] if types else None
        elif turn.role == "user" and "tool_result" not in types:
            break
    return begun


def _thinking(control: ThinkingControl, quirks: Quirks, most: int) -> dict[str, Any]:
    if quirks.thinking == "none" or control.mode == "unset":
        return {}
    if control.mode == "off":
        return {"type": "disabled"}
    if quirks.thinking == "adaptive":
        return {"type": "adaptive"}
    budget = _budget(control, most)
    return {"type": "enabled", "budget_tokens": budget} if budget >= LEAST_BUDGET else {"type": "disabled"}


def _budget(control: ThinkingControl, most: int) -> int:
    """Smaller than what can be written; half of it, if the client has not said how much of it is for thinking."""
    wanted = wanted_budget(control)
    if not most:
        return wanted
    return min(wanted, most - 1 if control.budget else most // 2)


def _effort(control: ThinkingControl, quirks: Quirks) -> str:
    """The effort to name, "" for none. Where thinking has no switch the least effort is as near to off as one gets."""
    if not quirks.efforts or (control.mode == "unset" and not control.effort):
        return ""
    if control.mode == "off":
        return quirks.efforts[0] if quirks.thinking == "none" else ""
    return nearest(wanted_effort(control), quirks.efforts)


def _put(document: Request, name: str, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """Write a field if it changes; an empty one is dropped."""
    if not new:
        document.drop(name)
    elif new != old:
        document.set(name, new)
