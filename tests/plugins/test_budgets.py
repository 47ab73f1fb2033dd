"""Budgets: calendars, what is reserved and settled, who is told what and when, and what cannot be configured."""

import asyncio
import logging
import re
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import (
    DOLLAR,
    Attempt,
    Cost,
    Exchange,
    GatewayError,
    Handler,
    Internal,
    OverBudget,
    Overloaded,
    Prices,
    Principal,
    Prompt,
    Request,
    Response,
    StoreUnavailable,
    Subject,
    Target,
    Upstream,
    UpstreamFailed,
    UpstreamRequest,
    Usage,
)
from penstock.exchange import Outcome
from penstock.options import decode_hook
from penstock.plugin import Gateway
from penstock.store import MemoryStore
from penstock_budgets import Budgets
from penstock_budgets.purse import Charge, Purse
from penstock_budgets.windows import Calendar, Window
from tests.plugins.stores import Clock

ANN = Principal(user="ann", team="core", key="laptop")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Cents(Prices):
    """A cent a token; nothing for models that are called free."""

    def cost(self, upstream: str, model: str, usage: Usage, *, served: str = "", mode: str = "") -> Cost:
        tokens = 0 if "free" in model else usage.prompt + usage.output
        return Cost(tokens * DOLLAR // 100)


class Speaks:
    """All that the step asks of a protocol."""

    def __init__(self, name: str) -> None:
        self.name = name


class Absent(MemoryStore):
    """A store that is away while it is told to be."""

    away = False

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        if self.away:
            raise StoreUnavailable("it does not answer")
        return await super().add(key, amount, ttl)

    async def get(self, key: str, type: Any) -> Any:
        if self.away:
            raise StoreUnavailable("it does not answer")
        return await super().get(key, type)


class Spawner:
    """All that the step asks of the gateway."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def add_route(self, path: str, handler: Handler) -> None:
        self.handler = handler

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))


class Stage:
    """A step at a store, with a calendar that moves when told."""

    def __init__(self, **options: object) -> None:
        self.clock = Clock()
        self.clock.now = NOON.timestamp()
        self.store = Absent(self.clock)
        self.plugin = budgets(**options)
        log = logging.LoggerAdapter(logging.getLogger("penstock.test.budgets"))
        for name, value in {"step": "budgets", "store": self.store, "clock": self.clock, "log": log}.items():
            setattr(self.plugin, name, value)
        zone = self.plugin._calendar.zone
        self.plugin._calendar = Calendar(zone, self.clock)
        self.spawner = Spawner()
        self.plugin.startup(cast(Gateway, self.spawner))

    async def ask(self, exchange: Exchange, model: str = "") -> Exchange:
        """A request as far as an upstream that has it."""
        await self.plugin.on_request(exchange)
        attempt = Attempt(len(exchange.attempts) + 1, Target("main", model), UPSTREAMS["main"])
        exchange.attempts.append(attempt)
        try:
            await self.plugin.on_attempt(exchange, attempt)
        except GatewayError as error:
            await self.fail(exchange, error)
            exchange.outcome = "error"
            await self.plugin.on_complete(exchange)
            raise
        attempt.request = UpstreamRequest("/", b"", {})
        attempt.leave()
        return exchange

    async def refusal(self, exchange: Exchange, model: str = "") -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.ask(exchange, model)
        return caught.value

    async def fail(self, exchange: Exchange, error: GatewayError) -> None:
        exchange.attempts[-1].error = error
        await self.plugin.on_failure(exchange, exchange.attempts[-1])

    def headers(self, exchange: Exchange, **given: str) -> dict[str, str]:
        """Those of an answer."""
        response = Response(headers={name.replace("_", "-"): value for name, value in given.items()})
        self.plugin.on_response(exchange, response)
        return response.headers

    async def end(self, exchange: Exchange, tokens: int = 0, outcome: Outcome = "ok") -> None:
        exchange.usage, exchange.outcome = Usage(input=tokens) if tokens else Usage(), outcome
        exchange.stop_reason = "end_turn" if outcome == "ok" else ""
        await self.plugin.on_complete(exchange)

    async def spends(self, tokens: int, **more: Any) -> None:
        """A whole exchange that costs so many cents."""
        await self.end(await self.ask(asking(**more)), tokens)

    async def spent(self, window: str = "total") -> float:
        """What stands in the store for Ann, in cents."""
        states = await self.plugin._purse.states(Subject("core\tann\tlaptop", ""))
        return next(state.spent for state in states if state.account.window == window) / (DOLLAR // 100)


UPSTREAMS = {"main": Upstream(name="main", protocol=cast(Any, None))}


def budgets(**options: object) -> Budgets:
    return msgspec.convert(options, Budgets, dec_hook=decode_hook())


def asking(
    who: Principal | None = ANN,
    model: str = "m",
    session: str = "",
    protocol: str = "anthropic",
    size: int = 40,
    max_tokens: int = 0,
) -> Exchange:
    """A request of `size` bytes: by default ten tokens, which is ten cents."""
    body = msgspec.json.encode({"x": ""})
    body = body[:-2] + b"x" * (size - len(body)) + body[-2:]
    exchange = Exchange(
        pipeline="test",
        protocol=cast(Any, Speaks(protocol)),
        operation="generate",
        request=Request(body, lambda _: Prompt(), model=model, session=session),
        headers={},
        upstreams=UPSTREAMS,
        started=0.0,
    )
    exchange.request.max_tokens = max_tokens
    exchange.principal, exchange.prices = who, Cents()
    return exchange


# ---------------------------------------------------------------- calendars

BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")


def local(zone: Any, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=zone, fold=fold)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("window", "moment", "end"),
    [
        ("hourly", local(UTC, 2026, 11, 21, 12, 59, 59), local(UTC, 2026, 11, 21, 13)),
        ("hourly", local(KOLKATA, 2026, 11, 21, 12, 10), local(KOLKATA, 2026, 11, 21, 13)),
        ("hourly", local(BERLIN, 2026, 10, 25, 2, 30), local(BERLIN, 2026, 10, 25, 2, fold=1)),
        ("hourly", local(BERLIN, 2026, 10, 25, 2, 30, fold=1), local(BERLIN, 2026, 10, 25, 3)),
        ("daily", local(UTC, 2026, 12, 31, 23), local(UTC, 2027, 1, 1)),
        ("daily", local(BERLIN, 2026, 10, 25, 12), local(BERLIN, 2026, 10, 26)),
        ("weekly", local(UTC, 2026, 11, 21, 12), local(UTC, 2026, 11, 23)),
        ("weekly", local(UTC, 2026, 11, 23), local(UTC, 2026, 11, 30)),
        ("monthly", local(UTC, 2026, 1, 31, 12), local(UTC, 2026, 2, 1)),
        ("monthly", local(UTC, 2028, 2, 1), local(UTC, 2028, 3, 1)),
        ("monthly", local(BERLIN, 2026, 3, 31, 23, 59), local(BERLIN, 2026, 4, 1)),
    ],
)
def test_windows_end_where_the_calendar_says(window: Window, moment: datetime, end: datetime) -> None:
    clock = Clock()
    clock.now = moment.timestamp()
    calendar = Calendar(moment.tzinfo or UTC, clock)
    span = calendar.span(window)
    assert span.end == end.timestamp()
    clock.now = end.timestamp() - 0.01
    assert calendar.span(window) == span
    clock.now = end.timestamp()
    assert calendar.span(window).name != span.name


@given(st.floats(0, 4e9), st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]))
def test_it_is_always_some_window(moment: float, zone: str) -> None:
    for window in ("hourly", "daily", "weekly", "monthly"):
        span = Calendar(ZoneInfo(zone), lambda: moment).span(window)
        assert span.end is not None
        assert span.end > moment


# ---------------------------------------------------------------- spending


async def test_a_spent_budget_refuses_until_it_resets() -> None:
    stage = Stage(daily="$1")
    await stage.spends(100)
    error = await stage.refusal(asking())
    assert isinstance(error, OverBudget)
    assert error.message == (
        "the daily budget of $1.00 for key laptop of ann is spent; it resets at 2026-11-22 00:00 UTC;"
        " for more, ask whoever runs this gateway"
    )
    assert (error.retry_after, error.should_retry, error.retryable) == (12 * 3600, False, False)
    stage.clock.now += 12 * 3600 - 1
    await stage.refusal(asking())
    stage.clock.now += 1
    await stage.spends(100)


async def test_times_are_those_of_the_zone() -> None:
    stage = Stage(monthly="$1", timezone="Europe/Berlin")
    await stage.spends(100)
    assert "it resets at 2026-12-01 00:00 CET" in (await stage.refusal(asking())).message


async def test_of_several_spent_budgets_that_of_the_longest_window_is_named() -> None:
    stage = Stage(daily="$1", monthly="$1", hourly="$5")
    await stage.spends(100)
    assert (await stage.refusal(asking())).message.startswith("the monthly budget")


async def test_a_refused_request_costs_nothing() -> None:
    stage = Stage(total="$1", daily="$2")
    await stage.spends(100)
    for _ in range(5):
        await stage.refusal(asking())
    assert (await stage.spent(), await stage.spent("daily")) == (100, 100)


async def test_what_is_under_way_counts_by_its_estimate() -> None:
    stage = Stage(total="30 USD")
    under_way = [await stage.ask(asking(size=4000)) for _ in range(3)]
    await stage.refusal(asking())
    for exchange in under_way:
        await stage.end(exchange, 10)
    assert await stage.spent() == 30
    await stage.spends(1)


async def test_the_last_call_may_go_beyond_and_no_further_one() -> None:
    stage = Stage(total="$1")
    await stage.spends(99)
    await stage.spends(500)
    assert await stage.spent() == 599
    await stage.refusal(asking())


@pytest.mark.parametrize(
    ("usage", "outcome", "cents"),
    [
        (Usage(input=3, output=2), "ok", 5),
        (Usage(input=3, output=2, estimated=True), "ok", 5),
        (Usage(input=3, output=2), "cancelled", 8),
        (Usage(input=3, output=9), "error", 12),
        (Usage(), "cancelled", 15),
        (Usage(), "ok", 15),
    ],
)
async def test_what_was_used_is_what_is_paid(usage: Usage, outcome: Outcome, cents: int) -> None:
    stage = Stage(total="$10")
    exchange = await stage.ask(asking(max_tokens=5))
    exchange.usage, exchange.outcome = usage, outcome
    exchange.stop_reason = "end_turn" if outcome == "ok" else ""
    for _ in range(2):
        await stage.plugin.on_complete(exchange)
    assert await stage.spent() == cents


async def test_a_failed_call_is_free_and_the_next_one_is_paid() -> None:
    stage = Stage(total="$10")
    exchange = await stage.ask(asking())
    await stage.fail(exchange, UpstreamFailed("no"))
    assert await stage.spent() == 0
    await stage.ask(exchange)
    await stage.end(exchange, 7)
    assert await stage.spent() == 7


async def test_who_leaves_before_the_call_pays_nothing() -> None:
    stage = Stage(total="$10")
    exchange = await stage.ask(asking())
    exchange.attempts[-1].sent = False
    await stage.end(exchange, outcome="cancelled")
    assert await stage.spent() == 0


async def test_free_models_and_answers_without_an_upstream_are_never_refused() -> None:
    stage = Stage(total="$1")
    await stage.spends(100)
    await stage.end(await stage.ask(asking(), model="free"), 5000)
    cached = asking()
    await stage.plugin.on_request(cached)
    await stage.end(cached)
    assert await stage.spent() == 100


async def test_a_long_answer_is_paid_by_the_window_in_which_it_began() -> None:
    stage = Stage(hourly="$1")
    exchange = await stage.ask(asking())
    stage.clock.now += 3600
    await stage.end(exchange, 100)
    await stage.spends(1)
    stage.clock.now -= 3600
    await stage.refusal(asking())


@pytest.mark.parametrize(
    ("per", "other", "together"),
    [
        ("key", Principal(user="ann", team="core", key="server"), False),
        ("key", Principal(user="ben", team="core", key="laptop"), False),
        ("user", Principal(user="ann", team="core", key="server"), True),
        ("team", Principal(user="ben", team="core", key="k"), True),
        ("team", Principal(user="ben", key="k"), False),
        ("pipeline", Principal(user="eve", team="other", key="k"), True),
        ("model", Principal(user="eve", team="other", key="k"), True),
        ("session", Principal(user="ben", team="core", key="k"), False),
    ],
)
async def test_whose_budget_it_is(per: str, other: Principal, together: bool) -> None:
    stage = Stage(total="$1", per=per)
    await stage.spends(100, session="s")
    if together:
        await stage.refusal(asking(other, session="s"))
    else:
        await stage.ask(asking(other, session="s"))


async def test_a_session_has_a_budget_and_a_new_one_another() -> None:
    stage = Stage(total="$1", per="session")
    await stage.spends(100, session="a")
    error = await stage.refusal(asking(session="a"))
    assert error.message == ("the budget of $1.00 for this session is spent; it does not reset; start a new session")
    assert error.retry_after is None
    await stage.spends(100, session="b")
    for _ in range(3):
        await stage.spends(100)


async def test_only_some_models_have_a_budget() -> None:
    stage = Stage(total="$1", only=["main/big-*"], advice="ask Eve")
    await stage.end(await stage.ask(asking(), model="big-1"), 100)
    await stage.spends(100, model="small")
    assert (await stage.refusal(asking(), model="big-2")).message.endswith("it does not reset; ask Eve")


async def test_to_name_the_upstream_keeps_nobody_from_the_cheaper_model() -> None:
    stage = Stage(daily="$1", downgrade={"big-*": "small"}, downgrade_at=0.5, only=["big-*"])
    await stage.spends(60, model="big-1")
    exchange = asking(model="main/big-2")
    await stage.ask(exchange, model="small")
    assert exchange.request.model == "small"


# ---------------------------------------------------------------- what is told


def notices(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_each_threshold_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(daily="$1")
    for _ in range(10):
        await stage.spends(10)
    await stage.refusal(asking())
    key = "daily budget for key laptop of ann"
    reset = "it resets at 2026-11-22 00:00 UTC"
    assert notices(caplog) == [
        f"{key}: $0.80 of $1.00 spent (80%); {reset}",
        f"{key}: $1.00 of $1.00 spent (100%); {reset}; from now on requests are refused",
    ]
    stage.clock.now += 86400
    await stage.spends(75)
    assert len(notices(caplog)) == 3


async def test_only_the_highest_of_the_thresholds_that_are_passed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(daily="$1", downgrade={"big-*": "small"})
    await stage.spends(96)
    (text,) = notices(caplog)
    assert text.startswith("daily budget for key laptop of ann: $0.96 of $1.00 spent (96%);")


async def test_claude_code_is_told_in_headers() -> None:
    stage = Stage(daily="$1", monthly="$10")
    await stage.spends(1)
    first = await stage.ask(asking())
    reset = str(int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()))
    prefix = "anthropic-ratelimit-unified-"
    assert stage.headers(first, request_id="r") == {"request-id": "r"}
    await stage.end(first, 79)
    second = await stage.ask(asking())
    upstreams = {f"{prefix}5h-status".replace("-", "_"): "allowed", "request_id": "r"}
    assert stage.headers(second, **upstreams) == {
        "request-id": "r",
        f"{prefix}status": "allowed_warning",
        f"{prefix}representative-claim": "overage",
        f"{prefix}overage-status": "allowed_warning",
        f"{prefix}overage-utilization": "0.80",
        f"{prefix}overage-surpassed-threshold": "0.75",
        f"{prefix}reset": reset,
        f"{prefix}overage-reset": reset,
    }
    await stage.end(second, 30)
    refused = await stage.refusal(asking())
    assert refused.headers == {f"{prefix}status": "rejected", f"{prefix}reset": reset, f"{prefix}overage-reset": reset}


async def test_other_clients_get_no_such_headers() -> None:
    stage = Stage(daily="$1")
    assert stage.headers(await stage.ask(asking(protocol="openai-chat"))) == {}
    await stage.spends(200)
    assert (await stage.refusal(asking(protocol="openai-chat"))).headers == {}


async def test_of_two_steps_the_budget_that_is_nearer_to_its_end_is_shown() -> None:
    wide, narrow = Stage(daily="$100"), Stage(daily="$1")
    await narrow.spends(90)
    await wide.spends(8000)
    exchange = await narrow.ask(asking())
    await wide.plugin.on_attempt(exchange, exchange.attempts[-1])
    shown = "anthropic-ratelimit-unified-overage-utilization"
    for order in ((wide, narrow), (narrow, wide)):
        response = Response()
        for stage in order:
            stage.plugin.on_response(exchange, response)
        assert response.headers[shown] == "0.90"


# ---------------------------------------------------------------- cheaper models

DOWNGRADE = {"downgrade": {"big-*": "small", "huge": "free"}, "downgrade_at": 0.5}


async def test_cheaper_models_answer_when_the_budget_is_nearly_spent() -> None:
    stage = Stage(daily="$1", **DOWNGRADE)
    await stage.spends(49)
    exchange = await stage.ask(asking(model="big-1"))
    assert exchange.request.model == "big-1"
    assert "x-penstock-downgraded" not in stage.headers(exchange)
    await stage.end(exchange, 1)
    exchange = await stage.ask(asking(model="big-1"))
    assert (exchange.request.model, exchange.request.client_model) == ("small", "big-1")
    assert stage.headers(exchange)["x-penstock-downgraded"] == "small"
    await stage.end(exchange, 1)
    assert (await stage.ask(asking(model="other"))).request.model == "other"


async def test_a_free_model_answers_when_the_budget_is_spent() -> None:
    stage = Stage(daily="$1", **DOWNGRADE)
    await stage.spends(100)
    assert (await stage.ask(asking(model="huge"))).request.model == "free"
    assert isinstance(await stage.refusal(asking(model="big-1")), OverBudget)


async def test_models_cannot_be_replaced_where_they_are_chosen_already() -> None:
    stage = Stage(daily="$1", **DOWNGRADE)
    exchange = asking()
    exchange.targets = [Target("main")]
    with pytest.raises(Internal, match="move it above the step that chooses targets"):
        await stage.plugin.on_request(exchange)


# ---------------------------------------------------------------- without the store


async def test_without_the_store_requests_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(daily="$1", **DOWNGRADE)
    stage.store.away = True
    for model in ("m", "big-1"):
        error = await stage.refusal(asking(model=model))
        assert isinstance(error, Overloaded)
        assert (error.message, error.retry_after) == ("the gateway cannot look up its budgets at the moment", 5)
    assert notices(caplog) == ["the store is away, requests are refused until it is back: it does not answer"]
    stage.store.away = False
    await stage.spends(1)


async def test_without_the_store_requests_pass_if_the_operator_says_so() -> None:
    stage = Stage(total="$1", when_store_fails="allow", **DOWNGRADE)
    stage.store.away = True
    back = await stage.ask(asking())
    await stage.spends(500, model="big-1")
    stage.store.away = False
    await stage.end(back, 7)
    assert await stage.spent() == 7


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set at least one budget, such as `daily: $20`"),
        ({"daily": 0}, "a budget is more than nothing"),
        ({"daily": "lots"}, "expected an amount in US dollars"),
        ({"daily": 1, "timezone": "Europe/Berlim"}, "'Europe/Berlim' is not known"),
        ({"daily": 1, "timezone": "../../etc/passwd"}, "is not known"),
        ({"daily": 1, "warn_at": [75]}, "Expected `float` <= 1.0"),
        ({"daily": 1, "webhook": "file:///etc/passwd"}, "must be an address that begins with https://"),
        ({"daily": 1, "per": "model", "downgrade": {"a": "b"}}, "not `per: model`"),
        ({"daily": 1, "per": "upstream"}, "Invalid enum value 'upstream'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        budgets(**options)


def test_the_webhooks_address_is_not_shown() -> None:
    assert "hush" not in repr(budgets(daily=1, webhook="https://hooks.example/hush"))


# ---------------------------------------------------------------- any interleaving

LIMIT = 100


async def interleave(deeds: Sequence[tuple[str, int, int]]) -> None:
    """Whatever happens, nothing goes out once the sum of all that is settled and reserved has reached the limit."""
    clock = Clock()
    store = MemoryStore(clock)
    purse = Purse(store, {"total": LIMIT, "daily": 2 * LIMIT}, Calendar(UTC, clock), sessions=False)
    ann, settled = Subject("ann", "ann"), 0
    under_way: list[Charge] = []
    for deed, which, amount in deeds:
        if deed == "ask":
            charge = Charge(list(purse.accounts(ann)), amount)
            state = await purse.reserve(charge)
            promised = settled + sum(other.amount for other in under_way)
            assert (state is None) is (promised < LIMIT)
            if state is None:
                under_way.append(charge)
        elif under_way:
            charge = under_way.pop(which % len(under_way))
            cost = 0 if deed == "fail" else amount
            await purse.settle(charge, cost)
            settled += cost
    for charge in under_way:
        await purse.settle(charge, 0)
    assert [state.spent for state in await purse.states(ann)] == [settled, settled]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(["ask", "ask", "answer", "fail"]), st.integers(0, 9), st.integers(1, 60))),
)
def test_no_interleaving_goes_beyond_a_budget_or_leaves_a_reservation(deeds: list[tuple[str, int, int]]) -> None:
    asyncio.run(interleave(deeds))
