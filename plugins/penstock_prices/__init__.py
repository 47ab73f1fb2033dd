"""Tell what tokens cost, for the log, for budgets and for the ledger."""

import time

from penstock import DOLLAR, Exchange, Gateway, Plugin, hookimpl
from penstock_prices.price import Price
from penstock_prices.pricing import Pricing

__all__ = ["PriceList"]

_DEFAULT = Price(input=5 * DOLLAR, output=25 * DOLLAR)


class PriceList(Plugin):
    """Know what the tokens of each model cost, for the steps below and for the log.

    Prices are in US dollars per million tokens: `input`, `output`, and where they differ `cache_read`, `cache_write`,
    `cache_write_1h` and `reasoning`; `long` has other ones for prompts `above` so many tokens. They come from a table
    in the package. `overrides` replaces it for a model, or for a shell pattern of the model or of `upstream/model`;
    the longest that fits counts. An unknown model costs `default`, without it 5 for input and 25 for output, and is
    named in a warning. Servers on your own machine (presets such as `ollama`) cost nothing.
    """

    provides = frozenset({"prices"})

    overrides: dict[str, Price] = {}
    default: Price | None = None

    def __post_init__(self) -> None:
        if self.default is not None and not (self.default.input and self.default.output):
            raise ValueError("`default` needs an `input` and an `output` above zero: an unknown model is never free")

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        default = self.default or _DEFAULT
        self._prices = Pricing(gateway.upstreams, self.overrides, default, self.log, time.time)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.prices = self._prices
