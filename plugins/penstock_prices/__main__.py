"""Look a model up in the price table: `python -m penstock_prices claude-opus-5-5`."""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime

from penstock import DOLLAR

from .price import Rates
from .table import Listed, Table, current, the_table

_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "searches")


def main() -> None:
    """Print what each provider of the table takes for the models named, in dollars per million tokens."""
    parser = argparse.ArgumentParser(prog="python -m penstock_prices", description="Look models up in the price table.")
    parser.add_argument("model", nargs="+", help="a model's name, in any spelling")
    table = the_table()
    print(f"US dollars per million tokens, {table.source.date}, from {table.source.name} {table.source.version}")
    for model in parser.parse_args().model:
        print(f"\n{model}")
        print("\n".join(_lines(table, model)) or "  not in the table: it costs the default")


def _lines(table: Table, model: str) -> Iterator[str]:
    for provider in table.providers:
        prices = table.find(provider, model)
        now = current(prices, datetime.now(UTC))
        yield from (f"  {provider:<12}{words}" for price in prices for words in _price(price, price is now))


def _price(price: Listed, is_now: bool) -> Iterator[str]:
    if not is_now:
        when = f"{', '.join(price.hours)} UTC" if price.hours else f"from {price.since}"
        yield f"{when}: {_rates(price)}"
        return
    yield _rates(price)
    yield from (f"above {long.above} tokens: {_rates(long)}" for long in price.long)
    yield from (f"{name}: {_rates(mode)}" for name, mode in sorted(price.modes.items()))


def _rates(rates: Rates) -> str:
    found = ((kind, getattr(rates, kind)) for kind in _KINDS)
    return ", ".join(f"{kind} {_exact(nano)}" for kind, nano in found if nano is not None)


def _exact(nano: int) -> str:
    """All decimals that count, two at least."""
    text = f"${nano // DOLLAR}.{nano % DOLLAR:09d}"
    return text[:-7] + text[-7:].rstrip("0")


if __name__ == "__main__":
    main()
