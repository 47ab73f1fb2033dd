"""What tokens cost in one pipeline: the operator's prices, then the table, then the default."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache

from penstock import Cost, Prices, Upstream, Usage, format_money

from .names import LONGEST
from .price import Price, Tariff
from .table import Listed, current, the_table, the_upstreams

_REMEMBERED = 1024  # answers, and models that were warned of: names come from clients, and there is no end to them
_PERIOD = 1800  # seconds for which an answer is right: prices change on the half hour at most

FREE = Price(input=0, output=0, searches=0)


class Pricing(Prices):
    """Prices for the upstreams of a pipeline."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        overrides: Mapping[str, Price],
        default: Price,
        log: logging.LoggerAdapter[logging.Logger],
        now: Callable[[], float],
        modes: Mapping[str, int] | None = None,
    ) -> None:
        """`overrides` are by pattern of a model, `default` is for unknown ones; `now` gives seconds since 1970.

        `modes` are ways of processing and what they cost where no price is known: billionths of the standard price.
        """
        self._presets = {name: upstream.preset for name, upstream in upstreams.items()}
        self._overrides = {pattern.lower(): Tariff(price) for pattern, price in overrides.items()}
        self._default = Tariff(default, known=False)
        self._default_words = f"{format_money(default.input)} in and {format_money(default.output)} out"
        self._log = log
        self._now = now
        self._modes = modes or {}
        self._warned: set[tuple[str, str]] = set()
        self._find = lru_cache(_REMEMBERED)(self._tariff)

    def cost(self, upstream: str, model: str, usage: Usage, *, served: str = "") -> Cost:
        """The cost, rounded up to a whole nano-dollar."""
        period = int(self._now() // _PERIOD)
        tariff = self._find(upstream, model[:LONGEST], served[:LONGEST], period)
        factor = None
        if usage.mode and not tariff.has(usage.mode):
            factor = self._modes.get(usage.mode)
            if factor is None and tariff.known:
                what = "no price is known for model %r of upstream %s in its mode %r: it counts at the standard price"
                self._warn(what, upstream, model[:LONGEST], usage.mode)
        return tariff.cost(usage, factor)

    def _tariff(self, upstream: str, model: str, served: str, period: int) -> Tariff:
        names = [name for name in (model, served) if name]
        own = next(filter(None, (self._override(upstream, name) for name in names)), None)
        if own is not None:
            return own
        if self._presets.get(upstream) in the_upstreams().own_machine:
            return Tariff(FREE)
        moment = datetime.fromtimestamp(period * _PERIOD, UTC)
        price = next(filter(None, (current(prices, moment) for prices in self._listed(upstream, names))), None)
        if price is not None:
            return Tariff(price)
        what = "no price is known for model %r of upstream %s: it counts at the default, %s per million tokens"
        self._warn(what, upstream, model, self._default_words)
        return self._default

    def _override(self, upstream: str, model: str) -> Tariff | None:
        """That of the longest pattern that fits the model, or the upstream's and the model's name."""
        names = model.lower(), f"{upstream}/{model}".lower()
        fitting = [pattern for pattern in self._overrides if any(fnmatchcase(name, pattern) for name in names)]
        return self._overrides[max(fitting, key=len)] if fitting else None

    def _listed(self, upstream: str, names: list[str]) -> Iterator[tuple[Listed, ...]]:
        """What the table says, the most fitting first: the upstream's own provider, then everybody else."""
        table, known = the_table(), the_upstreams()
        own = known.providers.get(self._presets.get(upstream, ""), ())
        for providers in (own, known.elsewhere):
            yield from (table.find(provider, name) for name in names for provider in providers)

    def _warn(self, what: str, upstream: str, model: str, more: str) -> None:
        if (model, more) not in self._warned and len(self._warned) < _REMEMBERED:
            self._warned.add((model, more))
            self._log.warning(what, model, upstream, more)
