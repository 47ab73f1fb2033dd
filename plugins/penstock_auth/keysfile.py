"""The keys file: entries that people write and read, as the keys and hashes that the gateway looks up."""

from collections.abc import Iterator
from datetime import date

import msgspec

from .keys import Hash, Key, end_of, owner, read_hash
from .scope import Scope


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key. `expires` is the last day, in UTC, on which it works; `parent` the name of another entry.

    Raises ValueError for a scope that can never match.
    """

    hash: str
    user: str = ""
    service: str = ""
    team: str = ""
    name: str = ""
    expires: date | None = None
    enabled: bool = True
    admin: bool = False
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = msgspec.field(default=(), name="from")
    routes: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    parent: str = ""

    def __post_init__(self) -> None:
        self.scope()

    def scope(self) -> Scope:
        """What the key may be used for."""
        return Scope(models=self.models, networks=self.networks, routes=self.routes, pipelines=self.pipelines)


class KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys file as a whole."""

    keys: list[Entry] | None


class Read(msgspec.Struct, frozen=True):
    """What a keys file holds. `peppered` says whether it takes the pepper to find all of its keys."""

    keys: list[Key]
    hashes: list[Hash]
    peppered: bool


def read_keys(file: KeysFile) -> Read:
    """Raises ValueError, which names an entry by number and user and never shows what stands in its hash."""
    keys: dict[str, Key] = {}
    hashes: dict[bytes, Hash] = {}
    peppered = False
    for number, entry in enumerate(file.keys or [], 1):
        try:
            digest, is_peppered = read_hash(entry.hash)
            key = _key(entry, digest)
            if digest in hashes:
                raise ValueError(f"has the same hash as key {list(hashes).index(digest) + 1}: remove one of the two")
            if key.id in keys:
                raise ValueError(f"has the same name as key {list(keys).index(key.id) + 1}: give it another one")
        except ValueError as error:
            raise _at(number, entry, error) from None
        keys[key.id], hashes[digest] = key, Hash(digest, key.id)
        peppered |= is_peppered
    for number, entry, key in zip(range(1, len(keys) + 1), file.keys or [], keys.values(), strict=True):
        if complaint := next(_wrong_parents(key, keys), ""):
            raise _at(number, entry, complaint)
    return Read(list(keys.values()), list(hashes.values()), peppered)


def _at(number: int, entry: Entry, complaint: object) -> ValueError:
    whose = f"user {entry.user!r}" if entry.user else f"service {entry.service!r}"
    return ValueError(f"key {number} ({whose}): {complaint}")


def _key(entry: Entry, digest: bytes) -> Key:
    return Key(
        id=entry.name or digest.hex()[:8],
        user=owner(entry.user, entry.service),
        team=entry.team,
        name=entry.name,
        admin=entry.admin,
        scope=entry.scope(),
        parent=entry.parent,
        expires=end_of(entry.expires) if entry.expires else None,
        ended="" if entry.enabled else "is disabled",
    )


def _wrong_parents(key: Key, keys: dict[str, Key]) -> Iterator[str]:
    """What is wrong with the keys above a key."""
    above, seen = key, {key.id}
    while above.parent:
        parent = keys.get(above.parent)
        if parent is None:
            yield f"there is no key {above.parent!r} to be its parent"
            return
        if parent.id in seen:
            yield "is its own parent in the end"
            return
        if complaint := above.exceeds(parent):
            yield complaint
        seen.add(parent.id)
        above = parent
