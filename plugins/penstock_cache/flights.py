"""One call for all who ask the same at once: the first makes it, the others wait for what comes of it."""

import asyncio

from .entry import Entry

PATIENCE = 60.0
"""Seconds for which others wait: the client of the first may have fallen asleep over its answer."""


class Flight:
    """A request under way. Others may wait for its answer."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.entry: Entry | None = None
        self.abandoned = False
        self._over = asyncio.Event()

    def tell(self, entry: Entry | None) -> None:
        """Give the answer to all who wait, if it can be used for them."""
        if entry is not None and not self._over.is_set():
            self.entry = entry
            self._over.set()

    def end(self, *, abandoned: bool) -> None:
        """For `Flights`: there will be no more news."""
        self.abandoned = abandoned and not self._over.is_set()
        self._over.set()

    async def over(self) -> None:
        """Wait for the answer, or for the news that there is none."""
        await self._over.wait()


class Flights:
    """The requests under way in this process, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    async def board(self, key: str) -> Flight | Entry | None:
        """The answer of one who is asking already, or a new flight for the caller to lead and to `land`.

        None if there was one and its answer cannot be used, or takes too long: then all go on alone, or they would wait
        in a row. Only after one whose client has left does the next of them lead.
        """
        while (flight := self._flights.get(key)) is not None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await flight.over()
            except TimeoutError:
                return None
            if not flight.abandoned:
                return flight.entry
        flight = self._flights[key] = Flight(key)
        return flight

    def land(self, flight: Flight, *, abandoned: bool = False) -> None:
        """It is over; doing so again changes nothing. `abandoned` if nobody knows what would have come of it."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            flight.end(abandoned=abandoned)
