"""How much an exchange uses: guessed before, known afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from penstock import Attempt, Exchange, Request, Usage, likely_usage

from .rules import Quantity


def estimated(request: Request) -> Quantity:
    """What is reserved."""
    likely = likely_usage(request)
    return Quantity(1, likely.input, likely.output)


def used(exchange: Exchange, attempts: Sequence[Attempt], estimate: Quantity) -> Quantity:
    """What an exchange has used with these attempts: nothing at all if it was refused on the way.

    Where nobody has told the usage of a call that was begun, the estimate stays.
    """
    if exchange.outcome != "ok" and not any(attempt.sent for attempt in attempts):
        return Quantity()
    if exchange.cached:  # its usage is that of the answer that is given again
        return Quantity(1)
    usage = exchange.usage
    if usage != Usage():
        # The output of an answer that was cut off is not known: upstreams tell it at the end.
        output = usage.output if exchange.stop_reason else max(usage.output, estimate.output)
        return Quantity(1, usage.prompt - usage.cache_read, output)
    under_way = attempts and attempts[-1].error is None and attempts[-1].sent
    return estimate if under_way else Quantity(1)
