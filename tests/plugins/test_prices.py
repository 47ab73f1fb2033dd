"""What tokens cost: the vendors' arithmetic, names in all spellings, the operator's own prices, the table itself."""

import importlib
import logging
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock import DOLLAR, Cost, Prices, Upstream, Usage, parse_money
from penstock.options import decode_hook
from penstock.problems import ConfigError
from penstock.testing import MakeGateway, ScriptedUpstream, chat, json_reply, messages
from penstock_prices import PriceList
from penstock_prices.build import build, clauses, model_entry, the_additions
from penstock_prices.names import LONGEST
from penstock_prices.price import Price, Tariff
from penstock_prices.pricing import Pricing
from penstock_prices.table import FOLDER, the_table, the_upstreams
from tests.integration.talk import ask, log_lines, prompt

NOBODY = cast(Any, None)
MILLION = 1_000_000
PRESETS: dict[str, Any] = yaml.safe_load((FOLDER.parent / "penstock_providers/presets.yaml").read_text("utf-8"))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOURCE_VERSION = the_table().source.version
DEFAULT = Price(input=5 * DOLLAR, output=25 * DOLLAR)


def pricing(
    presets: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    at: datetime = NOON,
    modes: Mapping[str, float] | None = None,
) -> Pricing:
    """Prices for upstreams by name, each with its preset; without any, an upstream `own` that no preset made."""
    named = {"own": ""} if presets is None else presets
    made = {name: Upstream(name=name, protocol=NOBODY, preset=preset) for name, preset in named.items()}
    plugin = msgspec.convert({"overrides": overrides or {}}, PriceList, dec_hook=decode_hook())
    log = logging.LoggerAdapter(logging.getLogger("penstock.test.prices"), {})
    factors = {name: round(factor * DOLLAR) for name, factor in (modes or {}).items()}
    return Pricing(made, plugin.overrides, DEFAULT, log, at.timestamp, factors)


def dollars(cost: Cost) -> str:
    """The exact amount, as a text: 4 dollars are `4`."""
    return f"{cost.total / DOLLAR:.9f}".rstrip("0").rstrip(".")


def per_million(prices: Prices, upstream: str, model: str, mode: str = "", **more: str) -> tuple[str, str]:
    """Input and output of a million tokens, a thousand at a time so that no long prompt is meant."""
    first = prices.cost(upstream, model, Usage(input=1000, mode=mode), **more).total
    second = prices.cost(upstream, model, Usage(output=1000, mode=mode), **more).total
    return dollars(Cost(1000 * first)), dollars(Cost(1000 * second))


# ---------------------------------------------------------------- the vendors' arithmetic
# Rates by the vendors' pages (in the table under `sources`), sums by hand.


@pytest.mark.parametrize(
    ("upstream", "model", "usage", "paid"),
    [
        # platform.claude.com/docs/en/about-claude/pricing: 5 in, 6.25 and 10 for writing, 0.50 for reading, 25 out
        ("anthropic", "claude-opus-4-6", Usage(input=50_000, output=15_000), "0.625"),
        ("anthropic", "claude-opus-4-6", Usage(input=10_000, cache_read=40_000, output=15_000), "0.445"),
        ("anthropic", "claude-opus-4-6", Usage(cache_write=100_000, cache_write_1h=100_000), "1.625"),
        # the same page: Sonnet 4.5 above 200K costs double in and 1.5 times out, for all tokens, and caches count
        ("anthropic", "claude-sonnet-4-5", Usage(input=200_000, output=1000), "0.615"),
        ("anthropic", "claude-sonnet-4-5", Usage(input=200_001, output=1000), "1.222506"),
        ("anthropic", "claude-sonnet-4-5", Usage(input=1, cache_read=200_000, output=1000), "0.142506"),
        # developers.openai.com/api/docs/pricing: 10 in, 1 cached, 50 out; above 272K double in, 1.5 times out
        ("openai", "gpt-6-astra", Usage(input=72_000, cache_read=200_000, output=10_000), "1.42"),
        ("openai", "gpt-6-astra", Usage(input=72_001, cache_read=200_000, output=10_000), "2.59002"),
        # docs.x.ai/docs/models: 2 in, 6 out; reasoning is output that the codec has added, and is paid once
        ("xai", "grok-4.7", Usage(input=1000, output=1000, reasoning=900), "0.008"),
        # ai.google.dev/gemini-api/docs/pricing: 2 in, 10 out until the end of November
        ("gemini", "gemini-4-argon", Usage(input=100_000, output=1000), "0.21"),
    ],
)
def test_a_vendor_would_bill_this(upstream: str, model: str, usage: Usage, paid: str) -> None:
    assert dollars(pricing({upstream: upstream}).cost(upstream, model, usage)) == paid


def test_caches_save_what_they_save() -> None:
    opus = pricing({"anthropic": "anthropic"})
    assert opus.cost("anthropic", "claude-opus-5-5", Usage(input=100, output=9)).saved == 0
    assert opus.cost("anthropic", "claude-opus-5-5", Usage(cache_read=MILLION)).saved == parse_money("3.80")
    assert opus.cost("anthropic", "claude-opus-5-5", Usage(cache_write=MILLION)).saved == -DOLLAR
    assert opus.cost("anthropic", "claude-opus-5-5", Usage(cache_write_1h=MILLION)).saved == -4 * DOLLAR


@pytest.mark.parametrize(
    ("upstream", "model", "mode", "paid"),
    [
        # developers.openai.com/api/docs/pricing
        ("openai", "gpt-6-sol", "", ("2", "10")),
        ("openai", "gpt-6-sol", "batch", ("1", "5")),
        ("openai", "gpt-6-sol", "flex", ("1", "5")),
        ("openai", "gpt-6-sol", "priority", ("4", "20")),
        # platform.claude.com/docs/en/about-claude/pricing, fast mode
        ("anthropic", "claude-opus-5-5", "fast", ("8", "40")),
        ("anthropic", "claude-opus-5-5", "batch", ("2", "10")),
        # ai.google.dev/gemini-api/docs/pricing
        ("gemini", "gemini-3-flash-preview", "batch", ("0.25", "1.5")),
    ],
)
def test_ways_of_processing_have_their_own_rates(upstream: str, model: str, mode: str, paid: tuple[str, str]) -> None:
    assert per_million(pricing({upstream: upstream}), upstream, model, mode) == paid


def test_a_way_without_a_price_costs_the_standard_one_and_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    prices = pricing({"main": "anthropic"})
    for _ in range(3):
        cost = prices.cost("main", "claude-opus-5-5", Usage(input=MILLION, mode="priority"))
        assert (dollars(cost), cost.known) == ("4", False)
    assert caplog.messages == [
        "no price is known for model 'claude-opus-5-5' of upstream main in its mode 'priority': "
        "it counts at the standard price"
    ]
    assert pricing({"here": "vllm"}).cost("here", "m", Usage(input=MILLION, mode="priority")) == Cost(0, 0, known=True)


def test_a_factor_makes_a_price_for_a_way_that_has_none(caplog: pytest.LogCaptureFixture) -> None:
    prices = pricing({"main": "anthropic"}, modes={"priority": 0.5, "ultrafast": 2.5, "fast": 9, "held": 0})
    used = Usage(input=100_000, cache_read=200_000, output=10_000, searches=3)
    plain = prices.cost("main", "claude-opus-5-5", used)
    searches = 3 * DOLLAR // 100
    for mode, factor in (("priority", 0.5), ("ultrafast", 2.5), ("held", 0)):
        cost = prices.cost("main", "claude-opus-5-5", msgspec.structs.replace(used, mode=mode))
        assert cost.total == (plain.total - searches) * factor + searches
        assert cost.saved == plain.saved * factor
        assert cost.known
    assert per_million(prices, "main", "claude-opus-5-5", "fast")[0] == "8"  # the table's own price counts
    assert not caplog.messages


@pytest.mark.parametrize(
    ("upstream", "model", "paid"),
    [("anthropic", "claude-opus-5-5", "0.03"), ("gemini", "gemini-3-flash-preview", "0.042"), ("own", "new", "0.03")],
)
def test_searches_are_paid_by_the_thousand(upstream: str, model: str, paid: str) -> None:
    assert dollars(pricing({upstream: upstream}).cost(upstream, model, Usage(searches=3))) == paid
    own = {"*": {"input": 1, "output": 1, "searches": 2}}
    assert dollars(pricing({upstream: upstream}, own).cost(upstream, model, Usage(searches=3))) == "0.006"


@pytest.mark.parametrize(
    ("model", "moment", "paid"),
    [
        ("gemini-4-argon", datetime(2026, 11, 30, 23, 59, tzinfo=UTC), ("2", "10")),
        ("gemini-4-argon", datetime(2026, 12, 1, tzinfo=UTC), ("4", "20")),
        ("deepseek-v4-pro", datetime(2026, 11, 21, 0, 59, tzinfo=UTC), ("0.66", "1.98")),
        ("deepseek-v4-pro", datetime(2026, 11, 21, 1, 0, tzinfo=UTC), ("1.32", "3.96")),
        ("deepseek-v4-pro", datetime(2026, 11, 21, 9, 59, tzinfo=UTC), ("1.32", "3.96")),
        ("deepseek-v4-pro", datetime(2026, 11, 21, 10, 0, tzinfo=UTC), ("0.66", "1.98")),
    ],
)
def test_announced_prices_and_peak_hours_come_by_themselves(
    model: str, moment: datetime, paid: tuple[str, str]
) -> None:
    assert per_million(pricing(at=moment), "own", model) == paid


def test_one_gateway_sees_a_price_change() -> None:
    now = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    upstreams = {"own": Upstream(name="own", protocol=NOBODY)}
    prices = Pricing(upstreams, {}, DEFAULT, NOBODY, lambda: now[0].timestamp())
    assert per_million(prices, "own", "gemini-4-argon") == ("2", "10")
    del now[0]
    assert per_million(prices, "own", "gemini-4-argon") == ("4", "20")


# ---------------------------------------------------------------- integers

COUNTS = st.integers(0, 2_000_000)
USAGES = st.builds(
    Usage, input=COUNTS, cache_read=COUNTS, cache_write=COUNTS, cache_write_1h=COUNTS, output=COUNTS, reasoning=COUNTS
)
RATES = st.integers(0, 200 * DOLLAR)
MAYBE = st.none() | RATES
PRICES = st.builds(
    Price, input=RATES, output=RATES, cache_read=MAYBE, cache_write=MAYBE, cache_write_1h=MAYBE, reasoning=MAYBE
)


def together(one: Usage, other: Usage) -> Usage:
    names = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
    reasoning = min(one.reasoning, one.output) + min(other.reasoning, other.output)
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in names}, reasoning=reasoning)


@given(PRICES, USAGES, USAGES)
def test_a_sum_of_costs_is_the_cost_of_the_sum_but_for_a_nano_dollar(price: Price, one: Usage, other: Usage) -> None:
    tariff = Tariff(price)
    apart, joined = tariff.cost(one).total + tariff.cost(other).total, tariff.cost(together(one, other)).total
    assert joined <= apart <= joined + 1


@given(PRICES, USAGES, st.sampled_from(["input", "cache_read", "cache_write", "cache_write_1h", "output"]), COUNTS)
def test_more_tokens_never_cost_less(price: Price, usage: Usage, kind: str, more: int) -> None:
    more_of_it = msgspec.structs.replace(usage, **{kind: getattr(usage, kind) + more})
    assert Tariff(price).cost(usage).total <= Tariff(price).cost(more_of_it).total


@given(PRICES, USAGES)
def test_the_amount_is_exact_and_rounded_up(price: Price, usage: Usage) -> None:
    cost = Tariff(price).cost(usage)
    assert type(cost.total) is type(cost.saved) is int
    counts = [name for name in usage.__struct_fields__ if name not in ("estimated", "mode")]
    many = Usage(**{name: MILLION * getattr(usage, name) for name in counts})
    exact = Tariff(price).cost(many).total  # whole nano-dollars, a million times as many
    assert 0 <= cost.total * MILLION - exact < MILLION
    plain = Usage(input=usage.prompt, output=usage.output, reasoning=usage.reasoning)
    assert abs(cost.total + cost.saved - Tariff(price).cost(plain).total) <= 1


@given(USAGES)
def test_a_known_model_is_never_free_by_accident(usage: Usage) -> None:
    cost = pricing().cost("own", "claude-opus-5-5", usage)
    assert (cost.total > 0) == (usage.prompt + usage.output > 0)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("upstream", "model", "paid"),
    [
        ("anthropic", "claude-opus-5-5", ("4", "20")),
        ("anthropic", "Claude-Opus-5.5", ("4", "20")),
        ("anthropic", "claude-opus-5-5-20261001", ("4", "20")),
        ("anthropic", "claude-opus-5-5-latest[1m]", ("4", "20")),
        ("anthropic", "claude-opus-5", ("5", "25")),
        ("bedrock", "global.anthropic.claude-opus-5-5", ("4", "20")),
        ("bedrock", "global.anthropic.claude-opus-5-5-20261001-v1:0", ("4", "20")),
        ("bedrock", "eu.anthropic.claude-opus-5-5-v1:0", ("4.4", "22")),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5-5", ("4.4", "22")),
        ("vertex", "publishers/anthropic/models/claude-opus-5-5@20261001", ("4", "20")),
        ("openrouter", "anthropic/claude-opus-5.5:exacto", ("4", "20")),
        ("openrouter", "~anthropic/claude-opus-latest", ("4", "20")),
        ("openrouter", "deepseek/deepseek-r1:free", ("0", "0")),
        ("ollama-cloud", "gpt-oss:120b", ("0.039", "0.18")),
        ("groq", "openai/gpt-oss-120b", ("0.15", "0.6")),
        ("azure-openai", "gpt-5-mini-2025-08-07", ("0.25", "2")),
        ("siliconflow", "deepseek-ai/DeepSeek-V4-Pro", ("0.66", "1.98")),
        ("qwen", "qwen3.8-max", ("2", "6")),
        ("ark", "doubao-seed-2-1-turbo-260628", ("0.5", "2.5")),
        ("ark-coding", "doubao-seed-2.0-code", ("0.5", "3")),
    ],
)
def test_every_spelling_finds_its_price(upstream: str, model: str, paid: tuple[str, str]) -> None:
    assert per_million(pricing({upstream: upstream}), upstream, model) == paid


@pytest.mark.parametrize(
    "model", ["gpt-5.7-nova", "claude-opus-6", "claude-sonnet-4-7", "my-model", "", "/", ":", "-" * 9000, "a/" * 9000]
)
def test_a_relative_is_another_model(model: str) -> None:
    assert pricing().cost("own", model, Usage(input=1000)) == Cost(5_000_000, 0, known=False)


def test_the_model_that_answered_counts_when_the_one_asked_for_has_no_price() -> None:
    prices = pricing({"azure": "azure-openai"})
    assert per_million(prices, "azure", "our-deployment", served="gpt-5-mini-2025-08-07") == ("0.25", "2")
    assert per_million(prices, "azure", "gpt-5-mini", served="gpt-5-pro-2025-10-06") == ("0.25", "2")


@given(st.text(max_size=300), st.text(max_size=300), USAGES)
def test_no_name_is_too_strange(model: str, served: str, usage: Usage) -> None:
    assert pricing().cost("own", model, usage, served=served).total >= 0


# ---------------------------------------------------------------- the operator's own prices


def test_an_unknown_model_costs_the_default_and_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    prices = pricing({"main": "openrouter"})
    for _ in range(3):
        assert prices.cost("main", "acme/\nnew", Usage(output=MILLION)) == Cost(25 * DOLLAR, 0, known=False)
    (line,) = caplog.messages
    assert line == (
        "no price is known for model 'acme/\\nnew' of upstream main: it counts at the default, "
        "$5.00 in and $25.00 out per million tokens"
    )


def test_strange_names_fill_neither_memory_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    prices = pricing()
    for number in range(3000):
        assert not prices.cost("own", f"{number}-{'x' * 100_000}", Usage(input=1)).known
    assert len(caplog.messages) < 1100
    assert max(map(len, caplog.messages)) < LONGEST + 200


@pytest.mark.parametrize(
    ("upstream", "model", "paid"),
    [
        ("gpu", "qwen3-coder", ("0.01", "0.02")),
        ("zai", "glm-5.3", ("1", "2")),
        ("zai", "GLM-5.3-air", ("3", "4")),
        ("zai", "claude-opus-5-5", ("4", "20")),
        ("gpu", "glm-5.3", ("0.01", "0.02")),
    ],
)
def test_own_prices_come_first_the_longest_pattern_wins(upstream: str, model: str, paid: tuple[str, str]) -> None:
    own = {
        "glm-*": {"input": 3, "output": "4 USD"},
        "glm-5.3": {"input": "$1", "output": 2},
        "GPU/g*-5.3": {"input": 0.01, "output": 0.02},
        "gpu/*": {"input": 0.01, "output": 0.02},
    }
    assert per_million(pricing({"zai": "zai", "gpu": ""}, own), upstream, model) == paid


def test_own_prices_have_all_kinds() -> None:
    long = [{"above": 1000, "input": 20, "output": 40}, {"above": 2000, "input": 200, "output": 400}]
    full = {
        "input": 2,
        "output": 4,
        "cache_read": 1,
        "cache_write": 3,
        "cache_write_1h": 5,
        "reasoning": 8,
        "long": long,
    }
    prices = pricing(overrides={"m": full | {"modes": {"batch": {"input": 1, "output": 1}}}})
    usage = Usage(input=100, cache_read=10, cache_write=1, cache_write_1h=1, output=10, reasoning=4)
    assert prices.cost("own", "m", usage).total == (200 + 10 + 3 + 5 + 24 + 32) * 1000
    assert prices.cost("own", "m", Usage(input=1001)).total == 20_020_000
    assert prices.cost("own", "m", Usage(input=2001)).total == 400_200_000
    assert prices.cost("own", "m", Usage(input=1001, mode="batch")).total == 1_001_000


@pytest.mark.parametrize("preset", ["ollama", "lmstudio-anthropic", "vllm", "llamacpp", "localai"])
def test_what_runs_on_ones_own_machine_costs_nothing_unless_one_says_so(preset: str) -> None:
    usage = Usage(input=MILLION)
    assert pricing({"here": preset}).cost("here", "claude-opus-5-5", usage) == Cost(0, 0, known=True)
    own = {"here/*": {"input": 0.5, "output": 0.5}}
    assert dollars(pricing({"here": preset}, own).cost("here", "claude-opus-5-5", usage)) == "0.5"


# ---------------------------------------------------------------- the table


def test_every_preset_has_its_providers() -> None:
    known = the_upstreams()
    living = {name for name, preset in PRESETS.items() if "retired" not in preset}
    assert living == {*known.providers, *known.own_machine}
    assert not known.own_machine & set(known.providers)
    assert {name for names in (*known.providers.values(), known.elsewhere) for name in names} <= set(
        the_table().providers
    )


def test_the_models_of_the_presets_have_prices() -> None:
    named = {(name, model["id"]) for name, preset in PRESETS.items() for model in preset.get("models", ())}
    missing = {
        model
        for preset, model in named
        if not pricing({"up": preset}).cost("up", model, Usage(input=1, output=1)).known
    }
    assert missing == {*the_additions().without_price}


def test_the_file_is_small() -> None:
    assert (FOLDER / "prices.json").stat().st_size < 400_000


def source_data() -> Any:
    """The data that the table was built from."""
    try:
        installed = version("genai-prices")
    except PackageNotFoundError:
        pytest.skip("needs genai-prices")
    if installed != SOURCE_VERSION:
        pytest.skip(f"the table is from genai-prices {SOURCE_VERSION}, here is {installed}")
    return importlib.import_module("genai_prices.data")


def test_the_file_is_what_the_builder_makes() -> None:
    source_data()
    assert build() == (FOLDER / "prices.json").read_text("utf-8"), "run python -m penstock_prices.build, and review"


def test_every_name_of_the_source_finds_what_the_source_says() -> None:
    table = the_table()
    checked = 0
    for provider in source_data().providers:
        for model in provider.models if provider.id in table.providers else ():
            for text, _ in clauses(model.match):
                expected = provider.find_model(text)
                if expected is None or (provider.id == "openrouter" and "/" not in expected.id):
                    continue
                found = [(price.input, price.output) for price in table.find(provider.id, text)]
                told = [(price["input"], price["output"]) for price in model_entry(expected)["prices"]]
                assert found == [(parse_money(i), parse_money(o)) for i, o in told], (provider.id, text, expected.id)
                checked += 1
    assert checked > 2000


def test_a_model_can_be_looked_up() -> None:
    command = [sys.executable, "-m", "penstock_prices", "claude-sonnet-4-5", "gemini-4-argon", "no-such-model"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"US dollars per million tokens, 2026-11-21, from genai-prices {SOURCE_VERSION}\n")
    assert (
        "  anthropic   input $3.00, output $15.00, cache_read $0.30, cache_write $3.75, cache_write_1h $6.00,"
        " searches $10.00\n" in said
    )
    assert "  anthropic   above 200000 tokens: input $6.00, output $22.50" in said
    assert "  anthropic   batch: input $1.50, output $7.50" in said
    assert "  google      from 2026-12-01: input $4.00, output $20.00" in said or datetime.now(UTC).year > 2026
    assert "no-such-model\n  not in the table: it costs the default\n" in said


# ---------------------------------------------------------------- in a pipeline

PIPELINE = """
path: /
upstreams:
  main: {preset: anthropic, url: "{url}", key: upstream-key}
  other: {protocol: openai-chat, url: "{url}/v1", key: upstream-key}
  home: {preset: ollama, url: "{url}/v1"}
plugins:
  - logging: {to: log.jsonl}
  - prices: {overrides: {"dear-*": {input: 1000, output: 2000}}, default: {input: 10, output: 30}}
  - simulator
  - models: {routes: {"claude-*": main, local: home/qwen3, "*": other}}
  - translation
"""


async def test_the_log_says_what_an_answer_cost(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(PIPELINE, url=upstream.url)
    asked = ["claude-opus-5-5", "gpt-6-sol", "dear-one", "nobody-knows", "local", "sim/echo"]
    for number, model in enumerate(asked, 1):
        claude = messages.stream("hi", input_tokens=1000, output_tokens=100)
        other = chat.stream("hi", prompt_tokens=1000, completion_tokens=100)
        upstream.answers(claude if model.startswith("claude") else other)
        assert (await ask(gate.url, prompt(stream=True) | {"model": model})).status == 200
        await log_lines(gate, number)
    lines = await log_lines(gate, len(asked))
    assert [line.get("cost_usd") for line in lines] == [0.006, 0.003, 1.2, 0.013, 0, None]
    assert [line.get("price_unknown") for line in lines] == [None, None, None, True, None, None]


FAST = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "standard", "speed": "fast"}
PRIORITY = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


async def test_the_log_says_how_an_answer_was_processed(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(PIPELINE, url=upstream.url)
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": "end_turn",
    }
    searched = FAST | {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0}}
    answered: list[tuple[str, dict[str, Any]]] = [
        ("claude-opus-5-5", message | {"usage": searched}),
        ("gpt-6-sol", {"id": "1", "choices": [choice], "usage": PRIORITY, "service_tier": "priority"}),
        ("gpt-6-sol", {"id": "2", "choices": [choice], "usage": PRIORITY, "service_tier": "default"}),
        ("gpt-6-sol", {"id": "3", "choices": [choice], "usage": PRIORITY, "service_tier": "scale"}),
    ]
    for model, answer in answered:
        upstream.answers(json_reply(answer))
        assert (await ask(gate.url, prompt() | {"model": model})).status == 200
    lines = await log_lines(gate, len(answered))
    told = [(line.get("mode"), line.get("searches"), line["cost_usd"], line.get("price_unknown")) for line in lines]
    assert told == [
        ("fast", 2, 0.008 + 0.004 + 0.02, None),
        ("priority", None, 0.006, None),
        (None, None, 0.003, None),
        ("scale", None, 0.003, True),
    ]


async def test_tokens_that_were_guessed_stay_marked(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(PIPELINE, url=upstream.url)
    upstream.answers(chat.stream("hi", prompt_tokens=0, completion_tokens=0))
    await ask(gate.url, prompt(stream=True) | {"model": "gpt-6-sol"})
    (line,) = await log_lines(gate)
    assert line["tokens"]["estimated"] is True
    assert 0 < line["cost_usd"] < 0.001


async def test_thinking_beside_the_output_is_paid_once(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 200}  # xAI's way of counting
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    details = {"completion_tokens_details": {"reasoning_tokens": 90}}
    upstream.answers(json_reply({"id": "1", "model": "grok-4.7", "choices": [choice], "usage": usage | details}))
    gate = await gateway(
        PIPELINE.replace("other: {protocol: openai-chat", "other: {preset: xai-chat"), url=upstream.url
    )
    await ask(gate.url, prompt() | {"model": "grok-4.7"})
    (line,) = await log_lines(gate)
    assert line["tokens"] == {"input": 100, "output": 100, "reasoning": 90}
    assert line["cost_usd"] == (100 * 2 + 100 * 6) / MILLION


async def test_a_request_without_an_answer_costs_nothing(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(PIPELINE, url=upstream.url)
    upstream.answers(messages.error(400, "invalid_request_error", "no"), json_reply({"input_tokens": 7}))
    await ask(gate.url, prompt() | {"model": "claude-opus-5-5"})
    await ask(gate.url, prompt() | {"model": "claude-opus-5-5"}, path="/v1/messages/count_tokens")
    assert ["cost_usd" in line for line in await log_lines(gate, 2)] == [False, False]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("{default: {input: 0, output: 1}}", "an unknown model is never free"),
        ("{default: {input: 1}}", "missing required option 'output'"),
        ("{overrides: {m: {input: cheap, output: 1}}}", "expected an amount in US dollars"),
        ("{overrides: {m: {input: 1, output: 1, cached: 1}}}", "unknown option 'cached'"),
        ("{overrides: {m: {input: 1, output: 1, long: [{input: 1, output: 2}]}}}", "missing required option 'above'"),
        ("{modes: {priority: -1}}", ">= 0"),
        ("{modes: {priority: dear}}", "priority|number"),
    ],
)
async def test_mistakes_are_explained(gateway: MakeGateway, tmp_path: Path, options: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        await gateway(f"path: /\nplugins:\n  - prices: {options}\n  - translation\n")


async def test_a_step_that_needs_prices_says_where_they_come_from(gateway: MakeGateway) -> None:
    spender = (
        "from penstock import Exchange, Plugin, hookimpl\n\n\nclass Spender(Plugin):\n"
        '    """Needs prices."""\n\n    requires = frozenset({"prices"})\n'
    )
    files = {"../plugins/spender.py": spender}
    with pytest.raises(
        ConfigError, match="'spender' needs the prices, which no step provides; 'prices' above it would"
    ):
        await gateway("path: /\nplugins: [spender, translation]\n", files=files)
    await gateway("path: /\nplugins: [prices, spender, translation]\n", files=files)
