"""Whose answers are whose, and which request is which: the name of an answer.

A name is `team/owner/model/digest`. So what belongs to somebody begins with the same words, and can be found by them.
"""

from hashlib import sha256
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from penstock import Exchange, Principal

Scope = Literal["key", "team", "pipeline"]
"""Who shares answers."""

_ALL = "*"  # in place of a team or owner; those that are called so are written in another way
_LONGEST = 100  # characters of a model that are shown: clients may write anything


class Parts(NamedTuple):
    """What a name says, for people."""

    scope: Literal["key", "team", "pipeline", "credential"]
    team: str
    owner: str
    model: str


def name_of(exchange: Exchange, scope: Scope) -> str | None:
    """The name of a request's answer, None if its protocol cannot tell what matters.

    The digest is of what the protocol counts of the request, the model asked for, the protocol, and who may have the
    answer.
    """
    asked = exchange.protocol.fingerprint(exchange.request, exchange.headers)
    if asked is None:
        return None
    sharers, model = _sharers(exchange, scope), exchange.request.model
    about = msgspec.json.encode((sharers, exchange.protocol.name, model))
    return f"{sharers}/{_quoted(model[:_LONGEST])}/{sha256(about + asked).hexdigest()}"


def parts_of(name: str) -> Parts:
    """What a name says."""
    team, owner, model, _ = name.split("/")
    if team == _ALL:
        return Parts("pipeline", "", "", unquote(model))
    if owner == _ALL:
        return Parts("team", unquote(team), "", unquote(model))
    scope: Literal["key", "credential"] = "key" if ":" in owner else "credential"
    return Parts(scope, unquote(team), unquote(owner.replace(":", " ").strip()), unquote(model))


def begins_with_team(team: str) -> str:
    """How all names begin of a team and its members."""
    return f"{_quoted(team)}/"


def begin_with_own(who: Principal) -> list[str]:
    """How the names begin that somebody shares, other than with the whole pipeline."""
    team = begins_with_team(who.team)
    return [f"{team}{_owner(who)}/", *([f"{team}{_ALL}/"] if who.team else [])]


def _sharers(exchange: Exchange, scope: Scope) -> str:
    """Team and owner. Where nobody has to say who they are, those who send the same credential, or none."""
    who = exchange.principal
    if scope == "pipeline":
        return f"{_ALL}/{_ALL}"
    if who is None:
        sent = "\n".join(exchange.headers.get(name, "") for name in ("authorization", "x-api-key"))
        return f"/{sha256(sent.encode()).hexdigest()[:16]}"
    return f"{_quoted(who.team)}/{_ALL if scope == 'team' and who.team else _owner(who)}"


def _owner(who: Principal) -> str:
    return f"{_quoted(who.user)}:{_quoted(who.key)}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
