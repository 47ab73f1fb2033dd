"""What the log says of an exchange: who, what, how it went and what it cost, and nothing of its contents.

Fields, each left out when there is nothing to say:
time (of the end; RFC 3339, UTC), request_id, parent (request_id of the request in which a step asked this one) and
asked_by (that step), pipeline, operation, user, team, key, session, agent (with version),
client (address), stream, model (asked for), served_model, upstream (that answered or was tried last),
attempts (each: upstream, model, status, request_id of the upstream's answer, error, seconds), status (HTTP),
outcome (ok, error, cancelled), error (kind, message, detail), stop_reason, tokens (input, cache_read, cache_write,
output, reasoning, estimated), mode (in which the upstream has processed it, if not the standard one), searches (of the
web, by the upstream), cost_usd (US dollars), price_unknown (that is by another price than its own), first_event and
total (seconds), repairs (how often which), simulated, cached (an earlier answer was given again: its tokens cost
nothing).
"""

from datetime import datetime

import msgspec

from penstock import DOLLAR, Attempt, Exchange, GatewayError, Usage

from .redaction import redact

_NONE = Usage()
LONGEST = 200
"""Characters kept of what a client calls itself, its session and its model, and an upstream an answer."""


class Tried(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One attempt."""

    upstream: str
    model: str
    status: int | None = None
    request_id: str = ""
    error: str = ""
    seconds: float | None = None


class Failure(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What went wrong."""

    kind: str
    message: str = ""
    detail: str = ""


class Tokens(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What the answer took."""

    input: int
    cache_read: int | None = None
    cache_write: int | None = None
    output: int
    reasoning: int | None = None
    estimated: bool | None = None


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One exchange. A zero is something to say; None, and what is empty, are not."""

    time: str
    request_id: str
    parent: str = ""
    asked_by: str = ""
    pipeline: str
    operation: str
    user: str = ""
    team: str = ""
    key: str = ""
    session: str = ""
    agent: str = ""
    client: str = ""
    stream: bool
    model: str = ""
    served_model: str = ""
    upstream: str = ""
    attempts: tuple[Tried, ...] = ()
    status: int | None = None
    outcome: str
    error: Failure | None = None
    stop_reason: str = ""
    tokens: Tokens | None = None
    mode: str = ""
    searches: int | None = None
    cost_usd: float | None = None
    price_unknown: bool | None = None
    first_event: float | None = None
    total: float | None = None
    repairs: dict[str, int] = {}
    simulated: bool | None = None
    cached: bool | None = None


def record(exchange: Exchange, time: datetime) -> Line:
    """The line for an exchange that ended at `time`, in UTC."""
    request, tried, usage = exchange.request, exchange.attempt, exchange.usage
    agent = exchange.headers.get("user-agent", "").split(maxsplit=1)
    line = Line(
        time=time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        request_id=exchange.id,
        parent=exchange.parent,
        asked_by=exchange.asked_by[-1] if exchange.asked_by else "",
        pipeline=exchange.pipeline,
        operation=exchange.operation,
        session=request.session[:LONGEST],
        agent=agent[0][:LONGEST] if agent else "",
        client=exchange.peer,
        stream=request.stream,
        model=request.client_model[:LONGEST],
        served_model=(exchange.served_model or "")[:LONGEST],
        upstream=tried.target.upstream if tried else "",
        attempts=tuple([_tried(attempt, request.model) for attempt in exchange.attempts]),
        status=exchange.status or None,
        outcome=exchange.outcome,
        error=_failure(exchange.error),
        stop_reason=exchange.stop_reason,
        tokens=_tokens(usage),
        mode=usage.mode[:LONGEST],
        searches=usage.searches or None,
        first_event=_seconds(exchange.first_event, exchange.started),
        total=_seconds(exchange.ended, exchange.started),
        repairs=exchange.repairs,
        simulated=exchange.simulated or None,
        cached=exchange.cached or None,
    )
    if (principal := exchange.principal) is not None:
        line.user, line.team, line.key = principal.user, principal.team, principal.key
    if (cost := exchange.cost) is not None:
        line.cost_usd, line.price_unknown = cost.total / DOLLAR, not cost.known or None
    return line


def _tried(attempt: Attempt, model: str) -> Tried:
    return Tried(
        upstream=attempt.target.upstream,
        model=(attempt.target.model or model)[:LONGEST],
        status=attempt.status,
        request_id=attempt.request_id[:LONGEST],
        error=attempt.error.kind if attempt.error else "",
        seconds=_seconds(attempt.seconds, 0.0),
    )


def _failure(error: GatewayError | None) -> Failure | None:
    if error is None:
        return None
    return Failure(kind=error.kind, message=redact(error.message), detail=redact(error.detail or ""))


def _tokens(usage: Usage) -> Tokens | None:
    if usage == _NONE:
        return None
    return Tokens(
        input=usage.input,
        cache_read=usage.cache_read or None,
        cache_write=usage.cache_write + usage.cache_write_1h or None,
        output=usage.output,
        reasoning=usage.reasoning or None,
        estimated=usage.estimated or None,
    )


def _seconds(until: float | None, since: float) -> float | None:
    return None if until is None else round(until - since, 3)
