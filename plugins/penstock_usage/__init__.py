"""Keep a ledger: who used which model, how many tokens, and what it cost."""

import asyncio

from penstock import Database, DatabaseUnavailable, Duration, Exchange, Gateway, Plugin, hookimpl

__all__ = ["Ledger"]

_PATIENCE = 2.0  # seconds for which the start waits for the database
_SHORTEST = 7 * 86400.0  # seconds for which records are kept at least


class Ledger(Plugin):
    """Keep a record of every exchange, the failed ones too: who, which models, tokens and cost; never what was said.

    Records go to the database of gateway.yaml, by way of files in the folder `journal`, relative to the pipeline file:
    no request waits for the database, and no record is lost while it is away. Put this step below `auth`, so that
    strangers leave nothing behind, and above the steps that may refuse or answer.

    Records are kept for `keep`, a year unless you say otherwise, at least seven days, and with 0 for ever. The sums of
    each day stay for ever.
    """

    if_broken = "skip"

    journal: str = "../data/usage"
    keep: Duration = 365 * 86400.0

    def __post_init__(self) -> None:
        if not self.journal:
            raise ValueError("`journal` must be a folder")
        if 0 < self.keep < _SHORTEST:
            raise ValueError("`keep` must be 7d or more: journals that wait for the database hold records, too")

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        try:
            from .keeper import Keeper
            from .purge import Purge
            from .tables import SCHEMA
        except ModuleNotFoundError as error:
            raise ValueError(f"a ledger needs {error.name}: pip install 'penstock[database]'") from None
        database = gateway.database(SCHEMA)
        try:
            async with asyncio.timeout(_PATIENCE):
                await database.open()
        except (DatabaseUnavailable, TimeoutError) as error:
            self.log.warning("the ledger waits for its database: %s", str(error) or "it did not answer in time")
        try:
            self._keeper = Keeper(self.folder / self.journal, database, self.log, self.clock, self.keep)
        except OSError as error:
            raise ValueError(f"`journal`: cannot write in {self.folder / self.journal}: {error.strerror}") from None
        self._serve(gateway, database)
        gateway.spawn(self._keeper.keep(), f"{self.step} to the journal")
        gateway.spawn(self._keeper.carry(), f"{self.step} to the database")
        if self.keep:
            gateway.spawn(Purge(database, gateway.pipeline, self.keep, self.log).run(), f"{self.step} of long ago")

    def _serve(self, gateway: Gateway, database: Database) -> None:
        """What the ledger says at `/-/usage` and `/-/analytics`."""
        from .endpoints import Endpoints

        endpoints = Endpoints(database)
        gateway.add_route("usage", endpoints.usage, shared=True)
        gateway.add_route("analytics", endpoints.analytics, shared=True)

    @hookimpl
    async def shutdown(self, gateway: Gateway) -> None:
        await self._keeper.close()

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        self._keeper.begin(exchange)

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None:
        self._keeper.end(exchange)
