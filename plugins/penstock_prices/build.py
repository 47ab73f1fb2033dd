"""Make the price table from public data: `python -m penstock_prices.build` writes `prices.json` anew.

The data is that of genai-prices (MIT, by the authors of Pydantic), a dependency of development only. What is taken:
text prices per token of the providers that `upstreams.json` names, as they are on the day `AS_OF`, with those that are
announced for later days or that hold at certain hours. `additions.json` has what a person has added to it: further
names of models, each with its source, and why some models have no price. Review the difference before it is committed.
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from typing import Any

import msgspec

from .names import beginnings, plain, spellings
from .table import FOLDER, read_json, the_upstreams

AS_OF = date(2026, 11, 21)

_LIBRARY = "genai-prices"
_URL = "https://github.com/pydantic/genai-prices"
_KINDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "web_searches_kcount": "searches",
}
_MODES = ("processing", "service_tier", "speed")
_NINE_DECIMALS = Decimal("1e-9")

Json = dict[str, Any]


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Further names of a model of the data, the page that says so, and why."""

    provider: str
    model: str
    names: tuple[str, ...]
    source: str
    why: str


class Additions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `additions.json`. `without_price` are models of presets, and why they have none."""

    names: tuple[Names, ...]
    without_price: dict[str, str]


def main() -> None:
    """Write the file and say how large the table is."""
    table = build()
    (FOLDER / "prices.json").write_text(table, "utf-8")
    print(f"{FOLDER / 'prices.json'}: {len(table)} bytes")


def the_additions() -> Additions:
    """What a person has added to the data."""
    return read_json((FOLDER / "additions.json").read_bytes(), Additions)


def build() -> str:
    """The text of `prices.json`; the same for the same version of the data."""
    library = importlib.import_module("genai_prices.data")
    upstreams = the_upstreams()
    wanted = {*upstreams.elsewhere, *(name for names in upstreams.providers.values() for name in names)}
    source = {"name": _LIBRARY, "version": version(_LIBRARY), "url": _URL, "date": AS_OF.isoformat()}
    found = sorted((provider for provider in library.providers if provider.id in wanted), key=lambda each: each.id)
    providers = ",\n".join(_provider_text(provider) for provider in found)
    return f'{{\n"source": {json.dumps(source)},\n"providers": {{\n{providers}\n}}\n}}\n'


def _provider_text(provider: Any) -> str:
    known = {
        model.id: model_entry(model) for model in provider.models if provider.id != "openrouter" or "/" in model.id
    }
    for added in the_additions().names:
        if added.provider == provider.id:
            known[added.model]["names"] = sorted({*known[added.model]["names"], *added.names})
    models = ",\n".join(_model_text(name, known[name]) for name in sorted(known) if known[name]["prices"])
    sources = json.dumps(provider.pricing_urls or [_URL])
    return f'{json.dumps(provider.id)}: {{\n "sources": {sources},\n "models": {{\n{models}\n }}\n}}'


def _model_text(name: str, entry: Json) -> str:
    prices = ",\n   ".join(json.dumps(price) for price in entry["prices"])
    names = f'"names": {json.dumps(entry["names"])}, ' if entry["names"] else ""
    return f'  {json.dumps(name)}: {{{names}"prices": [\n   {prices}]}}'


def model_entry(model: Any) -> Json:
    """A model of the data as an entry of the table; without prices if it has none per token of text."""
    prices = [_price(model, *segment) for segment in _segments(model)]
    complete = all("input" in price and "output" in price for price in prices)
    free = [{"input": 0, "output": 0}] if model.id.endswith(":free") else []
    return {"names": names_of(model), "prices": prices if complete else free}


# ---------------------------------------------------------------- prices


def _segments(model: Any) -> Iterator[tuple[Any, date | None, list[str]]]:
    """The prices that hold on the day of the table or later, each with its first day and its hours."""
    if hasattr(model.prices, "calc_price"):
        yield model.prices, None, []
        return
    listed: list[Any] = model.prices
    always = [i for i, each in enumerate(listed) if not _hours(each) and (_first_day(each) or AS_OF) <= AS_OF]
    valid = listed[always[-1] :]
    for each, following in zip(valid, [*valid[1:], None], strict=True):
        if _hours(each) and following is not None and following.prices == each.prices:
            continue  # the same price at several hours: the last of them names all
        same = [span for other in valid if other.prices == each.prices for span in _hours(other)]
        yield each.prices, _first_day(each), same if _hours(each) else []


def _first_day(price: Any) -> date | None:
    return getattr(price.constraint, "start_date", None)


def _hours(price: Any) -> list[str]:
    first, last = (getattr(price.constraint, name, None) for name in ("start_time", "end_time"))
    return [f"{first:%H:%M}-{last:%H:%M}"] if first is not None else []


def _price(model: Any, prices: Any, since: date | None, hours: list[str]) -> Json:
    standard = _set(prices)
    found: Json = {"since": since.isoformat()} if since else {}
    found |= {"hours": hours} if hours else {}
    found |= _rates(standard)
    modes = dict(_modes(model, standard, max(since or AS_OF, AS_OF)))
    return found | ({"modes": modes} if modes else {})


def _set(prices: Any) -> dict[str, Any]:
    return {name: getattr(prices, name) for name in _KINDS if getattr(prices, name) is not None}


def _modes(model: Any, standard: Mapping[str, Any], day: date) -> Iterator[tuple[str, Json]]:
    """Other ways of processing whose rates differ, by name."""
    moment = datetime.combine(day, time(12), UTC)
    active = [each for each in model.price_variants or () if each.constraint is None or each.constraint.active(moment)]
    for kind in _MODES:
        for name in sorted({each.when[kind] for each in active if set(each.when) == {kind}}):
            merged = dict(standard)
            for each in reversed(active):  # the first that says something counts
                merged |= _set(each.prices) if each.when == {kind: name} else {}
            if merged != standard:
                yield name, _rates(merged)


def _rates(prices: Mapping[str, Any]) -> Json:
    found: Json = {kind: _number(_at(prices[name])) for name, kind in _KINDS.items() if name in prices}
    starts = sorted({tier.start for price in prices.values() for tier in getattr(price, "tiers", ())})
    long = [{"above": start, **_rates({name: _at(price, start) for name, price in prices.items()})} for start in starts]
    return found | ({"long": long} if long else {})


def _at(price: Any, start: int = 0) -> Any:
    """A price for prompts of more than `start` tokens."""
    reached = [tier.price for tier in getattr(price, "tiers", ()) if tier.start <= start]
    return reached[-1] if reached else getattr(price, "base", price)


def _number(price: Decimal) -> int | float:
    rounded = price.quantize(_NINE_DECIMALS, ROUND_HALF_UP)
    return int(rounded) if rounded == int(rounded) else float(rounded)


# ---------------------------------------------------------------- names


def names_of(model: Any) -> list[str]:
    """A model's further names, but for those that the rules of `names` find anyway."""
    begins: dict[str, str] = {}
    exact = {plain(model.id): ""}
    for text, is_begin in sorted(set(clauses(model.match)), key=lambda clause: (not clause[1], len(clause[0]), clause)):
        groups = list(spellings(text))
        if any(begin in begins for group in groups for begin in beginnings(group[0])):
            continue
        if is_begin:
            begins[plain(text)] = f"{text}*"
        elif not any(form in exact for group in groups for form in group):
            exact[plain(text)] = text
    return sorted([*filter(None, exact.values()), *begins.values()])


def clauses(match: Any) -> Iterator[tuple[str, bool]]:
    """The names in a matching rule, and whether each is only a beginning; regular expressions are for dates."""
    for inner in (*getattr(match, "or_", ()), *getattr(match, "and_", ())):
        yield from clauses(inner)
    for kind in ("equals", "ends_with", "starts_with", "contains"):
        if isinstance(text := getattr(match, kind, None), str):
            is_begin = kind in ("starts_with", "contains") and not text.endswith("@")  # behind that there is a date
            yield text.lower().rstrip("-@"), is_begin


if __name__ == "__main__":
    main()
