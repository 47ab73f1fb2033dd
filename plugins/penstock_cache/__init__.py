"""Give an answer that is known already: exact answers from the store, and one call for many that ask the same."""

from typing import Literal

from penstock import (
    BlockStart,
    BlockStop,
    Citation,
    Duration,
    Exchange,
    Finish,
    Gateway,
    Kind,
    Opaque,
    Plugin,
    Response,
    Signature,
    Start,
    StashKey,
    Text,
    Thinking,
    ToolInput,
    Usage,
    hookimpl,
)

from .endpoint import Desk
from .entry import Entry, entry_of, replay
from .flights import Flight, Flights
from .keys import Scope, name_of
from .marks import mark
from .recording import Recording
from .shelf import Shelf
from .stats import Stats
from .wishes import wish_of

__all__ = ["Cache"]

_Part = Start | BlockStart | Text | Thinking | Signature | ToolInput | Citation | BlockStop | Usage | Finish | Opaque


class Visit:
    """What the cache has to do with one exchange."""

    def __init__(self, result: Literal["hit", "miss", "bypass"], model: str, key: str = "") -> None:
        self.result = result
        self.model = model
        self.key = key
        self.recording: Recording | None = None
        self.flight: Flight | None = None
        self.headers: dict[str, str] = {}


_VISIT = StashKey[Visit]()


class Cache(Plugin):
    """Answer a request that has been asked before, word for word, from the store; `x-cache` says hit, miss or bypass.

    Kept for `ttl` are complete answers without an error, of at most `largest` bytes, and those with tool calls only if
    `tool_calls` says so. Whom an answer is for is the `scope`: a `team` (for keys without one, the key), a `key`, or
    the whole `pipeline`. `only` names kinds of requests, such as `title` or `topic`, and leaves the rest alone.
    Requests that are equal and under way at once are asked once. A store that is away counts as empty.

    `breakpoints: true` has the provider cache the prompts of clients that do not ask for it themselves.

    `GET <path>/-/<step>` tells hits, and the tokens and money saved; `GET <path>/-/<step>/entries` lists what is kept;
    `DELETE <path>/-/<step>` forgets it. Everybody sees what is theirs, admins more, and only admins may forget.
    """

    uses = frozenset({"principal"})

    ttl: Duration = 3600.0
    scope: Scope = "team"
    only: list[Kind] | None = None
    tool_calls: bool = False
    largest: int = 1_000_000
    breakpoints: bool = False

    def __post_init__(self) -> None:
        if self.ttl <= 0:
            raise ValueError("`ttl` must be above 0; `enabled: false` switches the step off")
        if self.largest < 1:
            raise ValueError("`largest` must be at least 1 byte; `only: []` keeps no answers")

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self._flights: Flights = Flights()
        self._shelf: Shelf = Shelf(self.store, self.ttl, self.clock, self.log)
        self._stats: Stats = Stats(self.store, self.ttl)
        gateway.spawn(self._stats.write_often(), f"counts of {self.step}")
        Desk(self._shelf, self._stats).serve(gateway, self.step)

    @hookimpl
    async def shutdown(self, gateway: Gateway) -> None:
        await self._stats.write()

    @hookimpl
    async def on_request(self, exchange: Exchange) -> Response | None:
        if exchange.operation != "generate":
            return None
        response = await self._known(exchange)
        if response is None and self.breakpoints:
            mark(exchange.request)
        return response

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        if (visit := exchange.stash.get(_VISIT)) is not None:
            visit.headers = {name: text for name, text in response.headers.items() if name.startswith("x-penstock-")}
            response.headers["x-cache"] = visit.result

    @hookimpl
    def on_event(self, exchange: Exchange, event: _Part) -> None:
        visit = exchange.stash.get(_VISIT, None)
        if visit is None or visit.recording is None:
            return
        visit.recording.add(event)
        if visit.recording.spoiled:
            visit.recording = None
            if visit.flight is not None:
                self._flights.land(visit.flight)

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        visit = exchange.stash.get(_VISIT)
        if visit is None:
            return
        try:
            await self._keep(exchange, visit)
        finally:  # whatever breaks, nobody waits for ever
            if visit.flight is not None:
                self._flights.land(visit.flight, abandoned=exchange.outcome == "cancelled")

    async def _keep(self, exchange: Exchange, visit: Visit) -> None:
        """Count an exchange, and keep its answer if it is one to be given again."""
        entry = entry_of(exchange, visit.recording, visit.model, visit.headers) if visit.recording else None
        if entry is not None and not entry.fits(self.largest):
            entry = None
        self._stats.count_exchange(exchange, visit.result, kept=entry is not None)
        if visit.flight is not None:
            visit.flight.tell(entry)
        if entry is not None:
            await self._shelf.keep(visit.key, entry)

    # ------------------------------------------------------------ known answers

    async def _known(self, exchange: Exchange) -> Response | None:
        """The answer, if it is known; else its exchange is prepared to make it known."""
        wish = wish_of(exchange.headers)
        key = None if wish == "bypass" or not self._concerns(exchange) else name_of(exchange, self.scope)
        exchange.stash[_VISIT] = visit = Visit("miss" if key else "bypass", exchange.request.model, key or "")
        if not key:
            exchange.mute(self.step)
            return None
        entry = None if wish == "refresh" else await self._find(key, visit)
        if entry is None:
            visit.recording = Recording(self.largest, tool_calls=self.tool_calls)
            return None
        visit.result = "hit"
        self._stats.count_hit(exchange, key, entry)
        return replay(exchange, entry)

    def _concerns(self, exchange: Exchange) -> bool:
        """Whether this step may answer. A request for no tokens is there to reach the provider, and fill its cache."""
        return (self.only is None or exchange.kind in self.only) and exchange.request.max_tokens != 0

    async def _find(self, key: str, visit: Visit) -> Entry | None:
        """From whoever is asking the same just now, or from the store. The first to ask looks there for all."""
        boarded = await self._flights.board(key)
        if not isinstance(boarded, Flight):
            return boarded
        visit.flight = boarded
        if (entry := await self._shelf.find(key)) is not None:
            boarded.tell(entry)
            self._flights.land(boarded)
        return entry
