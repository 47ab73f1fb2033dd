"""Single sign-on: whose tokens are taken, and what their claims say of who somebody is."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from penstock import Duration

from .keys import SERVICE, Key

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
"""With a public key each; `none`, and those with a secret that both sides know, are never taken."""

_SECURE = re.compile(r"https://[^\s/]+.*|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/.*)?")


class NotOurs(ValueError):
    """A token that is good but gives no access; the message says why."""


class SignOn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens of a single sign-on. Raises ValueError for an address that is not secure."""

    issuer: str
    audience: str | list[str]
    jwks: str = ""
    user: str = "sub"
    team: str = ""
    teams: dict[str, str] = {}
    admins: list[str] = []
    algorithms: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
    leeway: Duration = 60.0

    def __post_init__(self) -> None:
        for url in (self.issuer, self.jwks if "://" in self.jwks else self.issuer):
            if not _SECURE.fullmatch(url):
                raise ValueError(f"{url!r} must be an https address")
        if (self.teams or self.admins) and not self.team:
            raise ValueError("`teams` and `admins` need `team`: the claim that lists somebody's groups")
        if not self.audience or not self.algorithms:
            raise ValueError("`audience` and `algorithms` cannot be empty")

    def key_of(self, claims: Mapping[str, Any], expires: float) -> Key:
        """Who the claims say somebody is. Raises NotOurs."""
        user = claims.get(self.user)
        if not isinstance(user, str) or not user.strip() or not user.isprintable():
            raise NotOurs(f"has no claim {self.user!r} that says whose it is")
        if user.startswith(SERVICE):
            raise NotOurs(f"is of somebody whose name begins with {SERVICE!r}")
        groups = self._groups(claims)
        admin = any(group in self.admins for group in groups)
        return Key(id=f"sso:{user}", user=user, team=self._team(groups), admin=admin, expires=expires)

    def _groups(self, claims: Mapping[str, Any]) -> list[str]:
        found: Any = claims.get(self.team) if self.team else []
        try:
            return list(filter(None, msgspec.convert(found, list[str])))
        except msgspec.ValidationError:
            return [found] if isinstance(found, str) and found else []

    def _team(self, groups: list[str]) -> str:
        """The first team in `teams` that one of the groups leads to; without `teams`, the first group itself."""
        if not self.teams:
            return groups[0] if groups else ""
        for group, team in self.teams.items():
            if group in groups or group == "*":
                return team
        raise NotOurs("is of nobody in a group that may come in here")
