"""What the ledger says of an exchange: who, what, how it went, the tokens of each kind and their cost; no contents."""

from datetime import datetime

import msgspec

from penstock import Attempt, Exchange, Target, Usage

LONGEST = 200
"""Characters kept of names that clients and upstreams choose."""
_MOST = 10**12  # tokens, milliseconds: nothing real is more, and sums of it stay within 64 bits
_DEAREST = 10**15  # nano-dollars: a million dollars


class Try(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt. `status` is the upstream's own, 0 while it has not answered."""

    number: int
    upstream: str
    preset: str = ""
    protocol: str = ""
    model: str = ""
    status: int = 0
    request_id: str = ""
    error: str = ""
    duration_ms: int = 0


class Record(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One exchange. Costs are in nano-dollars, `time` is that of the end, in UTC.

    `model` is the client's word, `asked_model` the upstream's, `served_model` what it called itself. `mode` is how the
    upstream has processed it, such as `standard` or `priority`; `searches` are those of the web. `answered` says by
    whom: `upstream`, `simulator`, `gateway` (any other step, such as a cache), or "" by nobody. Tokens and cost are of
    the first two; of an answer that a cache gave, all tokens are in `replayed_tokens`, and what they would have cost in
    `replayed_nano`.
    `outcome` is ok, error or cancelled; `open` in the journal while it is under way, and `killed` if the process of the
    gateway died before the end.
    """

    id: str
    time: datetime
    pipeline: str
    operation: str
    user: str = ""
    team: str = ""
    key: str = ""
    session: str = ""
    agent: str = ""
    agent_version: str = ""
    protocol: str = ""
    model: str = ""
    asked_model: str = ""
    served_model: str = ""
    upstream: str = ""
    preset: str = ""
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    searches: int = 0
    mode: str = ""
    estimated: bool = False
    cost_nano: int = 0
    price_known: bool = True
    cache_saved_nano: int = 0
    replayed_tokens: int = 0
    replayed_nano: int = 0
    first_event_ms: int | None = None
    duration_ms: int = 0
    outcome: str = "open"
    answered: str = ""
    status: int = 0
    error: str = ""
    stop_reason: str = ""
    streamed: bool = False
    simulated: bool = False
    attempts: tuple[Try, ...] = ()

    @property
    def day(self) -> str:
        """The day it counts for, in UTC: `2026-11-21`."""
        return self.time.date().isoformat()


def record(exchange: Exchange, time: datetime, now: float) -> Record:
    """The record of an exchange at a moment: `time` in UTC, `now` by the exchange's own clock."""
    request, principal, last = exchange.request, exchange.principal, exchange.attempt
    agent, _, version = exchange.headers.get("user-agent", "").partition(" ")[0].partition("/")
    made = Record(
        id=exchange.id,
        time=time,
        pipeline=exchange.pipeline,
        operation=exchange.operation,
        session=text(request.session),
        agent=text(agent),
        agent_version=text(version),
        protocol=exchange.protocol.name,
        model=text(request.client_model),
        asked_model=text((last.target.model if last else "") or request.model),
        served_model=text(exchange.served_model),
        first_event_ms=_ms(exchange.first_event, exchange.started),
        duration_ms=_ms(exchange.ended or now, exchange.started) or 0,
        outcome=exchange.outcome,
        status=exchange.status,
        error=exchange.error.kind if exchange.error else "",
        stop_reason=text(exchange.stop_reason),
        streamed=request.stream,
        simulated=exchange.simulated,
        attempts=tuple(_try(attempt, request.model) for attempt in exchange.attempts),
    )
    if principal is not None:
        made.user, made.team, made.key = text(principal.user), text(principal.team), text(principal.key)
    if last is not None:
        made.upstream, made.preset = last.target.upstream, last.upstream.preset
    _count(made, exchange)
    return made


def _count(made: Record, exchange: Exchange) -> None:
    """Tokens and cost: those of the upstream that answered, or of a step that did in its place."""
    usage, last = exchange.usage, exchange.attempt
    if last is not None and last.error is None and (last.status or usage != Usage()):
        made.answered, made.mode = "upstream", text(usage.mode) or "standard"
        _charge(made, usage)
        if (cost := exchange.cost) is not None:
            made.cost_nano, made.cache_saved_nano = _nano(cost.total), _nano(cost.saved)
            made.price_known = cost.known
    elif exchange.simulated:
        made.answered = "simulator"
        _charge(made, usage)
    elif exchange.response is not None:
        made.answered = "gateway"
        made.replayed_tokens = _whole(usage.prompt + usage.output)
        made.replayed_nano = _worth(exchange)


def _charge(made: Record, usage: Usage) -> None:
    made.input_tokens, made.output_tokens = _whole(usage.input), _whole(usage.output)
    made.cache_read_tokens, made.reasoning_tokens = _whole(usage.cache_read), _whole(usage.reasoning)
    made.cache_write_tokens, made.cache_write_1h_tokens = _whole(usage.cache_write), _whole(usage.cache_write_1h)
    made.searches = _whole(usage.searches)
    made.estimated = usage.estimated


def _worth(exchange: Exchange) -> int:
    """What an upstream would have charged for an answer that a step gave, 0 if nobody knows."""
    if exchange.prices is None or exchange.usage == Usage():
        return 0
    target = exchange.targets[0] if exchange.targets else Target("")
    model = target.model or exchange.request.model
    cost = exchange.prices.cost(target.upstream, model, exchange.usage, served=exchange.served_model)
    return _nano(cost.total) if cost.known else 0


def _try(attempt: Attempt, model: str) -> Try:
    return Try(
        number=attempt.number,
        upstream=attempt.target.upstream,
        preset=attempt.upstream.preset,
        protocol=attempt.upstream.protocol.name,
        model=text(attempt.target.model or model),
        status=attempt.status or 0,
        request_id=text(attempt.request_id),
        error=attempt.error.kind if attempt.error else "",
        duration_ms=_ms(attempt.seconds, 0.0) or 0,
    )


def text(value: str) -> str:
    """A name that somebody else chose, as any database takes it: no NUL, no half of a surrogate pair, not long."""
    short = value[:LONGEST]
    if short.isascii() and "\0" not in short:
        return short
    return short.replace("\0", "").encode("utf-8", "replace").decode()


def _whole(tokens: int) -> int:
    return tokens if 0 <= tokens <= _MOST else max(0, min(tokens, _MOST))


def _nano(cost: int) -> int:
    return max(-_DEAREST, min(cost, _DEAREST))


def _ms(until: float | None, since: float) -> int | None:
    return None if until is None else _whole(round((until - since) * 1000))
