"""The step's endpoints: what it has counted, what it keeps, and how to have it forget; to each what is theirs."""

import time
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase

import msgspec

from penstock import (
    Answer,
    EndpointRequest,
    Event,
    Forbidden,
    Gateway,
    Handler,
    InvalidRequest,
    NotFound,
    Overloaded,
    Principal,
    StoreUnavailable,
)

from .keys import begin_with_own, begins_with_team, parts_of
from .shelf import Shelf
from .stats import Stats

_SHOWN = 100  # entries, if nobody says how many
_MOST = 1000
_WHAT = "what the cache keeps for others is for admins, and for those of a team only within their team"

Work = Callable[[EndpointRequest], Awaitable[dict[str, object]]]


class Line(msgspec.Struct, kw_only=True):
    """What is told of one answer; what it says only to admins who ask for it."""

    id: str
    model: str
    scope: str
    team: str
    owner: str
    age_seconds: float
    ttl_seconds: float
    size_bytes: int
    hits: int
    events: list[Event] | msgspec.UnsetType = msgspec.UNSET


class Desk:
    """What can be asked of the cache over HTTP.

    An admin sees the answers of all, the admin of a team those of the team and its members, and everybody else those
    that they might get themselves. Where nobody says who they are only this machine is served, and sees all.
    """

    def __init__(self, shelf: Shelf, stats: Stats) -> None:
        self._shelf = shelf
        self._stats = stats

    def serve(self, gateway: Gateway, step: str) -> None:
        """Serve all of it under the step's name. All instances of the step have the same store."""
        gateway.add_route(step, _handler(self._see, {"team"}), shared=True)
        gateway.add_route(step, _handler(self._clear, {"team", "model", "id"}), ("DELETE",), shared=True)
        entries = _handler(self._list, {"team", "model", "id", "limit", "contents"})
        gateway.add_route(f"{step}/entries", entries, shared=True)

    async def _see(self, asked: EndpointRequest) -> dict[str, object]:
        await self._stats.write()
        team, who = _team(asked), asked.principal
        return await (self._stats.whole_report(teams=who is not None) if team is None else self._stats.report(team))

    async def _list(self, asked: EndpointRequest) -> dict[str, object]:
        await self._stats.write()
        names, more = await self._names(asked, _limit(asked.query))
        lines = [line for name in names if (line := await self._line(name)) is not None]
        lines.sort(key=lambda line: line.age_seconds)
        if asked.query.get("contents") == "true":
            await self._open(asked, lines)
        return {"entries": lines, "more": more}

    async def _clear(self, asked: EndpointRequest) -> dict[str, object]:
        _require_admin(asked.principal)
        count = 0
        if asked.query.keys() & {"model", "id"}:
            names, _ = await self._names(asked, None)
            for name in names:
                count += await self._shelf.forget(name)
        else:
            for beginning in _beginnings(asked):
                count += await self._shelf.clear(beginning)
        return {"forgotten": count}

    async def _names(self, asked: EndpointRequest, limit: int | None) -> tuple[list[str], bool]:
        """The names that are asked for, and whether there are more than the limit."""
        wanted, model = asked.query.get("id", ""), asked.query.get("model", "*")
        found: set[str] = set()
        for beginning in _beginnings(asked):
            if wanted and not wanted.startswith(beginning):
                continue
            async for name in self._shelf.names(wanted or beginning):
                if len(found) == limit and name not in found:
                    return list(found), True
                if (not wanted or name == wanted) and fnmatchcase(parts_of(name).model, model):
                    found.add(name)
        if wanted and not found:
            raise NotFound(f"there is no entry {wanted!r}")
        return list(found), False

    async def _line(self, name: str) -> Line | None:
        card, parts, now = await self._shelf.card(name), parts_of(name), time.time()
        if card is None:
            return None
        return Line(
            id=name,
            model=parts.model,
            scope=parts.scope,
            team=parts.team,
            owner=parts.owner,
            age_seconds=round(max(0.0, now - card.made), 3),
            ttl_seconds=round(max(0.0, card.expires - now), 3),
            size_bytes=card.size,
            hits=await self._shelf.hits(name, card),
        )

    async def _open(self, asked: EndpointRequest, lines: list[Line]) -> None:
        """Add to one entry what it says."""
        _require_admin(asked.principal)
        if "id" not in asked.query:
            raise InvalidRequest("contents are shown of one entry: say which, with `id` in the query")
        for line in lines:
            entry = await self._shelf.entry(asked.query["id"])
            line.events = entry.events if entry else []


def _handler(work: Work, known: set[str]) -> Handler:
    """What may go wrong with a piece of work, as an error of the gateway."""

    async def handle(asked: EndpointRequest) -> Answer:
        if unknown := sorted(asked.query.keys() - known):
            raise InvalidRequest(f"unknown parameter {unknown[0]!r}; there are: {', '.join(sorted(known))}")
        try:
            said = await work(asked)
        except StoreUnavailable as error:
            raise Overloaded("the gateway cannot look into its cache at the moment", detail=str(error)) from None
        return Answer.json(said)

    return handle


def _team(asked: EndpointRequest) -> str | None:
    """The team that is asked about, None for all together. Raises Forbidden."""
    who = asked.principal
    named = asked.query.get("team")
    if who is None or (who.admin and not who.team):
        return named
    if named is not None and named != who.team:
        raise Forbidden(_WHAT)
    return who.team


def _beginnings(asked: EndpointRequest) -> list[str]:
    """How the names begin of what somebody may see, and asks for. Raises Forbidden."""
    team, who = _team(asked), asked.principal
    if team is None:
        return [""]
    return [begins_with_team(team)] if who is None or who.admin else begin_with_own(who)


def _require_admin(who: Principal | None) -> None:
    if who is not None and not who.admin:
        raise Forbidden("this is for admins")


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(_SHOWN))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MOST:
        raise InvalidRequest(f"limit: expected a number from 1 to {_MOST}, got {text[:40]!r}")
    return int(text)
