"""What the ledger can be asked: by which name, for which days, and of whom."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from penstock import parse_duration

BY = ("day", "team", "user", "key", "model", "upstream", "pipeline", "session", "agent", "mode")
FILTERS = ("team", "user", "key", "model", "upstream", "pipeline", "session")


class Question(NamedTuple):
    """What is asked of the ledger: days from `since` to `until`, both included, and only what fits all `filters`."""

    since: str
    until: str
    filters: Mapping[str, str] = {}

    @property
    def days(self) -> list[str]:
        """All days asked for, in order."""
        first, last = date.fromisoformat(self.since), date.fromisoformat(self.until)
        return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def question(since: str, until: str, filters: Mapping[str, str], now: datetime | None = None) -> Question:
    """`since` and `until` are days (`2026-11-21`) or reach back so long from now (`7d`). Raises ValueError."""
    moment = now or datetime.now(UTC)
    asked = Question(_day(since, moment), _day(until, moment), {k: v for k, v in filters.items() if v})
    if asked.since > asked.until:
        raise ValueError(f"{asked.since} is later than {asked.until}")
    if len(asked.days) > 3660:
        raise ValueError("at most ten years can be asked for")
    return asked


def _day(text: str, now: datetime) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    try:
        return (now - timedelta(seconds=parse_duration(text))).date().isoformat()
    except (ValueError, OverflowError):
        raise ValueError(
            f"expected a day such as 2026-11-21, or a time back from now such as 7d, got {text!r}"
        ) from None
