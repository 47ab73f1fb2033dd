"""API keys: how they are made, kept as hashes, and looked up."""

import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import date
from hashlib import sha256

import msgspec

_HASH = re.compile(r"(sha256:)?([0-9a-f]{64})")
_NOBODY = (bytes(32), None)


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the keys file. `expires` is the last day, in UTC, on which the key works."""

    hash: str
    user: str
    team: str = ""
    name: str = ""
    expires: date | None = None
    enabled: bool = True

    @property
    def public_name(self) -> str:
        """What may be shown of the key: its name, or the first digits of its hash."""
        return self.name or self.hash.removeprefix("sha256:")[:8].lower()

    def unusable(self, today: date) -> str:
        """Why the key does not work today, or nothing."""
        if not self.enabled:
            return "this API key is disabled"
        if self.expires is not None and self.expires < today:
            return f"this API key expired on {self.expires}"
        return ""


class KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys file as a whole."""

    keys: list[Key] | None


class Keyring:
    """The known keys, to be found by their digests."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """Raises ValueError, which names an entry by number and user and never shows what stands in it."""
        self._entries: dict[bytes, tuple[bytes, Key]] = {}
        for number, key in enumerate(keys, 1):
            try:
                digest = _read_hash(key.hash)
                if not key.user:
                    raise ValueError("`user` is empty: say whose key this is")
                if digest in self._entries:
                    earlier = list(self._entries).index(digest) + 1
                    raise ValueError(f"has the same hash as key {earlier}: remove one of the two")
            except ValueError as error:
                raise ValueError(f"key {number} (user {key.user!r}): {error}") from None
            self._entries[digest] = (digest, key)

    def find(self, credential: str) -> Key | None:
        """The entry of a credential, or None.

        One fast hash is right for keys of 256 random bits; slow ones protect secrets that can be guessed. Hash and
        comparison are the same work for known and unknown keys, so the time they take tells nothing.
        """
        digest = _digest(credential)
        stored, key = self._entries.get(digest, _NOBODY)
        return key if hmac.compare_digest(stored, digest) else None


def new_key() -> str:
    """A fresh key: a prefix by which people and scanners know it, and 256 random bits in 43 characters."""
    return f"pk-{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """How a key is written into the keys file."""
    return f"sha256:{_digest(key).hex()}"


def _digest(credential: str) -> bytes:
    return sha256(credential.encode("utf-8", "replace")).digest()


def _read_hash(text: str) -> bytes:
    """The digest in an entry. Raises ValueError without showing the text, which may be a key by mistake."""
    found = _HASH.fullmatch(text.strip().lower())
    if found and found[1]:
        return bytes.fromhex(found[2])
    if found:
        raise ValueError("`hash` lacks its kind: write `sha256:` before the 64 digits")
    if re.fullmatch(r"\s*sha256:[0-9a-fA-F]*\s*", text):
        raise ValueError("`hash` must be `sha256:` and 64 hexadecimal digits")
    raise ValueError(
        "`hash` holds something else than a hash, perhaps the key itself, which belongs in no file: write `sha256:` "
        "and the digits that `printf %s 'the key' | sha256sum` prints"
    )
