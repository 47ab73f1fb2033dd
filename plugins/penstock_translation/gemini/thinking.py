"""How much the model should think, as a budget or as a level."""

from typing import Any

from penstock import ThinkingControl

from ..efforts import nearest, wanted_budget, wanted_effort
from .quirks import GeminiQuirks

_AUTOMATIC = -1


def thinking_config(control: ThinkingControl, quirks: GeminiQuirks) -> dict[str, Any]:
    """The `thinkingConfig`, empty where the client did not care or the model has no switch."""
    if quirks.thinking == "none" or (control.mode == "unset" and not control.effort):
        return {}
    if quirks.thinking == "budget":
        config: dict[str, Any] = {"thinkingBudget": _budget(control, quirks)}
    else:
        config = {"thinkingLevel": _level(control, quirks).upper()}
    return config | ({"includeThoughts": True} if control.mode in ("on", "adaptive") else {})


def _level(control: ThinkingControl, quirks: GeminiQuirks) -> str:
    return quirks.levels[0] if control.mode == "off" else nearest(wanted_effort(control), quirks.levels)


def _budget(control: ThinkingControl, quirks: GeminiQuirks) -> int:
    if control.mode == "off":
        return 0 if quirks.thinking_off else quirks.budget_min
    if control.budget is None and not control.effort:
        return _AUTOMATIC
    return max(quirks.budget_min, min(wanted_budget(control), quirks.budget_max))
