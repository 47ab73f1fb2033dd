"""Whose use is counted: the subject of a limit, as a key of the store and in words."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from penstock import Exchange, Principal, Target

Per = Literal["key", "user", "team", "session", "model", "upstream", "pipeline"]

BY_TARGET = frozenset({"model", "upstream"})
"""What is known only when a target is tried."""


class Subject(NamedTuple):
    """Somebody or something whose use is counted. `key` is for the store, `words` are for a message.

    Without a name it is all those that have none, together.
    """

    key: str
    words: str
    named: bool = True


def of_request(exchange: Exchange, per: Per) -> Subject:
    """The subject of a request, as far as it does not depend on its target."""
    who = exchange.principal
    if per == "session":  # a claim of the client, so that it must not help to leave it out
        session = exchange.request.session
        words = "this session" if session else "requests outside of a session"
        return Subject(_joined(*_whole(who), _digest(session)), words, bool(session))
    if who is None or per == "pipeline":
        return Subject("", "this pipeline")
    if per == "team":
        return Subject(who.team, f"team {who.team}" if who.team else "everybody without a team")
    if per == "user":
        return Subject(_joined(who.team, who.user), f"user {who.user}")
    return Subject(_joined(*_whole(who)), f"key {who.key} of {who.user}")


def of_target(exchange: Exchange, target: Target, per: Per) -> Subject:
    """The subject of a call to an upstream."""
    if per == "upstream":
        return Subject(target.upstream, f"upstream {target.upstream}")
    model = target.model or exchange.request.model
    return Subject(_joined(target.upstream, _digest(model)), f"model {model!r} of upstream {target.upstream}")


def _whole(who: Principal | None) -> tuple[str, ...]:
    """Names of keys are unique among those of a user at best."""
    return (who.team, who.user, who.key) if who else ()


def _joined(*parts: str) -> str:
    return "\t".join(parts)


def _digest(text: str) -> str:
    """Short, whatever a client has written."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest() if text else ""
