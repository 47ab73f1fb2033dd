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
from typing import Any

from penstock import DOLLAR, Attempt, Cost, Exchange, GatewayError, Usage

from .redaction import redact

_NONE = Usage()
LONGEST = 200
"""Characters kept of what a client calls itself, its session and its model, and an upstream an answer."""


def record(exchange: Exchange, time: datetime) -> dict[str, Any]:
    """The fields for an exchange that ended at `time`, in UTC."""
    tried = exchange.attempt
    return _said(
        time=time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        request_id=exchange.id,
        parent=exchange.parent,
        asked_by=exchange.asked_by[-1] if exchange.asked_by else None,
        pipeline=exchange.pipeline,
        operation=exchange.operation,
        **_who(exchange),
        stream=exchange.request.stream,
        model=exchange.request.client_model[:LONGEST],
        served_model=(exchange.served_model or "")[:LONGEST],
        upstream=tried.target.upstream if tried else None,
        attempts=[_attempt(attempt, exchange.request.model) for attempt in exchange.attempts],
        status=exchange.status or None,
        outcome=exchange.outcome,
        error=_error(exchange.error),
        stop_reason=exchange.stop_reason,
        tokens=_tokens(exchange.usage),
        mode=exchange.usage.mode[:LONGEST],
        searches=exchange.usage.searches or None,
        **_cost(exchange.cost),
        first_event=_seconds(exchange.first_event, exchange.started),
        total=_seconds(exchange.ended, exchange.started),
        repairs=exchange.repairs,
        simulated=exchange.simulated or None,
        cached=exchange.cached or None,
    )


def _who(exchange: Exchange) -> dict[str, str]:
    principal = exchange.principal
    agent = exchange.headers.get("user-agent", "").split(maxsplit=1)
    return _said(
        user=principal.user if principal else None,
        team=principal.team if principal else None,
        key=principal.key if principal else None,
        session=exchange.request.session[:LONGEST],
        agent=agent[0][:LONGEST] if agent else None,
        client=exchange.peer,
    )


def _attempt(attempt: Attempt, model: str) -> dict[str, Any]:
    return _said(
        upstream=attempt.target.upstream,
        model=(attempt.target.model or model)[:LONGEST],
        status=attempt.status,
        request_id=attempt.request_id[:LONGEST],
        error=attempt.error.kind if attempt.error else None,
        seconds=_seconds(attempt.seconds, 0.0),
    )


def _error(error: GatewayError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return _said(kind=error.kind, message=redact(error.message), detail=redact(error.detail or ""))


def _tokens(usage: Usage) -> dict[str, Any] | None:
    if usage == _NONE:
        return None
    return _said(
        input=usage.input,
        cache_read=usage.cache_read or None,
        cache_write=usage.cache_write + usage.cache_write_1h or None,
        output=usage.output,
        reasoning=usage.reasoning or None,
        estimated=usage.estimated or None,
    )


def _cost(cost: Cost | None) -> dict[str, Any]:
    return _said(cost_usd=cost.total / DOLLAR, price_unknown=not cost.known or None) if cost else {}


def _seconds(until: float | None, since: float) -> float | None:
    return None if until is None else round(until - since, 3)


def _said(**fields: Any) -> dict[str, Any]:
    """What there is to say: a zero is, nothing and what is empty are not."""
    return {name: value for name, value in fields.items() if value or isinstance(value, (int, float))}
