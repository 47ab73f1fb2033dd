"""What steps that count need: whose use it is, and how much it will probably be."""

import hashlib
from typing import Literal, NamedTuple

from penstock.events import Usage
from penstock.exchange import Exchange, Target
from penstock.request import Request

Per = Literal["key", "user", "team", "session", "model", "upstream", "pipeline"]
"""What use is counted by."""

_BYTES_A_TOKEN = 4
_LONGEST_PROMPT = 200_000
"""Tokens that are expected at most: bodies beyond that are mostly pictures."""
_USUAL_ANSWER = 1000
"""Tokens that are expected at most: agents ask for up to 128,000 and use some hundred."""


class Subject(NamedTuple):
    """Somebody or something whose use is counted. `key` is for the store, `words` are for a message.

    Without a name it is all those that have none, together.
    """

    key: str
    words: str
    named: bool = True


def subject_of(exchange: Exchange, per: Per, target: Target | None = None) -> Subject:
    """Whose use a request is; models and upstreams are known only with a target."""
    if target is not None and per == "upstream":
        return Subject(target.upstream, f"upstream {target.upstream}")
    if target is not None and per == "model":
        model = target.model or exchange.request.model
        return Subject(_joined(target.upstream, _digest(model)), f"model {model!r} of upstream {target.upstream}")
    who = exchange.principal
    parts = (who.team, who.user, who.key) if who else ()  # names of keys are unique among those of a user at best
    if per == "session":  # a claim of the client, so that it must not help to leave it out
        session = exchange.request.session
        words = "this session" if session else "requests outside of a session"
        return Subject(_joined(*parts, _digest(session)), words, bool(session))
    if who is None or per == "pipeline":
        return Subject("", "this pipeline")
    if per == "team":
        return Subject(who.team, f"team {who.team}" if who.team else "everybody without a team")
    if per == "user":
        return Subject(_joined(who.team, who.user), f"user {who.user}")
    return Subject(_joined(*parts), f"key {who.key} of {who.user}")


def likely_usage(request: Request) -> Usage:
    """What to expect, by the size of the document, which costs nothing to know, and by `max_tokens`."""
    wanted = _USUAL_ANSWER if request.max_tokens is None else request.max_tokens
    prompt = min(len(request.body) // _BYTES_A_TOKEN, _LONGEST_PROMPT)
    return Usage(input=prompt, output=max(0, min(wanted, _USUAL_ANSWER)), estimated=True)


def _joined(*parts: str) -> str:
    return "\t".join(parts)


def _digest(text: str) -> str:
    """Short, whatever a client has written."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest() if text else ""
