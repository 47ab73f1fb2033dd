"""Whose money it is: the subject of a budget, as a key of the store and in words."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from penstock import Exchange, Target

Per = Literal["key", "user", "team", "session", "model", "pipeline"]


class Subject(NamedTuple):
    """Somebody or something that has a budget. `key` is for the store, `words` are for a message.

    Without a name it is all those that have none, together.
    """

    key: str
    words: str
    named: bool = True


def subject_of(exchange: Exchange, per: Per, target: Target | None = None) -> Subject:
    """Whose budget a request spends; one of a model has a target."""
    if per == "model" and target is not None:
        model = target.model or exchange.request.model
        return Subject(f"{target.upstream}\t{_digest(model)}", f"model {model!r} of upstream {target.upstream}")
    who = exchange.principal
    parts = (who.team, who.user, who.key) if who else ()  # names of keys are unique among those of a user at best
    if per == "session":  # a claim of the client, so that it must not help to leave it out
        session = exchange.request.session
        words = "this session" if session else "requests outside of a session"
        return Subject("\t".join((*parts, _digest(session))), words, bool(session))
    if who is None or per == "pipeline":
        return Subject("", "this pipeline")
    if per == "team":
        return Subject(who.team, f"team {who.team}" if who.team else "everybody without a team")
    if per == "user":
        return Subject("\t".join(parts[:2]), f"user {who.user}")
    return Subject("\t".join(parts), f"key {who.key} of {who.user}")


def _digest(text: str) -> str:
    """Short, whatever a client has written."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest() if text else ""
