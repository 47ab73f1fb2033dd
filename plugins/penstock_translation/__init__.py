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

from .anthropic.safeguards import unclaimed
from .anthropic.sealing import resealed
from .tokens import count

__all__ = ["Translation"]

_MOST_NOTES = 1000
_CLIENTS_FAULT = (InvalidRequest, Unauthenticated, Forbidden, TooLarge, OverBudget)


class Translation(Plugin):
    """Serve clients of the formats in `clients` and render their requests for whatever upstream is tried.

    Token counts come from the upstream where it serves them, else they are estimated. What a client asks for and an
    upstream has no counterpart for is left out and logged, once for each upstream.
    """

    clients: tuple[str, ...] = ("anthropic",)

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self._noted: set[tuple[str, str]] = set()
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
            raise UpstreamFailed(f"upstream {upstream.name!r} counts no tokens")
        quirks = upstream.quirks_of(target.model or exchange.request.model)
        attempt.request = upstream.protocol.render(exchange, target, quirks)
        self._note(upstream.name, attempt.request.dropped)

    @hookimpl
    def on_event(self, exchange: Exchange, event: Finish) -> Finish | None:
        """Another event instead of the upstream's has the end of an answer written anew and not relayed."""
        return unclaimed(exchange, event) or resealed(exchange, event)

    def _note(self, upstream: str, dropped: tuple[str, ...]) -> None:
        """Log what is left out, once for each upstream: an agent asks for the same things in every request."""
        for what in dropped:
            if (upstream, what) not in self._noted and len(self._noted) < _MOST_NOTES:
                self._noted.add((upstream, what))
                self.log.warning("left out for upstream %r, which has no counterpart: %s", upstream, what)

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
    """Whether the target's upstream counts tokens."""
    upstream = exchange.upstreams[target.upstream]
    quirks = upstream.quirks_of(target.model or exchange.request.model)
    return upstream.protocol.counts_tokens and getattr(quirks, "count_tokens", True)


def _estimate(exchange: Exchange) -> Response:
    target = _first_target(exchange)
    model = (target.model if target else "") or exchange.request.model
    return Response(tokens=count(exchange.request.prompt, model))
