"""How hard to think, on one scale: every vendor's words for it, and the nearest one that a model accepts."""

from collections.abc import Mapping
from typing import Literal

from penstock import ThinkingControl

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""All efforts that any vendor accepts, ascending."""

_BUDGETS: tuple[tuple[int, Effort], ...] = ((4096, "low"), (16384, "medium"))  # tokens; above: high
_BUDGET_OF: Mapping[str, int] = {
    "minimal": 1024,
    "low": 4096,
    "medium": 16384,
    "high": 32768,
    "xhigh": 65536,
    "max": 65536,
}
_DEFAULT: Effort = "high"  # what an agent that asks for thinking without saying how much gets from Anthropic


def ascending(efforts: tuple[Effort, ...]) -> None:
    """Raises ValueError unless the efforts ascend, each of them once."""
    if list(efforts) != sorted(set(efforts), key=EFFORTS.index):
        raise ValueError(f"efforts must ascend, without repeats, in the order {', '.join(EFFORTS)}")


def wanted_effort(control: ThinkingControl) -> str:
    """The effort a client asks for, told from its budget if it names none; possibly a word that nobody knows."""
    if control.effort:
        return control.effort
    if control.budget is None:
        return _DEFAULT
    return next((effort for most, effort in _BUDGETS if control.budget <= most), "high")


def wanted_budget(control: ThinkingControl) -> int:
    """The budget a client asks for, told from its effort if it names none, in tokens."""
    effort = wanted_effort(control)
    return control.budget or _BUDGET_OF.get(effort, _BUDGET_OF[_DEFAULT])


def nearest(wanted: str, efforts: tuple[Effort, ...]) -> Effort:
    """The accepted effort next to the wanted one, the higher of two; `none` only if there is nothing else."""
    rank = EFFORTS.index(wanted) if wanted in EFFORTS else EFFORTS.index(_DEFAULT)
    accepted: list[Effort] = [effort for effort in efforts if effort != "none"] or list(efforts)
    return min(reversed(accepted), key=lambda effort: abs(EFFORTS.index(effort) - rank))
