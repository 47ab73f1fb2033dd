"""The known keys, to be found by what a client presents and to be asked whether they may be used."""

import hmac
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from .keys import Digester, Hash, Key, plain_digest
from .scope import Asked, Guard

_NOBODY = Hash(bytes(32), "")
_LOST = "lost its parent"


class Known:
    """A key with all the keys it descends from: it may do only what each of them may."""

    def __init__(self, key: Key, ancestors: tuple[Key, ...] = (), noun: str = "API key") -> None:
        self.key = key
        self._noun = noun
        self._line = (key, *ancestors)
        self._guards = [Guard(one.scope) for one in self._line]
        self.offers_all = all(guard.offers_all for guard in self._guards)
        """Whether the key may ask for any model."""
        self._exceeds = any(one.exceeds(parent) for one, parent in zip(self._line, ancestors, strict=False))

    def unusable(self, now: float) -> str:
        """Why the key does not work now, or nothing."""
        for one in self._line:
            if reason := one.unusable(now):
                return f"this {self._noun} {reason}" if one is self.key else f"the parent of this key {reason}"
        return "this API key may do more than its parent" if self._exceeds else ""

    def refused(self, asked: Asked) -> str:
        """What of a wish is not allowed: `pipeline`, `address`, `route`, `model`, or nothing."""
        return next(filter(None, (guard.refused(asked) for guard in self._guards)), "")

    def offers(self, model: str) -> bool:
        """Whether the key may ask for a model."""
        return all(guard.offers(model) for guard in self._guards)


class Keyring:
    """Keys by their digests."""

    def __init__(self, keys: Iterable[Key], hashes: Iterable[Hash], pepper: bytes | None) -> None:
        """Without a `pepper` only the digests that have none can be found."""
        by_id = {key.id: key for key in keys}
        self.known: Mapping[str, Known] = {key.id: _with_ancestors(key, by_id) for key in by_id.values()}
        self._hashes = {hash.digest: hash for hash in hashes if hash.key in by_id}
        self._digester = None if pepper is None else Digester(pepper)

    def find(self, credential: str, now: float) -> Known | None:
        """The key that a credential is, or None.

        Digests and comparison are the same work for known and unknown keys, so the time they take tells nothing.
        """
        digests = [plain_digest(credential)]
        if self._digester is not None:
            digests.append(self._digester.digest(credential))
        found = _NOBODY
        for digest in digests:
            hash = self._hashes.get(digest, _NOBODY)
            if hmac.compare_digest(hash.digest, digest):
                found = hash
        if not found.key or (found.expires is not None and found.expires <= now):
            return None
        return self.known[found.key]


def _with_ancestors(key: Key, keys: Mapping[str, Key]) -> Known:
    line, above = [key], key
    while above.parent:
        parent = keys.get(above.parent)
        if parent is None or parent in line:
            return Known(replace(key, ended=_LOST))
        line.append(parent)
        above = parent
    return Known(key, tuple(line[1:]))
