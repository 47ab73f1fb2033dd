"""Keys as words for people and programs: what commands and the admin API take and tell."""

import re
import time
from datetime import UTC, date, datetime

import msgspec

from penstock import parse_duration

from .keys import SERVICE, Key, Record, end_of, owner
from .scope import Scope

GRACE = "24h"
"""For how long the old secret of a rotated key works unless somebody says otherwise."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is listed. Times are ISO 8601 in UTC.

    `status` is `active`, `expired`, `revoked`, or `orphaned` if a key that it descends from is one of these two.
    """

    id: str
    user: str
    team: str
    name: str
    service: bool
    admin: bool
    status: str
    shown: str = ""
    created: str | None = None
    expires: str | None = None
    revoked: str | None = None
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = msgspec.field(default=(), name="from")
    routes: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    parent: str = ""


class Ordered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key as somebody orders it. `expires` is a duration such as `90d`, or the last day."""

    user: str = ""
    service: str = ""
    team: str = ""
    name: str = ""
    admin: bool = False
    expires: str = ""
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = msgspec.field(default=(), name="from")
    routes: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    parent: str = ""

    def key(self) -> Key:
        """What the key will be; it has no id yet. Raises ValueError."""
        return Key(
            id="",
            user=owner(self.user, self.service),
            team=self.team.strip(),
            name=self.name.strip(),
            admin=self.admin,
            scope=Scope(models=self.models, networks=self.networks, routes=self.routes, pipelines=self.pipelines),
            parent=self.parent,
            expires=expiry(self.expires) if self.expires else None,
        )


def told(record: Record) -> Told:
    """A key in words."""
    key = record.key
    return Told(
        id=key.id,
        user=key.user.removeprefix(SERVICE),
        team=key.team,
        name=key.name,
        service=key.user.startswith(SERVICE),
        admin=key.admin,
        status=_status(record),
        shown=record.shown,
        created=moment(record.created),
        expires=moment(key.expires),
        revoked=moment(record.revoked),
        **msgspec.structs.asdict(key.scope),
        parent=key.parent,
    )


def _status(record: Record) -> str:
    if record.revoked is not None:
        return "revoked"
    if record.key.expires is not None and record.key.expires <= time.time():
        return "expired"
    return "orphaned" if record.orphaned else "active"


def moment(seconds: float | None) -> str | None:
    """A time since 1970 as people read it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expiry(text: str) -> float:
    """`90d` from now, or the end of a day such as `2027-01-31`, in seconds since 1970. Raises ValueError."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
            expires = end_of(date.fromisoformat(text.strip()))
        else:
            expires = time.time() + parse_duration(text)
        moment(expires)
    except (ValueError, OverflowError, OSError):  # the latter two for a time that no calendar has
        raise ValueError(f"expected a duration such as 90d, or a day such as 2027-01-31, got {text!r}") from None
    if expires <= time.time():
        raise ValueError(f"{text!r} is over")
    return expires
