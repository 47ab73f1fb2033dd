"""Let clients and upstreams of different formats understand each other."""

from penstock import (
    Attempt,
    Exchange,
    Finish,
    Forbidden,
    Gateway,
    GatewayError,
    InvalidRequest,
    OverBudget,
    Plugin,
    Response,
    Target,
    TooLarge,
    Unauthenticated,
    UpstreamFailed,
    hookimpl,
)
from penstock_translation.anthropic.safeguards import unclaimed
from penstock_translation.tokens import count

__all__ = ["Translation"]

_CLIENTS_FAULT = (InvalidRequest, Unauthenticated, Forbidden, TooLarge, OverBudget)


class Translation(Plugin):
    """Serve clients of the formats in `clients` and render their requests for whatever upstream is tried.

    Token counts come from the upstream where it serves them in the client's own format, else they are estimated.
    """

    clients: tuple[str, ...] = ("anthropic",)

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        for name in self.clients:
            gateway.serve_protocol(name)

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response | None:
        if exchange.operation != "count_tokens":
            return None
        target = _first_target(exchange)
        return None if target and _counts_tokens(exchange, target) else _estimate(exchange)

    @hookimpl
    def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        upstream, target = attempt.upstream, attempt.target
        if exchange.operation == "count_tokens" and not _counts_tokens(exchange, target):
            raise UpstreamFailed(f"upstream {upstream.name!r} counts no tokens for {exchange.protocol.name} clients")
        quirks = upstream.quirks_of(target.model or exchange.request.model)
        attempt.request = upstream.protocol.render(exchange, target, quirks)

    @hookimpl
    def on_event(self, exchange: Exchange, event: Finish) -> Finish | None:
        """Another event instead of the upstream's has the end of an answer written anew and not relayed."""
        return unclaimed(exchange, event)

    @hookimpl
    def on_error(self, exchange: Exchange, error: GatewayError) -> Response | None:
        if exchange.operation != "count_tokens" or isinstance(error, _CLIENTS_FAULT):
            return None
        return _estimate(exchange)


def _first_target(exchange: Exchange) -> Target | None:
    """What will be tried first: with no targets it is the only upstream, if there is but one."""
    if exchange.targets:
        return exchange.targets[0]
    return Target(*exchange.upstreams) if len(exchange.upstreams) == 1 else None


def _counts_tokens(exchange: Exchange, target: Target) -> bool:
    """Whether the target counts tokens in the client's own format."""
    upstream = exchange.upstreams[target.upstream]
    if upstream.protocol.name != exchange.protocol.name or not upstream.protocol.counts_tokens:
        return False
    return getattr(upstream.quirks_of(target.model or exchange.request.model), "count_tokens", True)


def _estimate(exchange: Exchange) -> Response:
    target = _first_target(exchange)
    model = (target.model if target else "") or exchange.request.model
    return Response(tokens=count(exchange.request.prompt, model))
