"""The admin API: keys are listed, made, revoked and rotated over HTTP by those who may, and each change is noted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from penstock import (
    Answer,
    DatabaseUnavailable,
    EndpointRequest,
    Forbidden,
    Gateway,
    Handler,
    InvalidRequest,
    NotFound,
    Overloaded,
    Principal,
    parse_duration,
)

from .keys import Key
from .keystore import Actor, KeyStore, NoSuchKey
from .live import LiveKeys
from .told import GRACE, Ordered, moment, told

T = TypeVar("T")

_PATIENCE = 10.0  # seconds for a database: these requests are the only ones that wait for it
_MOST = 1000  # lines of the audit trail
_NOBODY = Key(id="", user="-")

Log = logging.LoggerAdapter[logging.Logger]
Work = Callable[[EndpointRequest, Actor], Awaitable[tuple[int, object]]]


class _Of(msgspec.Struct, forbid_unknown_fields=True):
    """Which key."""

    id: str
    grace: str = GRACE


class KeyDesk:
    """The endpoints `<pipeline path>/-/keys`."""

    def __init__(self, store: KeyStore, live: LiveKeys, log: Log) -> None:
        self._store = store
        self._live = live
        self._log = log

    def serve(self, gateway: Gateway) -> None:
        """Add the endpoints to a pipeline."""
        gateway.add_route("keys", self._handler(self._list))
        gateway.add_route("keys", self._handler(self._create), ("POST",))
        gateway.add_route("keys/revoke", self._handler(self._revoke), ("POST",))
        gateway.add_route("keys/rotate", self._handler(self._rotate), ("POST",))
        gateway.add_route("keys/audit", self._handler(self._audit))

    def _handler(self, work: Work) -> Handler:
        """What may go wrong with a piece of work, as an error of the gateway."""

        async def handle(asked: EndpointRequest) -> Answer:
            actor = self._actor(asked.principal, asked.peer)
            try:
                async with asyncio.timeout(_PATIENCE):
                    status, body = await work(asked, actor)
            except NoSuchKey as error:
                raise NotFound(str(error)) from None
            except ValueError as error:
                raise InvalidRequest(str(error)) from None
            except (DatabaseUnavailable, TimeoutError) as error:
                raise Overloaded("the database with the keys is away", detail=str(error), retry_after=10.0) from None
            return Answer.json(body, status)

        return handle

    def _actor(self, principal: Principal | None, peer: str) -> Actor:
        """Raises Forbidden for somebody who may not manage keys."""
        if principal is None or not principal.admin:
            raise Forbidden("this needs a key that may manage keys (`penstock keys create --admin`)")
        known = self._live.keyring().known.get(principal.key)
        bounds = known.key if known else msgspec.structs.replace(_NOBODY, team=principal.team, admin=True)
        return Actor(f"{principal.user} ({principal.key})" if principal.key else principal.user, peer, bounds)

    async def _list(self, asked: EndpointRequest, actor: Actor) -> tuple[int, object]:
        records = await self._store.records(_team(actor) or asked.query.get("team", ""))
        return 200, {"keys": [told(record) for record in records]}

    async def _create(self, asked: EndpointRequest, actor: Actor) -> tuple[int, object]:
        text, record = await self._store.create(_read(asked.body, Ordered).key(), actor)
        await self._done("made", record.key, actor)
        return 201, {"key": text, **msgspec.to_builtins(told(record))}

    async def _revoke(self, asked: EndpointRequest, actor: Actor) -> tuple[int, object]:
        record = await self._store.revoke(_read(asked.body, _Of).id, actor)
        await self._done("revoked", record.key, actor)
        return 200, told(record)

    async def _rotate(self, asked: EndpointRequest, actor: Actor) -> tuple[int, object]:
        wanted = _read(asked.body, _Of)
        text, record = await self._store.rotate(wanted.id, parse_duration(wanted.grace), actor)
        await self._done("rotated", record.key, actor)
        return 200, {"key": text, **msgspec.to_builtins(told(record))}

    async def _audit(self, _asked: EndpointRequest, actor: Actor) -> tuple[int, object]:
        if _team(actor):
            raise Forbidden("the audit trail is for those who manage the keys of all teams")
        deeds = await self._store.audit(_MOST)
        return 200, {"audit": [{**msgspec.to_builtins(deed), "time": moment(deed.time)} for deed in deeds]}

    async def _done(self, what: str, key: Key, actor: Actor) -> None:
        """This process knows at once, the others with their next look; it is done even if the database is away now."""
        self._log.info("%s of %s was %s by %s from %s", key.id, key.user, what, actor.name, actor.origin)
        with suppress(DatabaseUnavailable):
            await self._live.refresh()


def _team(actor: Actor) -> str:
    return actor.bounds.team if actor.bounds else ""


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:  # a mistake in a field is a ValidationError, which is one, too
        raise InvalidRequest(f"the body is not as it should be: {error}") from None
