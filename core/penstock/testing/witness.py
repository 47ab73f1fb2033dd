"""The first step of a pipeline under test: it lets the test see each exchange, once all other steps are through."""

import asyncio

from penstock import Exchange, Plugin, hookimpl

MARK = "x-penstock-ask"
"""The header by which an exchange is told from others that run at the same time."""


class Ledger:
    """The questions of a test that are under way, by their mark."""

    def __init__(self) -> None:
        self._begun: dict[str, Exchange] = {}
        self._done: dict[str, asyncio.Event] = {}
        self._number = 0

    def open(self) -> str:
        """A mark for another question."""
        self._number += 1
        mark = str(self._number)
        self._done[mark] = asyncio.Event()
        return mark

    def begin(self, exchange: Exchange) -> None:
        """For the witness: an exchange has come to the first step."""
        if (mark := exchange.headers.get(MARK, "")) in self._done:
            self._begun[mark] = exchange

    def end(self, exchange: Exchange) -> None:
        """For the witness: every step has completed it."""
        if (done := self._done.get(exchange.headers.get(MARK, ""))) is not None:
            done.set()

    async def close(self, mark: str, patience: float) -> Exchange | None:
        """The question's exchange once it is completed; None if it came to none. Raises TimeoutError."""
        exchange = self._begun.pop(mark, None)
        if exchange is not None:
            try:
                async with asyncio.timeout(patience):
                    await self._done[mark].wait()
            except TimeoutError:
                message = f"after {patience:g} s the on_complete of some step has not come to its end"
                raise TimeoutError(message) from None
        del self._done[mark]
        return exchange


class Witness(Plugin):
    """Watch what happens to the exchanges of clients, for tests. Hears no events and changes nothing."""

    def __post_init__(self) -> None:
        self.ledger: Ledger | None = None

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        if self.ledger is not None and not exchange.parent:
            self.ledger.begin(exchange)

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None:
        if self.ledger is not None and not exchange.parent:
            self.ledger.end(exchange)
