"""Why a request is refused, and what its client is told."""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock import RateLimited

_PATIENCE = 600.0
"""Seconds. Claude Code obeys waits of up to a minute, and ten of them (claude-code-contract.md 6.6, 6.7); beyond that
its user should rather read the reason at once than after ten minutes."""


class Refusal(NamedTuple):
    """The limit in words, the seconds until there is room (None for never), and those until it is worth a look."""

    limit: str
    wait: float | None
    pause: float

    def error(self, whose: str) -> RateLimited:
        """The error for the client: which limit, whose, and when to come again."""
        seconds = None if self.wait is None else math.ceil(self.wait)
        when = "it does not refill: start a new one" if seconds is None else f"try again in {duration(seconds)}"
        return RateLimited(
            f"limit reached: {self.limit} for {whose}; {when}",
            retry_after=seconds,
            should_retry=False if seconds is None or seconds > _PATIENCE else None,
        )


def duration(seconds: int) -> str:
    """Seconds for people: the two largest units, rounded up: `45 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return _two(seconds, 60, "min", "s")
    if seconds < 2 * 86400:
        return _two(math.ceil(seconds / 60), 60, "h", "min")
    return _two(math.ceil(seconds / 3600), 24, "d", "h")


def _two(amount: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(amount, size)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
