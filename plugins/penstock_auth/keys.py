"""API keys: how they are made, what is known of them, and the digests by which they are found again."""

import hmac
import re
import secrets
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import msgspec

from .scope import Scope

PREFIX = "pk-"
SERVICE = "service:"
"""What the user of a key begins with that belongs to no person, as for continuous integration."""

_SHOWN = len(PREFIX) + 5
_HASH = re.compile(r"(?:(hmac-sha256|sha256):)?([0-9a-f]{64})")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key: whose it is and what it may be used for. Nothing in it is secret.

    `expires` is in seconds since 1970. `ended` says in words why it does not work any more, "" if it does.
    """

    id: str
    user: str
    team: str = ""
    name: str = ""
    admin: bool = False
    scope: Scope = Scope()
    parent: str = ""
    expires: float | None = None
    ended: str = ""

    def unusable(self, now: float) -> str:
        """Why the key does not work now, or nothing: `is disabled`, `expired on 2027-01-31`."""
        if self.expires is not None and self.expires <= now and not self.ended:
            return f"expired on {day_of(self.expires)}"
        return self.ended

    def exceeds(self, parent: "Key") -> str:
        """What this key may do that its parent may not, in words; nothing if it lies within it."""
        if not self.scope.within(parent.scope):
            return "its scope is not within that of its parent"
        if parent.team and self.team != parent.team:
            return f"its parent is of team {parent.team!r}"
        if self.admin and not parent.admin:
            return "its parent may not manage keys"
        if parent.expires is not None and (self.expires is None or self.expires > parent.expires):
            return f"its parent expires on {day_of(parent.expires)}"
        return ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is listed, with the first characters by which people know it. Times in seconds since 1970.

    `orphaned` says that a key which it descends from does not work any more.
    """

    key: Key
    shown: str = ""
    created: float | None = None
    revoked: float | None = None
    orphaned: bool = False


class Hash(msgspec.Struct, frozen=True):
    """One secret of a key, as its digest; `expires`, in seconds since 1970, ends the old one of a key that rotates."""

    digest: bytes
    key: str
    expires: float | None = None


def owner(user: str, service: str) -> str:
    """Whose a key is, in one word: a person, or a service such as continuous integration. Raises ValueError."""
    if user.strip() and service.strip():
        raise ValueError("a key belongs to a `user` or to a `service`, not to both")
    if not user.strip() and not service.strip():
        raise ValueError("`user` is empty: say whose key this is, or name a `service`")
    if user.startswith(SERVICE):
        raise ValueError(f"a user's name does not begin with `{SERVICE}`: write `service: {user[len(SERVICE) :]}`")
    return user.strip() or SERVICE + service.strip()


def end_of(day: date) -> float:
    """When a day is over, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + timedelta(days=1).total_seconds()


def day_of(expires: float) -> str:
    """The last day on which something works, in UTC."""
    return datetime.fromtimestamp(expires - 1, UTC).date().isoformat()


def new_key() -> str:
    """A fresh key: a prefix by which people and scanners know it, and 256 random bits in 43 characters."""
    return PREFIX + secrets.token_urlsafe(32)


def shown(key: str) -> str:
    """So much of a key as may be shown, for people to know it by: 30 of its 256 bits."""
    return key[:_SHOWN]


def digest_of(key: str, pepper: bytes) -> bytes:
    """HMAC-SHA256 of a key: with a stolen digest alone nobody can come in, nor make an entry for a key of their own.

    One fast hash is right for keys of 256 random bits; slow ones protect secrets that can be guessed.
    """
    return Digester(pepper).digest(key)


class Digester:
    """Makes these digests with one pepper, many times: to begin with the pepper is most of the work."""

    def __init__(self, pepper: bytes) -> None:
        self._begun = hmac.new(pepper, digestmod="sha256")

    def digest(self, key: str) -> bytes:
        """As `digest_of`."""
        code = self._begun.copy()
        code.update(_bytes(key))
        return code.digest()


def plain_digest(key: str) -> bytes:
    """SHA-256 of a key, for an entry that was made where nobody knows the pepper."""
    return sha256(_bytes(key)).digest()


def hash_of(key: str, pepper: bytes | None = None) -> str:
    """How a key is written into the keys file, with the server's pepper or without."""
    if pepper is None:
        return f"sha256:{plain_digest(key).hex()}"
    return f"hmac-sha256:{digest_of(key, pepper).hex()}"


def read_hash(text: str) -> tuple[bytes, bool]:
    """The digest in an entry, and whether it has pepper.

    Raises ValueError without showing the text, which may be a key by mistake.
    """
    found = _HASH.fullmatch(text.strip().lower())
    if found and found[1]:
        return bytes.fromhex(found[2]), found[1].startswith("hmac")
    if found:
        raise ValueError("`hash` lacks its kind: write `sha256:` or `hmac-sha256:` before the 64 digits")
    if re.fullmatch(r"\s*(hmac-)?sha256:[0-9a-fA-F]*\s*", text):
        raise ValueError("`hash` must be `hmac-sha256:` or `sha256:` and 64 hexadecimal digits")
    raise ValueError(
        "`hash` holds something else than a hash, perhaps the key itself, which belongs in no file: write what "
        "`penstock keys create` prints, or `sha256:` and the digits that `printf %s 'the key' | sha256sum` prints"
    )


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "replace")
