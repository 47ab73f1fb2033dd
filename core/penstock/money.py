"""Money as whole nano-dollars, and who knows what tokens cost."""

import re
from abc import ABC, abstractmethod
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from penstock.events import Usage

DOLLAR = 1_000_000_000
"""One US dollar. Sums of money are integers of nano-dollars everywhere: exact, and small enough for a single token."""

_AMOUNT = re.compile(r"\$?\s*((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d{1,2})?)\s*(?:USD)?", re.IGNORECASE)
_MOST = 10**9 * DOLLAR  # 64 bits hold nine times as much

if TYPE_CHECKING:
    Money = int
else:

    class Money(int):
        """Nano-dollars, written in US dollars: `0.25`, `$0.25` or `500 USD`. A plain int to type checkers."""


def parse_money(value: object) -> int:
    """Nano-dollars from dollars: a number, or a text such as `$0.25` or `500 USD`. Raises ValueError."""
    found = None if isinstance(value, bool) else _AMOUNT.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"expected an amount in US dollars such as 0.25, $0.25 or 500 USD, got {str(value)!r}")
    nano = Decimal(found[1].replace(",", "")).scaleb(9)
    if nano > _MOST:
        raise ValueError("an amount cannot be more than a billion dollars")
    if nano != int(nano):
        raise ValueError(f"an amount has at most nine decimals, got {value}")
    return int(nano)


def format_money(nano: int) -> str:
    """Nano-dollars for people: `$1,250.00`, `$0.25`, `$0.00123`; three digits that count below a dollar."""
    size = abs(nano)
    places = 2 if size >= DOLLAR or not size else min(9, max(2, 12 - len(str(size))))
    text = f"{Decimal(size).scaleb(-9):,.{places}f}"
    whole, _, cents = text.partition(".")
    return f"{'-' if nano < 0 else ''}${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


class Cost(msgspec.Struct, frozen=True):
    """What an answer costs, in nano-dollars; `known` is False when another price stood in for the right one.

    That is a default for a model without a price, or the standard price for a way of processing that has none.
    `saved` is how much more the same tokens would have cost without a prompt cache: below zero when writing to it
    cost more than reading from it has brought.
    """

    total: int = 0
    saved: int = 0
    known: bool = True


class Prices(ABC):
    """Knows what tokens cost."""

    @abstractmethod
    def cost(self, upstream: str, model: str, usage: Usage, *, served: str = "") -> Cost:
        """The cost of an answer of `upstream` that was asked for `model`; it never fails, and is quick.

        `served` is the model that answered, as the upstream calls it: it counts when `model` has no price.
        """
