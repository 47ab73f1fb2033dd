"""The step's endpoint: how much of each budget is spent and left, for whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

from penstock import DOLLAR, Answer, EndpointRequest, Handler, Overloaded, Per, StoreUnavailable, subject_asked

from .purse import Purse, State
from .windows import Calendar


def endpoint(purse: Purse, calendar: Calendar, step: str, per: Per, only: Sequence[str]) -> Handler:
    """The handler of a step that counts by `per`, and only the models that `only` names."""

    async def tell(asked: EndpointRequest) -> Answer:
        subject = subject_asked(asked, per)
        try:
            budgets = [_line(state, calendar) for state in await purse.states(subject)]
        except StoreUnavailable as error:
            raise Overloaded("the gateway cannot look up its budgets at the moment", detail=str(error)) from None
        return Answer.json({"step": step, "per": per, "subject": subject.words, "only": only, "budgets": budgets})

    return tell


def _line(state: State, calendar: Calendar) -> dict[str, object]:
    """One budget; what is left is below 0 when the last call has cost more than there was."""
    account, spent = state.account, round(state.spent)
    end, seconds = account.span.end, calendar.left(account.span)
    return {
        "window": account.window,
        "limit_usd": account.limit / DOLLAR,
        "spent_usd": spent / DOLLAR,
        "left_usd": (account.limit - spent) / DOLLAR,
        "resets_at": None if end is None else calendar.local(end).isoformat(),
        "resets_in_seconds": None if seconds is None else round(seconds, 1),
    }
