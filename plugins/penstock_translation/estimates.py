"""What an answer cost, for upstreams that do not say it."""

from penstock import Exchange, Usage

from .tokens import count

_BYTES_A_TOKEN = 4  # of text; near enough for what is marked as an estimate


def estimated_usage(exchange: Exchange, size: int) -> Usage:
    """The prompt counted offline, and an answer of `size` bytes."""
    target = exchange.attempt.target if exchange.attempt else None
    model = (target.model if target else "") or exchange.request.model
    return Usage(input=count(exchange.request.prompt, model), output=-(-size // _BYTES_A_TOKEN), estimated=True)
