"""How a budget is told: to its owner in a refusal, to an agent in headers, to an operator in a notice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock import OverBudget, format_money

from .purse import State
from .windows import Calendar, Span

UNIFIED = "anthropic-ratelimit-unified-"
"""How the headers begin by which Claude Code shows a budget (claude-code-contract.md 8.8)."""


def reset(span: Span, calendar: Calendar) -> str:
    """When a budget is whole again."""
    return "it does not reset" if span.end is None else f"it resets at {calendar.local(span.end):%Y-%m-%d %H:%M %Z}"


def over_budget(state: State, calendar: Calendar, advice: str, *, unified: bool) -> OverBudget:
    """The refusal, with the headers of Claude Code if it is to be `unified`.

    Those that would have it show a sentence of its own are left out.
    """
    account = state.account
    window = "" if account.window == "total" else f"{account.window} "
    budget = f"the {window}budget of {format_money(account.limit)} for {account.subject.words} is spent"
    left = calendar.left(account.span)
    return OverBudget(
        f"{budget}; {reset(account.span, calendar)}; {advice}",
        retry_after=None if left is None else math.ceil(left),
        headers={f"{UNIFIED}status": "rejected", **_resets(account.span)} if unified else None,
    )


def headers(state: State, thresholds: Sequence[float]) -> dict[str, str]:
    """What an agent shows of a budget that has passed the first of the thresholds and is not yet spent."""
    told = {
        "status": "allowed_warning",
        "representative-claim": "overage",
        "overage-status": "allowed_warning",
        "overage-utilization": f"{min(state.share, 1.0):.2f}",
        "overage-surpassed-threshold": f"{max(each for each in thresholds if state.share >= each):g}",
    }
    return {f"{UNIFIED}{name}": value for name, value in told.items()} | _resets(state.account.span)


def _resets(span: Span) -> dict[str, str]:
    if span.end is None:
        return {}
    return {f"{UNIFIED}{name}": str(math.ceil(span.end)) for name in ("reset", "overage-reset")}


def notice(state: State, calendar: Calendar, consequence: str) -> str:
    """What an operator is told of a budget."""
    account = state.account
    amounts = f"{format_money(round(state.spent))} of {format_money(account.limit)}"
    return (
        f"{account.window} budget for {account.subject.words}: {amounts} spent ({state.share:.0%});"
        f" {reset(account.span, calendar)}{consequence}"
    )
