"""The price table in the wheel: which price a provider has for a model, and which of them at what time."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from penstock import Money, parse_money

from .names import beginnings, plain, spellings
from .price import Price

T = TypeVar("T")

FOLDER = Path(__file__).parent


class Listed(Price, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price in the table: valid from the day `since`, within `hours` of the day if any (`01:00-04:00`, UTC)."""

    since: date = date.min
    hours: tuple[str, ...] = ()

    def holds(self, moment: datetime) -> bool:
        """Whether this price applies at a moment, in UTC."""
        time = f"{moment:%H:%M}"
        return self.since <= moment.date() and (
            not self.hours
            or any(first <= time < last for first, _, last in (span.partition("-") for span in self.hours))
        )


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model: further names, `*` at the end for all that begin so, and prices; the last that holds counts."""

    prices: msgspec.Raw
    names: tuple[str, ...] = ()


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider's models by name, and the pages that their prices are from."""

    sources: tuple[str, ...]
    models: dict[str, Model]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the table is from, and the day whose prices it has."""

    name: str
    version: str
    url: str
    date: date


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `prices.json`."""

    source: Source
    providers: dict[str, Provider]


class Upstreams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `upstreams.json`: which providers of the table stand for a preset, which presets cost nothing.

    `elsewhere` are the providers that are asked last, for any upstream: the makers of models, then a router.
    """

    providers: dict[str, tuple[str, ...]]
    own_machine: frozenset[str]
    elsewhere: tuple[str, ...]


class Table:
    """Prices by provider and model."""

    def __init__(self, file: TableFile) -> None:
        self.source = file.source
        self._providers = {name: _Index(provider.models) for name, provider in file.providers.items()}

    @property
    def providers(self) -> list[str]:
        """Those that the table has prices of."""
        return list(self._providers)

    def find(self, provider: str, name: str) -> tuple[Listed, ...]:
        """The prices of a provider's model under any of its spellings; empty if the table has none."""
        model = self._providers[provider].find(name)
        return read_json(model.prices, tuple[Listed, ...]) if model else ()


class _Index:
    """A provider's models by plain name."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._exact: dict[str, Model] = {}
        self._begins: dict[str, Model] = {}
        for name, model in models.items():
            self._exact[plain(name)] = model
        for model in models.values():
            for name in model.names:
                names = self._begins if name.endswith("*") else self._exact
                names.setdefault(plain(name.removesuffix("*")), model)
        for name, model in models.items():
            self._exact.setdefault(plain(name.rpartition("/")[2]), model)

    def find(self, name: str) -> Model | None:
        for group in spellings(name):
            if found := _first(self._exact, group) or _first(self._begins, beginnings(group[0])):
                return found
        return None


def _first(models: Mapping[str, Model], names: Iterable[str]) -> Model | None:
    return next((models[name] for name in names if name in models), None)


def current(prices: Iterable[Listed], moment: datetime) -> Listed | None:
    """The price that counts at a moment, in UTC; None if none holds yet."""
    return next((price for price in reversed(tuple(prices)) if price.holds(moment)), None)


def read_json(data: msgspec.Raw | bytes, kind: type[T]) -> T:
    """JSON as a Struct of ours, with money in dollars."""
    return msgspec.json.decode(data, type=kind, dec_hook=lambda _, value: Money(parse_money(value)))


@cache
def the_table() -> Table:
    """The table that came with this version."""
    return Table(read_json((FOLDER / "prices.json").read_bytes(), TableFile))


@cache
def the_upstreams() -> Upstreams:
    """What is known of presets."""
    return read_json((FOLDER / "upstreams.json").read_bytes(), Upstreams)
