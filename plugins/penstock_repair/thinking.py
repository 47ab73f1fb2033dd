"""A budget for thinking that leaves room for an answer."""

from collections import Counter

from msgspec.structs import replace

from penstock import Prompt, ThinkingControl

LEAST = 1024
"""The smallest budget that there is, in tokens (Anthropic's page on extended thinking)."""


def fitted(prompt: Prompt, repairs: Counter[str], interleaved: bool) -> ThinkingControl:
    """The prompt's thinking, the same object if it fits. `interleaved` budgets are for more than one answer."""
    control = prompt.thinking
    if control.mode != "on" or control.budget is None or not prompt.max_tokens:  # 0 only fills the provider's cache
        return control
    most = prompt.max_tokens - 1
    budget = max(LEAST, control.budget if interleaved and prompt.tools else min(control.budget, most))
    if budget == control.budget:
        return control
    repairs["thinking_budget"] += 1
    return replace(control, budget=budget) if budget <= most else ThinkingControl("off", effort=control.effort)
