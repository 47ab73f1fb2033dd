"""Keep a ledger: who used which model, how many tokens, and what it cost."""

import asyncio
from contextlib import suppress

from penstock import Database, DatabaseUnavailable, Exchange, Gateway, Plugin, hookimpl

__all__ = ["Ledger"]

_PATIENCE = 2.0  # seconds for which the start waits for the database


class Ledger(Plugin):
    """Keep a record of every exchange, the failed ones too: who, which models, tokens and cost; never what was said.

    Records go to the database of gateway.yaml, by way of files in the folder `journal`, relative to the pipeline file:
    no request waits for the database, and no record is lost while it is away. Put this step below `auth`, so that
    strangers leave nothing behind, and above the steps that may refuse or answer.
    """

    journal: str = "../data/usage"

    def __post_init__(self) -> None:
        if not self.journal:
            raise ValueError("`journal` must be a folder")

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        try:
            from penstock_usage.keeper import Keeper
            from penstock_usage.tables import SCHEMA
        except ModuleNotFoundError as error:
            raise ValueError(f"a ledger needs {error.name}: pip install 'penstock[database]'") from None
        database = gateway.database(SCHEMA)
        try:
            async with asyncio.timeout(_PATIENCE):
                await database.open()
        except (DatabaseUnavailable, TimeoutError) as error:
            self.log.warning("the ledger waits for its database: %s", str(error) or "it did not answer in time")
        try:
            self._keeper = Keeper(self.folder / self.journal, database, self.log, self.clock)
        except OSError as error:
            raise ValueError(f"`journal`: cannot write in {self.folder / self.journal}: {error.strerror}") from None
        self._serve(gateway, database)
        gateway.spawn(self._keeper.keep(), f"{self.step} to the journal")
        gateway.spawn(self._keeper.carry(), f"{self.step} to the database")

    def _serve(self, gateway: Gateway, database: Database) -> None:
        """What the ledger says at `/-/usage` and `/-/analytics`."""
        from penstock_usage.endpoints import Endpoints

        endpoints = Endpoints(database)
        with suppress(ValueError):  # another team's instance of this step, which says the same, was here before
            gateway.add_route("usage", endpoints.usage)
            gateway.add_route("analytics", endpoints.analytics)

    @hookimpl
    async def shutdown(self, gateway: Gateway) -> None:
        await self._keeper.close()

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        self._keeper.begin(exchange)

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None:
        self._keeper.end(exchange)
