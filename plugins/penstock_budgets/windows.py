"""Hours, days, weeks and months of a calendar: which one it is now, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

Window = Literal["total", "monthly", "weekly", "daily", "hourly"]
WINDOWS: tuple[Window, ...] = ("total", "monthly", "weekly", "daily", "hourly")
"""The longest first."""


class Span(NamedTuple):
    """One hour, day, week or month. `name` tells it from the others; `end` is in seconds since 1970, None for never."""

    name: str
    end: float | None


FOREVER = Span("total", None)


class Calendar:
    """Knows the current spans of a time zone."""

    def __init__(self, zone: tzinfo, now: Callable[[], float]) -> None:
        """`now` gives seconds since 1970."""
        self.zone = zone
        self.now = now
        self._spans: dict[Window, tuple[float, float, Span]] = {}

    def span(self, window: Window) -> Span:
        """The one it is now."""
        if window == "total":
            return FOREVER
        now = self.now()
        start, end, span = self._spans.get(window, (0.0, 0.0, FOREVER))
        if not start <= now < end:
            begins, ends = _around(datetime.fromtimestamp(now, self.zone), window)
            start, end = begins.timestamp(), ends.timestamp()
            span = Span(f"{window} {begins.astimezone(UTC):%Y-%m-%dT%H:%M}", end)
            self._spans[window] = start, end, span
        return span

    def left(self, span: Span) -> float | None:
        """Seconds until a span ends, None for never."""
        return None if span.end is None else max(0.0, span.end - self.now())

    def local(self, moment: float) -> datetime:
        """A moment on the clocks of the time zone."""
        return datetime.fromtimestamp(moment, self.zone)


def _around(moment: datetime, window: Window) -> tuple[datetime, datetime]:
    """First and last moment of the hour, day, week or month; clocks that are changed make them longer or shorter."""
    if window == "hourly":
        begins = moment.replace(minute=0, second=0, microsecond=0)
        return begins, begins.astimezone(UTC) + timedelta(hours=1)  # an hour may be there twice on local clocks
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if window == "daily":
        return midnight, midnight + timedelta(days=1)
    if window == "weekly":
        monday = midnight - timedelta(days=moment.weekday())
        return monday, monday + timedelta(days=7)
    first = midnight.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)
