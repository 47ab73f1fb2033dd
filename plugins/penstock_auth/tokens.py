"""Tokens of a single sign-on, verified once each: whose they are, and why one is not taken."""

import warnings
from collections import OrderedDict
from hashlib import sha256
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jwk import Key as PublicKey

from penstock import Overloaded

from .jwks import JWKS, RemoteKeys
from .keyring import Known
from .keys import Key
from .signon import NotOurs, SignOn

_MOST = 10_000  # verified tokens that are remembered
_NOUN = "token"
_ASYMMETRIC = frozenset({"RSA", "EC", "OKP"})


class Tokens:
    """Finds out who a token says somebody is. A verified one is remembered by its full hash until it expires."""

    def __init__(self, options: SignOn) -> None:
        self._options = options
        self._claims = jwt.JWTClaimsRegistry(
            leeway=round(options.leeway),
            iss={"essential": True, "value": options.issuer},
            aud={"essential": True, "values": _listed(options.audience)},
            exp={"essential": True},
        )
        self._keys: KeySet | None = None
        self._verified: OrderedDict[bytes, Known] = OrderedDict()
        self.remote: RemoteKeys | None = None
        """Who fetches the keys, if they are not in a file."""

    def use(self, jwks: JWKS) -> None:
        """From now on these are the keys: what others have signed is verified anew. Raises ValueError for none."""
        try:
            listed = msgspec.convert(jwks.get("keys"), list[dict[str, Any]])
        except msgspec.ValidationError:
            raise ValueError("`keys` is no list of keys") from None
        found = [key for data in listed if (key := _public_key(data))]
        if not found:
            raise ValueError("there is no public key for signatures among the keys")
        if self._keys is None or self._keys.as_dict() != KeySet(found).as_dict():
            self._keys = KeySet(found)
            self._verified.clear()

    def find(self, credential: str) -> Known | None:
        """Whose a token is, None for a credential that is none. One that is not taken says why when it is used.

        Raises Overloaded while the keys of the sign-on are not known.
        """
        if not looks_like_token(credential):
            return None
        digest = sha256(credential.encode()).digest()
        if (known := self._verified.get(digest)) is not None:
            return known
        if self._keys is None:
            raise Overloaded("the gateway cannot read the keys of the sign-on yet: try again later", retry_after=5.0)
        try:
            known = Known(self._verify(credential, self._keys), noun=_NOUN)
        except NotOurs as error:
            return Known(Key(id="sso", user="sso", ended=str(error)), noun=_NOUN)
        self._verified[digest] = known
        if len(self._verified) > _MOST:
            self._verified.popitem(last=False)
        return known

    def _verify(self, credential: str, keys: KeySet) -> Key:
        """Raises NotOurs with what is wrong with a token, in words without the token."""
        try:
            claims = jwt.decode(credential, keys, algorithms=self._options.algorithms).claims
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise NotOurs("has expired: sign in again") from None
        except (InvalidClaimError, MissingClaimError) as error:
            raise NotOurs(f"is not for this gateway: its claim {error.claim!r} is missing or another") from None
        except InvalidKeyIdError:
            if self.remote is not None:
                self.remote.want()
            raise NotOurs("is signed with a key that is not known here (yet)") from None
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise NotOurs(f"is not accepted: {getattr(error, 'error', 'bad_token')}") from None
        return self._options.key_of(claims, claims["exp"] + self._options.leeway)


def looks_like_token(credential: str) -> bool:
    """Whether this has the form of a signed token: three parts, the first of them a JSON object in base64."""
    return credential.startswith("eyJ") and credential.count(".") == 2 and credential.isascii()


def _public_key(data: dict[str, Any]) -> PublicKey | None:
    """A key that signatures can be verified with; a set may hold others, too."""
    if data.get("kty") not in _ASYMMETRIC or data.get("use", "sig") != "sig":
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of a weak key, say: algorithms and operator decide
            return JWKRegistry.import_key(data)
    except (JoseError, ValueError, TypeError):
        return None


def _listed(audience: str | list[str]) -> list[str | int | bool]:
    return [audience] if isinstance(audience, str) else [*audience]
