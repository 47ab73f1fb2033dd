"""What an exchange costs: guessed before, known afterwards; in nano-dollars."""

from __future__ import annotations

from msgspec.structs import replace

from penstock import Attempt, Exchange, Target, Usage, likely_usage


def estimated(exchange: Exchange, target: Target) -> int:
    """What a target is likely to cost, without a look into the prompt and without caches."""
    return _cost(exchange, target, likely_usage(exchange.request))


def spent(exchange: Exchange, attempt: Attempt, estimate: int) -> int:
    """What it has cost. Where nobody has told the usage of a call that was begun, the estimate stays."""
    usage = exchange.usage
    if usage == Usage():
        return estimate if attempt.sent and attempt.error is None else 0
    if exchange.stop_reason:
        return exchange.cost.total if exchange.cost else 0
    # Cut off, and upstreams tell the output at the end.
    usage = replace(usage, output=max(usage.output, likely_usage(exchange.request).output))
    return _cost(exchange, attempt.target, usage)


def _cost(exchange: Exchange, target: Target, usage: Usage) -> int:
    if exchange.prices is None:
        return 0
    model = target.model or exchange.request.model
    return exchange.prices.cost(target.upstream, model, usage, served=exchange.served_model).total
