"""What steps that count need: whose use it is, and how much it will probably be."""

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from penstock.errors import Forbidden, InvalidRequest
from penstock.events import Usage
from penstock.exchange import Exchange, Principal, Target
from penstock.options import split_target
from penstock.plugin import EndpointRequest
from penstock.request import Request

Per = Literal["key", "user", "team", "session", "model", "upstream", "pipeline"]
"""What use is counted by."""

_NAMES = ("team", "user", "key", "session", "upstream", "model")
"""What an endpoint may be asked about."""
_BYTES_A_TOKEN = 4
_BYTES_A_STREAMED_TOKEN = 32
"""Frames around it included: streams have about 130 bytes for four or five tokens."""
_LONGEST_PROMPT = 200_000
"""Tokens that are expected at most: bodies beyond that are mostly pictures."""
_USUAL_ANSWER = 1000
"""Tokens that are expected at most: agents ask for up to 128,000 and use some hundred."""


class Subject(msgspec.Struct, frozen=True):
    """Somebody or something whose use is counted. `key` is for the store, `words` are for a message.

    Without a name it is all those that have none, together.
    """

    key: str
    words: str
    named: bool = True


def subject_of(exchange: Exchange, per: Per, target: Target | None = None) -> Subject:
    """Whose use a request is; models and upstreams are known only with a target."""
    request = exchange.request
    if target is not None and not target.model:
        target = Target(target.upstream, request.model)
    return _subject(per, exchange.principal, request.session if per == "session" else "", target)


def subject_asked(asked: EndpointRequest, per: Per) -> Subject:
    """Whose use an endpoint is asked about: the caller's own, unless an admin names somebody else in the query.

    That is by `team`, `user` and `key`, all that `per` needs; everybody names the `session`, the `upstream` and the
    `model` that they mean. Raises Forbidden, InvalidRequest.
    """
    query = asked.query
    if unknown := sorted(query.keys() - _NAMES):
        raise InvalidRequest(f"unknown parameter {unknown[0]!r}; there are: {', '.join(_NAMES)}")
    who = None if asked.principal is None else _meant(asked.principal, query, per)
    _require(query, {"session": ("session",), "upstream": ("upstream",), "model": ("upstream", "model")}, per)
    return _subject(per, who, query.get("session", ""), Target(query.get("upstream", ""), query.get("model", "")))


def _meant(who: Principal, query: Mapping[str, str], per: Per) -> Principal:
    own = {"team": who.team, "user": who.user, "key": who.key}
    named = {name: query.get(name, value) for name, value in own.items()}
    if named == own:
        return who
    if not who.admin or (who.team and named["team"] != who.team):
        raise Forbidden("what others have left is for admins to see, and for those of a team only within their team")
    _require(query, {"user": ("user",), "key": ("user", "key"), "session": ("user", "key")}, per)
    if not named["user"]:
        raise InvalidRequest("`user` must not be empty")
    return Principal(team=named["team"], user=named["user"], key=named["key"])


def _require(query: Mapping[str, str], needed: Mapping[str, tuple[str, ...]], per: Per) -> None:
    if missing := [name for name in needed.get(per, ()) if name not in query]:
        raise InvalidRequest(f"this is counted by {per}: say which, with `{missing[0]}` in the query")


def _subject(per: Per, who: Principal | None, session: str, target: Target | None) -> Subject:
    if target is not None and per == "upstream":
        return Subject(target.upstream, f"upstream {target.upstream}")
    if target is not None and per == "model":
        key = _joined(target.upstream, _digest(target.model))
        return Subject(key, f"model {target.model!r} of upstream {target.upstream}")
    parts = (who.team, who.user, who.key) if who else ()  # names of keys are unique among those of a user at best
    if per == "session":  # a claim of the client, so that it must not help to leave it out
        words = "this session" if session else "requests outside of a session"
        return Subject(_joined(*parts, _digest(session)), words, bool(session))
    if who is None or per == "pipeline":
        return Subject("", "this pipeline")
    if per == "team":
        return Subject(who.team, f"team {who.team}" if who.team else "everybody without a team")
    if per == "user":
        return Subject(_joined(who.team, who.user), f"user {who.user}")
    return Subject(_joined(*parts), f"key {who.key} of {who.user}")


def model_names(exchange: Exchange, target: Target | None = None) -> list[str]:
    """What the model of a request is called, to be compared with patterns: its name, and `upstream/model`.

    Without a target it is the client's word, and the names of the first target that a step has chosen; before that, of
    the one that the word addresses, for it must not help to write `upstream/model`.
    """
    asked = exchange.request.model
    meant = target or next(iter(exchange.targets), None) or _addressed(exchange)
    model = (meant.model if meant else "") or asked
    names = [model, f"{meant.upstream}/{model}"] if meant else []
    return names if target else [asked, *names]


def _addressed(exchange: Exchange) -> Target | None:
    upstream, model = split_target(exchange.request.model)
    return Target(upstream, model) if model and upstream in exchange.upstreams else None


def likely_usage(request: Request) -> Usage:
    """What to expect, by the size of the document, which costs nothing to know, and by `max_tokens`."""
    wanted = _USUAL_ANSWER if request.max_tokens is None else request.max_tokens
    prompt = min(len(request.body) // _BYTES_A_TOKEN, _LONGEST_PROMPT)
    return Usage(input=prompt, output=max(0, min(wanted, _USUAL_ANSWER)), estimated=True)


def broken_off(exchange: Exchange, delivered: int) -> Usage:
    """The usage of an answer that broke off, guessed where it is not known: upstreams tell the output at the end.

    `delivered` are the bytes of its stream that have left.
    """
    usage = exchange.usage
    guessed = delivered // _BYTES_A_STREAMED_TOKEN
    output = max(usage.output, min(guessed, exchange.request.max_tokens or guessed))
    prompt = {} if usage.prompt else {"input": likely_usage(exchange.request).input}
    return replace(usage, output=output, estimated=True, **prompt)


def _joined(*parts: str) -> str:
    return "\t".join(parts)


def _digest(text: str) -> str:
    """Short, whatever a client has written."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest() if text else ""
