"""How much the model should think, in the words of each vendor."""

from typing import Any

from penstock import ThinkingControl

from ..efforts import Effort, nearest, wanted_effort
from .quirks import ChatQuirks

_USUAL: tuple[Effort, ...] = ("low", "medium", "high")


def thinking_fields(control: ThinkingControl, quirks: ChatQuirks) -> dict[str, Any]:
    """The parameters that ask for thinking, none where the client did not care or the upstream has no switch."""
    if quirks.reasoning == "none" or (control.mode == "unset" and not control.effort):
        return {}
    off = control.mode == "off"
    if quirks.reasoning == "effort":
        efforts = quirks.efforts or _USUAL
        # Without a switch the least effort is as near to "off" as one can get.
        return {"reasoning_effort": efforts[0] if off else nearest(wanted_effort(control), efforts)}
    if quirks.reasoning == "effort_openrouter":
        effort = nearest(wanted_effort(control), quirks.efforts or _USUAL)
        return {"reasoning": {"enabled": False} if off else {"effort": effort}}
    fields = _switch(control, quirks)
    if quirks.efforts and not off:
        fields["reasoning_effort"] = nearest(wanted_effort(control), quirks.efforts)
    return fields


def asks_to_think(control: ThinkingControl, quirks: ChatQuirks) -> bool:
    """Whether a request will ask the model to think."""
    return quirks.reasoning != "none" and control.mode != "off" and (control.mode != "unset" or bool(control.effort))


def can_switch_off(quirks: ChatQuirks) -> bool:
    """Whether thinking can be switched off."""
    return quirks.reasoning not in ("none", "effort") or quirks.efforts[:1] == ("none",)


def _switch(control: ThinkingControl, quirks: ChatQuirks) -> dict[str, Any]:
    if control.mode == "unset":
        return {}
    on = control.mode != "off"
    if quirks.reasoning == "thinking_type":
        return {"thinking": {"type": "enabled" if on else "disabled"}}
    budget = {"thinking_budget": control.budget} if on and control.budget else {}
    return {"enable_thinking": on, **budget}
