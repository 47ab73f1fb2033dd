"""The key store: keys in the database, made, listed, revoked and rotated, each change with a line of audit."""

import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock import Database

from .keys import Hash, Key, Record, day_of, digest_of, new_key, shown
from .scope import Scope
from .tables import AUDIT, HASHES, KEYS, STATE

_HERE = 1  # the only row of STATE
_MARK = "penstock"  # its digest says which pepper belongs to the database


class NoSuchKey(ValueError):
    """There is no key of that id, or none that the asker may see."""


class Actor(NamedTuple):
    """Who changes something, and from where: an address, or `command line`.

    Their power over keys is that of `bounds`, a key of their own; None is whoever runs commands on the server.
    """

    name: str
    origin: str
    bounds: Key | None = None


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the audit trail: who has done what to which key, when, and from where. Seconds since 1970."""

    time: float
    actor: str
    origin: str
    action: str
    key: str
    detail: dict[str, Any]


class Snapshot(NamedTuple):
    """All keys at one version of the store."""

    version: int
    keys: list[Key]
    hashes: list[Hash]


class KeyStore:
    """The verbs. All raise DatabaseUnavailable; those that change something raise ValueError for a bad wish."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    async def open(self) -> None:
        """Connect, make the tables. Raises ValueError for another pepper than that of the keys in the database."""
        await self._database.open()
        mark = digest_of(_MARK, self._pepper).hex()
        async with self._database.begin() as connection:
            first = self._database.insert(STATE).values(id=_HERE, version=0, pepper=mark)
            await connection.execute(first.on_conflict_do_nothing())
            known = await connection.scalar(select(STATE.c.pepper))
        if known != mark:
            raise ValueError("the keys in the database were made with another pepper: bring that one here")

    async def version(self) -> int:
        """A number that grows with every change."""
        async with self._database.read() as connection:
            return await _version(connection)

    async def snapshot(self) -> Snapshot:
        """Everything that is needed to let clients in."""
        async with self._database.read() as connection:
            version = await _version(connection)  # first: what changes meanwhile is then read again
            keys = [_key(row) for row in await connection.execute(select(KEYS))]
            hashes = await connection.execute(select(HASHES).where(_lasts(time.time())))
            return Snapshot(version, keys, [Hash(bytes.fromhex(h.digest), h.key, h.expires) for h in hashes])

    async def records(self, team: str = "") -> list[Record]:
        """All keys, or those of a team, in the order in which they were made."""
        newest = select(HASHES.c.key, func.max(HASHES.c.created).label("made")).group_by(HASHES.c.key).subquery()
        query = (
            select(KEYS, HASHES.c.shown)
            .join(newest, newest.c.key == KEYS.c.id)
            .join(HASHES, (HASHES.c.key == KEYS.c.id) & (HASHES.c.created == newest.c.made))
            .order_by(KEYS.c.created, KEYS.c.id)
        )
        async with self._database.read() as connection:
            records = [_record(row) for row in await connection.execute(query)]
        keys, now = {record.key.id: record.key for record in records}, time.time()
        wanted = [record for record in records if not team or record.key.team == team]
        return [replace(record, orphaned=_orphaned(record.key, keys, now)) for record in wanted]

    async def audit(self, most: int) -> list[Deed]:
        """The newest lines of the audit trail, the last one first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(AUDIT).order_by(AUDIT.c.id.desc()).limit(most))
            return [_deed(row) for row in rows]

    async def create(self, wish: Key, actor: Actor) -> tuple[str, Record]:
        """A new key that is like `wish`: its text, for this once, and what is known of it."""
        if not all(text.isprintable() for text in (wish.user, wish.team, wish.name)):
            raise ValueError("the names of users, teams and keys hold printable characters only")
        key = replace(wish, id=f"key_{secrets.token_hex(8)}", ended="")
        async with self._database.begin() as connection:
            if key.parent:
                key = await _as_child(connection, key)
            if complaint := _beyond(key, actor.bounds):
                raise ValueError(f"the new key may do more than {actor.name!r} may allow: {complaint}")
            now, text = time.time(), new_key()
            await connection.execute(KEYS.insert().values(**_columns(key), created=now))
            await self._add_hash(connection, key.id, text, now)
            await _note(connection, actor, "create", key.id, {"user": key.user, "team": key.team, "admin": key.admin})
        return text, Record(key=key, shown=shown(text), created=now)

    async def revoke(self, id: str, actor: Actor) -> Record:
        """From now on the key does not work, nor do those that descend from it. Once more is no mistake."""
        async with self._database.begin() as connection:
            record = await _record_of(connection, id, actor)
            if record.revoked is None:
                await connection.execute(KEYS.update().where(KEYS.c.id == id).values(revoked=time.time()))
                await _note(connection, actor, "revoke", id, {})
            return await _record_of(connection, id, actor)

    async def rotate(self, id: str, grace: float, actor: Actor) -> tuple[str, Record]:
        """Another text for the same key; the old ones work for `grace` seconds more."""
        async with self._database.begin() as connection:
            record = await _record_of(connection, id, actor)
            if record.revoked is not None:
                raise ValueError(f"key {id} is revoked: make a new one")
            now, text = time.time(), new_key()
            old = HASHES.update().where(HASHES.c.key == id, _lasts(now + grace))
            await connection.execute(old.values(expires=now + grace))
            await self._add_hash(connection, id, text, now)
            await _note(connection, actor, "rotate", id, {"grace": grace})
        return text, replace(record, shown=shown(text))

    async def _add_hash(self, connection: AsyncConnection, id: str, text: str, now: float) -> None:
        digest = digest_of(text, self._pepper).hex()
        await connection.execute(HASHES.insert().values(digest=digest, key=id, shown=shown(text), created=now))


async def _as_child(connection: AsyncConnection, key: Key) -> Key:
    """The key, with what it has from its parent unless it says otherwise. Raises ValueError for more than that has."""
    row = (await connection.execute(select(KEYS).where(KEYS.c.id == key.parent))).one_or_none()
    if row is None:
        raise NoSuchKey(f"there is no key {key.parent} to be the parent")
    parent = _key(row)
    if reason := parent.unusable(time.time()):
        raise ValueError(f"the parent key {reason}")
    key = replace(key, team=key.team or parent.team, expires=parent.expires if key.expires is None else key.expires)
    if complaint := key.exceeds(parent):
        raise ValueError(f"the new key may not do more than its parent: {complaint}")
    return key


def _orphaned(key: Key, keys: Mapping[str, Key], now: float) -> bool:
    """Whether a key that it descends from does not work any more, and it neither."""
    while key.parent:
        parent = keys.get(key.parent)
        if parent is None or parent.unusable(now):
            return True
        key = parent
    return False


def _beyond(key: Key, bounds: Key | None) -> str:
    """What a key may do that its maker has no say in. Those who may manage keys are made only by their like."""
    if bounds is None:
        return ""
    if key.admin:
        return key.exceeds(replace(bounds, parent="")).replace("its parent", "its maker")
    if bounds.team and key.team != bounds.team:
        return f"it has to be of team {bounds.team!r}"
    within = Scope(pipelines=key.scope.pipelines).within(Scope(pipelines=bounds.scope.pipelines))
    return "" if within else f"it has to be for pipelines in {', '.join(bounds.scope.pipelines)}"


async def _record_of(connection: AsyncConnection, id: str, actor: Actor) -> Record:
    query = select(KEYS, HASHES.c.shown).join(HASHES, HASHES.c.key == KEYS.c.id).where(KEYS.c.id == id)
    row = (await connection.execute(query.order_by(HASHES.c.created.desc()).limit(1))).one_or_none()
    if row is None or (actor.bounds is not None and _beyond(_plain(row), actor.bounds)):
        raise NoSuchKey(f"there is no key {id}")
    return _record(row)


def _plain(row: Row[Any]) -> Key:
    return replace(_key(row), ended="")


def _lasts(moment: float) -> ColumnElement[bool]:
    """Of digests that are still good then; those of keys that were rotated long ago are not."""
    return HASHES.c.expires.is_(None) | (HASHES.c.expires > moment)


async def _version(connection: AsyncConnection) -> int:
    version: int = (await connection.execute(select(STATE.c.version))).scalar_one()
    return version


async def _note(connection: AsyncConnection, actor: Actor, action: str, key: str, detail: Mapping[str, object]) -> None:
    """A line of the audit trail, and a new version."""
    line = {"time": time.time(), "actor": actor.name, "origin": actor.origin, "action": action, "key": key}
    await connection.execute(AUDIT.insert().values(**line, detail=msgspec.json.encode(detail).decode()))
    await connection.execute(STATE.update().values(version=STATE.c.version + 1))


def _deed(row: Row[Any]) -> Deed:
    return Deed(
        time=row.time,
        actor=row.actor,
        origin=row.origin,
        action=row.action,
        key=row.key,
        detail=msgspec.json.decode(row.detail),
    )


def _columns(key: Key) -> dict[str, object]:
    fields = msgspec.structs.asdict(key)
    del fields["ended"]
    return {**fields, "scope": msgspec.json.encode(key.scope).decode()}


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        user=row.user,
        team=row.team,
        name=row.name,
        admin=row.admin,
        scope=msgspec.json.decode(row.scope, type=Scope),
        parent=row.parent,
        expires=row.expires,
        ended="" if row.revoked is None else f"was revoked on {day_of(row.revoked + 1)}",
    )


def _record(row: Row[Any]) -> Record:
    return Record(key=_key(row), shown=row.shown, created=row.created, revoked=row.revoked)
