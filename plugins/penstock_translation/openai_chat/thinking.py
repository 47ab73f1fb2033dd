"""How much the model should think, in the words of each vendor."""

from typing import Any

from penstock import ThinkingControl
from penstock_translation.openai_chat.quirks import EFFORTS, ChatQuirks, Effort

_USUAL: tuple[Effort, ...] = ("low", "medium", "high")
_BUDGETS: tuple[tuple[int, Effort], ...] = ((4096, "low"), (16384, "medium"))  # above: high
_DEFAULT: Effort = "high"  # what an agent that asks for thinking without saying how much gets from Anthropic


def thinking_fields(control: ThinkingControl, quirks: ChatQuirks) -> dict[str, Any]:
    """The parameters that ask for thinking, none where the client did not care or the upstream has no switch."""
    if quirks.reasoning == "none" or (control.mode == "unset" and not control.effort):
        return {}
    off = control.mode == "off"
    if quirks.reasoning == "effort":
        efforts = quirks.efforts or _USUAL
        # Without a switch the least effort is as near to "off" as one can get.
        return {"reasoning_effort": efforts[0] if off else _nearest(_wanted(control), efforts)}
    if quirks.reasoning == "effort_openrouter":
        effort = _nearest(_wanted(control), quirks.efforts or _USUAL)
        return {"reasoning": {"enabled": False} if off else {"effort": effort}}
    fields = _switch(control, quirks)
    if quirks.efforts and not off:
        fields["reasoning_effort"] = _nearest(_wanted(control), quirks.efforts)
    return fields


def _switch(control: ThinkingControl, quirks: ChatQuirks) -> dict[str, Any]:
    if control.mode == "unset":
        return {}
    on = control.mode != "off"
    if quirks.reasoning == "thinking_type":
        return {"thinking": {"type": "enabled" if on else "disabled"}}
    budget = {"thinking_budget": control.budget} if on and control.budget else {}
    return {"enable_thinking": on, **budget}


def _wanted(control: ThinkingControl) -> str:
    if control.effort:
        return control.effort
    if control.budget is None:
        return _DEFAULT
    return next((effort for most, effort in _BUDGETS if control.budget <= most), "high")


def _nearest(wanted: str, efforts: tuple[Effort, ...]) -> Effort:
    """The accepted effort next to the wanted one, the higher of two; `none` only if there is nothing else."""
    rank = EFFORTS.index(wanted) if wanted in EFFORTS else EFFORTS.index(_DEFAULT)
    accepted: list[Effort] = [effort for effort in efforts if effort != "none"] or list(efforts)
    return min(reversed(accepted), key=lambda effort: abs(EFFORTS.index(effort) - rank))
