"""How much an exchange uses: guessed before, known afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from penstock import Attempt, Exchange, RateLimited, Request, Usage
from penstock_limits.rules import Quantity

_BYTES_A_TOKEN = 4
_LONGEST_PROMPT = 200_000
"""Tokens that are reserved at most: bodies beyond that are mostly pictures."""
_USUAL_ANSWER = 1000
"""Tokens that are reserved at most: agents ask for up to 128,000 and use some hundred."""


def estimated(request: Request) -> Quantity:
    """What is reserved: by the size of the document, which costs nothing to know, and by `max_tokens`."""
    prompt = min(len(request.body) // _BYTES_A_TOKEN, _LONGEST_PROMPT)
    wanted = _USUAL_ANSWER if request.max_tokens is None else request.max_tokens
    return Quantity(1, prompt, max(0, min(wanted, _USUAL_ANSWER)))


def used(exchange: Exchange, attempts: Sequence[Attempt], estimate: Quantity) -> Quantity:
    """What an exchange has used with these attempts: nothing at all if it was refused on the way.

    Where nobody has told the usage of a call that was begun, the estimate stays.
    """
    if exchange.outcome != "ok" and not any(map(_sent, attempts)):
        return Quantity()
    if exchange.cached:  # its usage is that of the answer that is given again
        return Quantity(1)
    usage = exchange.usage
    if usage != Usage():
        # The output of an answer that was cut off is not known: upstreams tell it at the end.
        output = usage.output if exchange.stop_reason else max(usage.output, estimate.output)
        return Quantity(1, usage.prompt - usage.cache_read, output)
    under_way = attempts and attempts[-1].error is None and _sent(attempts[-1])
    return estimate if under_way else Quantity(1)


def _sent(attempt: Attempt) -> bool:
    """Whether a call has left, rather than been refused by a step or given up while it was waiting for room."""
    refused = attempt.request is None or isinstance(attempt.error, RateLimited)
    return attempt.status is not None or not refused
