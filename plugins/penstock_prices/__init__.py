"""Tell what tokens cost, for the log, for budgets and for the ledger."""

import time
from typing import Annotated

from msgspec import Meta

from penstock import DOLLAR, Exchange, Gateway, Plugin, hookimpl

from .price import Price
from .pricing import Pricing

__all__ = ["PriceList"]

_DEFAULT = Price(input=5 * DOLLAR, output=25 * DOLLAR)


class PriceList(Plugin):
    """Know what the tokens of each model cost, for the steps below and for the log.

    Prices are in US dollars per million tokens: `input`, `output`, and where they differ `cache_read`, `cache_write`,
    `cache_write_1h` and `reasoning`; `searches` is for a thousand of them; `long` has other ones for prompts `above` so
    many tokens, and `modes` for ways of processing such as `priority`. They come from a table in the package.
    `overrides` replaces it for a model, or for a shell pattern of the model or of `upstream/model`; the longest that
    fits counts. An unknown model costs `default`, without it 5 for input and 25 for output, and is named in a warning.
    A way of processing without a price costs so many times the standard price as `modes` says, without that once, with
    a warning. Servers on your own machine (presets such as `ollama`) cost nothing.
    """

    provides = frozenset({"prices"})

    overrides: dict[str, Price] = {}
    default: Price | None = None
    modes: dict[str, Annotated[float, Meta(ge=0, le=1000)]] = {}

    def __post_init__(self) -> None:
        if self.default is not None and not (self.default.input and self.default.output):
            raise ValueError("`default` needs an `input` and an `output` above zero: an unknown model is never free")

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        default = self.default or _DEFAULT
        factors = {name: round(factor * DOLLAR) for name, factor in self.modes.items()}
        self._prices = Pricing(gateway.upstreams, self.overrides, default, self.log, time.time, factors)
        gateway.price_by(self._prices)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.prices = self._prices
