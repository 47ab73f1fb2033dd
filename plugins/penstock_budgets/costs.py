"""What an exchange costs: guessed before, known afterwards; in nano-dollars."""

from __future__ import annotations

from msgspec.structs import replace

from penstock import Attempt, Exchange, RateLimited, Target, Usage

_BYTES_A_TOKEN = 4
_LONGEST_PROMPT = 200_000
"""Tokens that are reserved at most: bodies beyond that are mostly pictures."""
_USUAL_ANSWER = 1000
"""Tokens that are reserved at most: agents ask for up to 128,000 and use some hundred."""


def estimated(exchange: Exchange, target: Target) -> int:
    """What a target is likely to cost, without a look into the prompt and without caches."""
    return _cost(exchange, target, _likely(exchange))


def spent(exchange: Exchange, attempt: Attempt, estimate: int) -> int:
    """What it has cost. Where nobody has told the usage of a call that was begun, the estimate stays."""
    usage = exchange.usage
    if usage == Usage():
        refused = attempt.request is None or isinstance(attempt.error, RateLimited)
        return 0 if refused or attempt.error is not None else estimate
    if not exchange.stop_reason:  # cut off, and upstreams tell the output at the end
        usage = replace(usage, output=max(usage.output, _likely(exchange).output))
    return _cost(exchange, attempt.target, usage)


def _likely(exchange: Exchange) -> Usage:
    request = exchange.request
    wanted = _USUAL_ANSWER if request.max_tokens is None else request.max_tokens
    prompt = min(len(request.body) // _BYTES_A_TOKEN, _LONGEST_PROMPT)
    return Usage(input=prompt, output=max(0, min(wanted, _USUAL_ANSWER)), estimated=True)


def _cost(exchange: Exchange, target: Target, usage: Usage) -> int:
    if exchange.prices is None:
        return 0
    model = target.model or exchange.request.model
    return exchange.prices.cost(target.upstream, model, usage, served=exchange.served_model).total
