"""How much the model of a target can write, as far as its upstream knows."""

from penstock import Exchange, Target


def output_limit(exchange: Exchange, target: Target) -> int:
    """The most tokens of an answer, 0 when unknown."""
    upstream = exchange.upstreams.get(target.upstream)
    model = target.model or exchange.request.model
    models = upstream.models if upstream is not None else ()
    return next((known.output for known in models if known.id == model), 0)
