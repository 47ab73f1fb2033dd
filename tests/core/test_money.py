"""Money as nano-dollars: how it is written, and what people see of it."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import DOLLAR, Money, Plugin, format_money, parse_money
from penstock.document import Document
from penstock.options import decode_hook, schema_hook
from penstock.typed import convert

AMOUNTS = st.integers(0, 10**9 * DOLLAR)


class Options(Plugin):
    """One amount."""

    most: Money = 0


def read(**options: Any) -> Options:
    return msgspec.convert(options, Options, dec_hook=decode_hook())


@pytest.mark.parametrize(
    ("written", "nano"),
    [
        (0, 0),
        (3, 3 * DOLLAR),
        (0.25, DOLLAR // 4),
        (1e-09, 1),
        ("0.003625", 3_625_000),
        ("$0.25", DOLLAR // 4),
        ("500 USD", 500 * DOLLAR),
        ("1,250.50 usd", 1_250_500_000_000),
        (" $ 3 ", 3 * DOLLAR),
        ("1000000000", 10**9 * DOLLAR),
    ],
)
def test_amounts_are_nano_dollars(written: object, nano: int) -> None:
    assert parse_money(written) == nano
    assert read(most=written).most == nano


@pytest.mark.parametrize("written", ["", "free", "5 EUR", "1,5", "1.", ".5", "-1", -1, "3 $", "1 USD/day", True, [1]])
def test_what_is_no_amount_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"expected an amount in US dollars such as .*500 USD"):
        parse_money(written)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("0.0000000001", "at most nine decimals"),
        ("1e-99", "at most nine decimals"),
        (0.1 + 0.7, "at most nine decimals, got 0.7999999999999999"),
        ("1e99", "more than a billion"),
        ("9" * 4000, "more than a billion"),
        (float("inf"), "expected an amount"),
        (float("nan"), "expected an amount"),
    ],
)
def test_what_cannot_be_counted_is_refused(written: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_money(written)


def test_a_mistake_in_a_file_is_pointed_at() -> None:
    document = Document.parse("limits:\n  most: 5 EUR\n", "team.yaml", {})
    _, (problem,) = convert(document, ("limits",), Options, decode_hook())
    assert str(problem).startswith("team.yaml:2:9: expected an amount in US dollars such as 0.25, $0.25 or 500 USD")
    assert "5 EUR" in str(problem)


def test_editors_know_how_money_is_written() -> None:
    schema = msgspec.json.schema(Options, schema_hook=schema_hook)
    number, text = schema["$defs"]["Options"]["properties"]["most"]["anyOf"]
    assert number == {"type": "number", "minimum": 0}
    assert text["type"] == "string"


@given(AMOUNTS)
def test_whatever_is_written_exactly_is_read_exactly(nano: int) -> None:
    dollars = Decimal(nano).scaleb(-9)
    assert parse_money(f"{dollars:f}") == parse_money(f"${dollars:,f} USD") == nano


@pytest.mark.parametrize(
    ("nano", "words"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_234_567, "$0.00123"),
        (50_000_000, "$0.05"),
        (250_000_000, "$0.25"),
        (999_999_999, "$1.00"),
        (1_234_567_890, "$1.23"),
        (1_250_000_000_000, "$1,250.00"),
        (-30_000_000, "-$0.03"),
    ],
)
def test_people_see_dollars(nano: int, words: str) -> None:
    assert format_money(nano) == words


@given(AMOUNTS)
def test_what_people_see_is_near_the_truth_and_can_be_written(nano: int) -> None:
    assert abs(parse_money(format_money(nano)) - nano) <= nano // 200
