"""Whose answers are whose, and which request is which: the key of an answer."""

from hashlib import sha256
from typing import Literal

import msgspec

from penstock import Exchange

Scope = Literal["key", "team", "pipeline"]
"""Who shares answers."""


def key_of(exchange: Exchange, scope: Scope) -> str | None:
    """The key of a request's answer, None if its protocol cannot tell what matters.

    It is made of what the protocol counts of the request, the model asked for, the protocol, and who may have the
    answer. None of that can be read from it.
    """
    asked = exchange.protocol.fingerprint(exchange.request, exchange.headers)
    if asked is None:
        return None
    name = msgspec.json.encode((_sharers(exchange, scope), exchange.protocol.name, exchange.request.model))
    return sha256(name + asked).hexdigest()


def _sharers(exchange: Exchange, scope: Scope) -> tuple[str, ...]:
    """Who shares the answer. Where nobody has to say who they are, those who send the same credential, or none."""
    who = exchange.principal
    if scope == "pipeline":
        return ()
    if who is None:
        return ("credential", *(exchange.headers.get(name, "") for name in ("authorization", "x-api-key")))
    if scope == "team" and who.team:
        return ("team", who.team)
    return ("key", who.user, who.team, who.key)
