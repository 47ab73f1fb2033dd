"""What the exchanges of one pipeline have come to, counted since its generation began."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from penstock.exchange import Exchange


class Requests(NamedTuple):
    """A sort of exchange: what was asked for, how it ended, and the HTTP status, 0 if the client left before."""

    operation: str
    outcome: str
    status: int


class Tries:
    """What came of the attempts at one upstream. `seconds` are until the first event, or the failure."""

    __slots__ = ("attempts", "failures", "seconds")

    def __init__(self) -> None:
        self.attempts = 0
        self.failures = 0
        self.seconds = 0.0


class Tally:
    """Counts exchanges as they come and go."""

    def __init__(self) -> None:
        self.since = datetime.now(UTC)
        self.open = 0
        self.requests: Counter[Requests] = Counter()
        self.upstreams: dict[str, Tries] = {}

    def enter(self) -> None:
        """An exchange begins."""
        self.open += 1

    def leave(self, exchange: Exchange) -> None:
        """An exchange has ended, its steps completed."""
        self.open -= 1
        self.requests[Requests(exchange.operation, exchange.outcome, exchange.status)] += 1
        for attempt in exchange.attempts:
            tries = self.upstreams.setdefault(attempt.target.upstream, Tries())
            tries.attempts += 1
            tries.failures += attempt.error is not None
            tries.seconds += attempt.seconds
