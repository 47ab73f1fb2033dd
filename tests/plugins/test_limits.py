"""Limits: what is reserved and settled, what a refusal says; no interleaving exceeds them or leaves a lease."""

import asyncio
import logging
import re
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import (
    Attempt,
    Exchange,
    GatewayError,
    Handler,
    OverBudget,
    Overloaded,
    Plugin,
    Principal,
    Prompt,
    RateLimited,
    Request,
    Store,
    StoreUnavailable,
    Subject,
    Take,
    Target,
    Upstream,
    UpstreamFailed,
    UpstreamRequest,
    Usage,
)
from penstock.exchange import Outcome
from penstock.options import decode_hook
from penstock.plugin import Gateway
from penstock.protocol import Operation
from penstock.store import MemoryStore
from penstock_limits import Limits
from penstock_limits.gate import Gate, Pass
from penstock_limits.refusal import duration
from penstock_limits.rules import Quantity
from tests.plugins.crowd import eventually
from tests.plugins.stores import Clock

NOBODY = cast(Any, None)  # these hooks never ask a protocol
UPSTREAMS = {name: Upstream(name=name, protocol=NOBODY) for name in ("one", "two")}
ANN = Principal(user="ann", team="core", key="laptop")


class Absent(MemoryStore):
    """A store that is away while it is told to be."""

    away = False

    async def take(self, takes: Sequence[Take]) -> float:
        self._ask()
        return await super().take(takes)

    async def settle(self, takes: Sequence[Take]) -> None:
        self._ask()
        await super().settle(takes)

    def _ask(self) -> None:
        if self.away:
            raise StoreUnavailable("it does not answer")


class Spawner:
    """All that the step asks of the gateway."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def add_route(self, path: str, handler: Handler) -> None:
        self.handler = handler

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()


class Stage:
    """A step at a store, and a clock that moves when told."""

    def __init__(self, options: dict[str, object], store: Store | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.store = store or MemoryStore(self.clock)
        self.plugin = limits(**options)
        given = {"step": "limits", "store": self.store, "clock": self.clock}
        for name, value in {**given, "log": logging.LoggerAdapter(logging.getLogger("penstock.test.limits"))}.items():
            setattr(self.plugin, name, value)
        self.spawner = Spawner()
        self.plugin.startup(cast(Gateway, self.spawner))
        self.spawner.cancel()

    async def enter(self, exchange: Exchange) -> Exchange:
        await self.plugin.on_request(exchange)
        return exchange

    async def refusal(self, exchange: Exchange) -> GatewayError:
        """Why it is refused; its end included."""
        with pytest.raises(GatewayError) as caught:
            await self.plugin.on_request(exchange)
        exchange.outcome, exchange.error = "error", caught.value
        await self.plugin.on_complete(exchange)
        return caught.value

    async def call(self, exchange: Exchange, upstream: str = "one", model: str = "", *, leaves: bool = True) -> Attempt:
        """Try a target, and have the request ready; it leaves unless somebody is in its way."""
        attempt = Attempt(len(exchange.attempts) + 1, Target(upstream, model), UPSTREAMS[upstream])
        exchange.attempts.append(attempt)
        try:
            await self.plugin.on_attempt(exchange, attempt)
        except GatewayError as error:
            await self.fail(exchange, error)
            raise
        attempt.request = UpstreamRequest("/", b"", {})
        if leaves:
            attempt.leave()
        return attempt

    async def fail(self, exchange: Exchange, error: GatewayError, status: int | None = None) -> None:
        attempt = exchange.attempts[-1]
        attempt.error, attempt.status = error, status
        await self.plugin.on_failure(exchange)

    async def end(self, exchange: Exchange, usage: Usage | None = None, outcome: Outcome = "ok") -> None:
        """The exchange is over; by default its answer is complete."""
        exchange.usage, exchange.outcome = usage or exchange.usage, outcome
        exchange.stop_reason = "end_turn" if outcome == "ok" else ""
        await self.plugin.on_complete(exchange)

    async def answered(self, usage: Usage, **more: Any) -> None:
        """A whole exchange that was answered."""
        exchange = await self.enter(asking(**more))
        await self.call(exchange)
        await self.end(exchange, usage)


def limits(**options: object) -> Limits:
    return msgspec.convert(options, Limits, dec_hook=decode_hook())


def asking(
    text: str = "",
    *,
    who: Principal | None = ANN,
    model: str = "m",
    max_tokens: int | None = None,
    session: str = "",
    operation: Operation = "generate",
) -> Exchange:
    body = msgspec.json.encode({"text": text, "max_tokens": max_tokens})
    exchange = Exchange(
        pipeline="test",
        protocol=NOBODY,
        operation=operation,
        request=Request(body, lambda _: Prompt(), model=model, session=session),
        headers={},
        upstreams=UPSTREAMS,
        started=0.0,
    )
    exchange.principal = who
    return exchange


# ---------------------------------------------------------------- what a refusal says


async def test_a_refusal_names_the_limit_its_owner_and_the_moment() -> None:
    stage = Stage({"requests_per_minute": 2})
    await stage.enter(asking())
    await stage.enter(asking())
    error = await stage.refusal(asking())
    assert isinstance(error, RateLimited)
    assert error.message == "limit reached: 2 requests per minute for key laptop of ann; try again in 30 s"
    assert (error.retry_after, error.should_retry) == (30, None)


@pytest.mark.parametrize("wait", [30, 29.2, 0.5])
async def test_the_wait_is_whole_seconds_and_enough(wait: float) -> None:
    stage = Stage({"requests_per_minute": 2})
    await stage.enter(asking())
    await stage.enter(asking())
    stage.clock.now += 30 - wait
    told = (await stage.refusal(asking())).retry_after
    assert told == -(-wait // 1)
    stage.clock.now += wait - 0.01
    assert (await stage.refusal(asking())).retry_after == 1
    stage.clock.now += 0.01
    await stage.enter(asking())


@pytest.mark.parametrize(
    ("options", "words", "should_retry"),
    [
        ({"requests_per_hour": 6}, "6 requests per hour for key laptop of ann; try again in 10 min", None),
        ({"requests_per_hour": 5}, "5 requests per hour for key laptop of ann; try again in 12 min", False),
        ({"requests_per_day": 7}, "7 requests per day for key laptop of ann; try again in 3 h 26 min", False),
        ({"requests_per_day": 1}, "1 request per day for key laptop of ann; try again in 24 h", False),
    ],
)
async def test_who_has_to_wait_long_is_told_at_once(options: dict[str, int], words: str, should_retry: object) -> None:
    stage = Stage(dict(options))
    for _ in range(next(iter(options.values()))):
        await stage.enter(asking())
    error = await stage.refusal(asking())
    assert error.message == f"limit reached: {words}"
    assert error.should_retry is should_retry


@pytest.mark.parametrize(
    ("first", "unit"),
    [(Usage(input=5000, output=1), "100 requests per minute"), (Usage(input=1, output=5000), "900 output tokens")],
)
async def test_of_several_limits_the_one_that_takes_longest_is_named(first: Usage, unit: str) -> None:
    stage = Stage({"requests_per_minute": 100, "input_tokens_per_minute": 99_999, "output_tokens_per_minute": 900})
    if unit.startswith("100 "):
        for _ in range(100):
            await stage.answered(Usage(input=1, output=1), max_tokens=1)
    else:
        await stage.answered(first, max_tokens=1)
    assert unit in (await stage.refusal(asking(max_tokens=1))).message


async def test_finding_out_which_limit_it_is_costs_nothing() -> None:
    stage = Stage({"requests_per_minute": 10, "tokens_per_minute": 100})
    await stage.answered(Usage(input=400), max_tokens=1)
    for _ in range(20):
        assert "100 tokens per minute" in (await stage.refusal(asking(max_tokens=1))).message
    stage.clock.now += 240
    for _ in range(10):
        await stage.answered(Usage(), max_tokens=1)
    assert "10 requests" in (await stage.refusal(asking(max_tokens=1))).message


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (3601, "1 h 1 min"),
        (86400, "24 h"),
        (400_000, "4 d 16 h"),
    ],
)
def test_durations_are_rounded_up(seconds: int, words: str) -> None:
    assert duration(seconds) == words


# ---------------------------------------------------------------- who is counted

BEN = Principal(user="ben", team="core", key="laptop")
ANNS_SERVER = Principal(user="ann", team="core", key="server")
EVE = Principal(user="eve", team="other", key="k")


@pytest.mark.parametrize(
    ("per", "other", "together"),
    [
        ("key", ANNS_SERVER, False),
        ("key", BEN, False),
        ("user", ANNS_SERVER, True),
        ("user", BEN, False),
        ("team", BEN, True),
        ("team", EVE, False),
        ("pipeline", EVE, True),
        ("session", EVE, False),
    ],
)
async def test_each_is_counted_for_itself(per: str, other: Principal, together: bool) -> None:
    stage = Stage({"requests_per_day": 1, "per": per})
    await stage.enter(asking(session="s"))
    if together:
        await stage.refusal(asking(who=other, session="s"))
    else:
        await stage.enter(asking(who=other, session="s"))


async def test_where_nobody_says_who_they_are_all_count_together() -> None:
    stage = Stage({"requests_per_day": 1})
    await stage.enter(asking(who=None))
    assert "for this pipeline;" in (await stage.refusal(asking(who=None))).message


async def test_sessions_are_apart_and_leaving_the_session_out_opens_nothing() -> None:
    stage = Stage({"requests_per_day": 1, "per": "session"})
    for session in ("a", "b", "", "x" * 100_000, "\ud800"):
        await stage.enter(asking(session=session))
        await stage.refusal(asking(session=session))


async def test_a_session_has_so_many_iterations_and_then_no_more() -> None:
    stage = Stage({"iterations": 3, "per": "session"})
    for _ in range(3):
        await stage.answered(Usage(), session="a")
    error = await stage.refusal(asking(session="a"))
    assert error.message == "limit reached: 3 requests for this session; it does not refill: start a new one"
    assert (error.retry_after, error.should_retry) == (None, False)
    stage.clock.now += 6 * 86400
    await stage.refusal(asking(session="a"))
    await stage.answered(Usage(), session="b")
    for _ in range(5):
        await stage.answered(Usage())


async def test_an_iteration_that_was_refused_elsewhere_is_none() -> None:
    stage = Stage({"iterations": 1, "per": "session"})
    for _ in range(3):
        await stage.end(await stage.enter(asking(session="a")), outcome="error")
    await stage.answered(Usage(), session="a")
    await stage.refusal(asking(session="a"))


async def test_only_some_models_are_counted() -> None:
    stage = Stage({"requests_per_day": 1, "only": ["claude-opus-*"]})
    for _ in range(3):
        await stage.enter(asking(model="claude-haiku-4-5"))
    await stage.enter(asking(model="claude-opus-4-5"))
    await stage.refusal(asking(model="claude-opus-4-6"))


@pytest.mark.parametrize("model", ["one/claude-opus-4-5", "two,claude-opus-4-5"])
async def test_to_name_the_upstream_does_not_help(model: str) -> None:
    stage = Stage({"requests_per_day": 1, "only": ["claude-opus-*"]})
    await stage.enter(asking(model="claude-opus-4-5"))
    await stage.refusal(asking(model=model))


@pytest.mark.parametrize("operation", ["count_tokens", "list_models"])
async def test_what_is_no_request_for_an_answer_is_free(operation: Operation) -> None:
    stage = Stage({"requests_per_day": 1})
    upstreams = Stage({"requests_per_day": 1, "per": "upstream"})
    for _ in range(3):
        await stage.enter(asking(operation=operation))
        await upstreams.call(asking(operation=operation))


# ---------------------------------------------------------------- reserve and settle


def prompt_of(tokens: int, max_tokens: int = 0) -> Exchange:
    """A request that is estimated at so many tokens."""
    frame = len(asking("", max_tokens=max_tokens).request.body)
    return asking("x" * (4 * tokens - frame), max_tokens=max_tokens)


async def room(stage: Stage, most: int) -> int:
    """How many tokens there is room for: what takes away everything that is left."""
    for tokens in range(most, 19, -1):
        exchange = prompt_of(tokens)
        try:
            await stage.enter(exchange)
        except RateLimited:
            await stage.end(exchange, outcome="error")
            continue
        await stage.end(exchange, outcome="error")
        return tokens
    return 0


@pytest.mark.parametrize(
    ("usage", "outcome", "left"),
    [
        (Usage(input=30, output=20), "ok", 150),
        (Usage(input=30, cache_read=5000, cache_write=10, output=20), "ok", 140),
        (Usage(input=30, output=20, estimated=True), "ok", 150),
        (Usage(input=30, output=1), "cancelled", 130),
        (Usage(input=30, output=60), "cancelled", 110),
        (Usage(input=30, output=1), "error", 130),
        (Usage(), "ok", 100),
        (Usage(), "cancelled", 100),
    ],
)
async def test_what_was_used_is_what_counts(usage: Usage, outcome: Outcome, left: int) -> None:
    stage = Stage({"tokens_per_day": 200})
    exchange = prompt_of(60, max_tokens=40)
    await stage.enter(exchange)
    await stage.call(exchange)
    await stage.end(exchange, usage, outcome)
    assert await room(stage, 200) == left


async def test_what_was_used_too_much_has_to_refill_first() -> None:
    stage = Stage({"tokens_per_minute": 60})
    exchange = prompt_of(40)
    await stage.enter(exchange)
    await stage.call(exchange)
    await stage.end(exchange, Usage(input=100, output=20))
    error = await stage.refusal(prompt_of(20))
    assert error.retry_after == 80
    stage.clock.now += 80
    await stage.enter(prompt_of(20))


async def test_a_prompt_larger_than_a_limit_needs_a_full_bucket_and_passes() -> None:
    stage = Stage({"tokens_per_minute": 60})
    await stage.answered(Usage(input=1))
    assert (await stage.refusal(prompt_of(500))).retry_after == 1
    stage.clock.now += 1
    await stage.enter(prompt_of(500))


async def test_the_largest_estimate_is_bounded_and_so_is_the_answers() -> None:
    stage = Stage({"input_tokens_per_day": 200_000, "output_tokens_per_day": 1000})
    exchange = asking("x" * 4_000_000, max_tokens=128_000)
    await stage.enter(exchange)
    await stage.end(exchange, outcome="error")
    for _ in range(2):  # nothing is in debt
        await stage.enter(exchange)
        await stage.end(exchange, outcome="error")


@pytest.mark.parametrize("max_tokens", [-5, 0, None, 10**30])
async def test_any_max_tokens_will_do(max_tokens: int | None) -> None:
    stage = Stage({"tokens_per_day": 200_000})
    await stage.answered(Usage(input=1), max_tokens=max_tokens)


@pytest.mark.parametrize("outcome", ["error", "cancelled"])
async def test_what_came_to_no_call_costs_nothing(outcome: Outcome) -> None:
    stage = Stage({"requests_per_day": 1, "tokens_per_day": 5000})
    for _ in range(3):
        await stage.end(await stage.enter(asking()), outcome=outcome)
    refused = await stage.enter(asking())
    await stage.call(refused, leaves=False)
    await stage.fail(refused, OverBudget("another step says so"))
    await stage.end(refused, outcome="error")
    waiting = await stage.enter(asking())
    await stage.call(waiting, leaves=False)
    await stage.end(waiting, outcome=outcome)
    await stage.answered(Usage())


async def test_a_cached_answer_is_a_request_without_tokens() -> None:
    stage = Stage({"requests_per_day": 2, "tokens_per_day": 5000})
    for _ in range(2):
        exchange = await stage.enter(asking())
        exchange.cached = True
        await stage.end(exchange, Usage(input=5000))
    assert "2 requests" in (await stage.refusal(asking())).message


async def test_a_failed_call_is_a_request_without_tokens() -> None:
    stage = Stage({"requests_per_day": 2, "tokens_per_day": 200})
    exchange = await stage.enter(prompt_of(60, max_tokens=40))
    await stage.call(exchange)
    await stage.fail(exchange, UpstreamFailed("no"), status=500)
    await stage.end(exchange, outcome="error")
    assert await room(stage, 200) == 200
    await stage.answered(Usage(input=1), max_tokens=1)
    assert "2 requests" in (await stage.refusal(asking(max_tokens=1))).message


async def test_it_is_settled_once() -> None:
    stage = Stage({"requests_per_day": 1})
    exchange = await stage.enter(asking())
    for _ in range(3):
        await stage.plugin.on_complete(exchange)
    await stage.enter(asking())
    await stage.refusal(asking())


# ---------------------------------------------------------------- concurrency


async def test_only_so_many_at_a_time() -> None:
    stage = Stage({"concurrency": 2})
    first, _ = await stage.enter(asking()), await stage.enter(asking())
    error = await stage.refusal(asking())
    assert error.message == "limit reached: 2 at a time for key laptop of ann; try again in 5 s"
    assert error.retry_after == 5
    await stage.end(first)
    await stage.enter(asking())


async def test_who_is_refused_for_tokens_holds_no_lease() -> None:
    stage = Stage({"concurrency": 1, "requests_per_minute": 1})
    await stage.answered(Usage())
    await stage.refusal(asking())
    stage.clock.now += 60
    await stage.enter(asking())


async def test_leases_are_renewed_until_the_end_and_the_dead_lose_theirs() -> None:
    store = MemoryStore(asyncio.get_running_loop().time)
    gate, crashed = Gate(store, (), concurrency=2, lease=0.3), Gate(store, (), concurrency=2, lease=0.3)
    ann = Subject("ann", "ann")
    one, two, three = (Pass(ann, holder, Quantity()) for holder in ("one", "two", "three"))
    keeping = asyncio.create_task(gate.keep())
    assert await gate.enter(one) is None
    assert await crashed.enter(two) is None
    assert await gate.enter(three) is not None

    async def enters() -> bool:
        return await gate.enter(three) is None

    await eventually(enters)
    await asyncio.sleep(0.5)  # longer than a lease
    assert await gate.enter(Pass(ann, "four", Quantity())) is not None
    await gate.leave(one, Quantity())
    await gate.leave(three, Quantity())
    keeping.cancel()
    assert [await store.hold("ann", 2, f"new {number}", 60) for number in range(3)] == [True, True, False]


# ---------------------------------------------------------------- calls to upstreams


async def test_a_target_without_room_is_passed_over() -> None:
    stage = Stage({"requests_per_day": 1, "per": "upstream"})
    first = await stage.enter(asking())
    await stage.call(first)
    await stage.end(first, Usage(input=1))
    second = await stage.enter(asking())
    with pytest.raises(RateLimited, match=r"1 request per day for upstream one; try again in 24 h") as caught:
        await stage.call(second)
    assert caught.value.retryable
    await stage.call(second, "two")
    await stage.end(second, Usage(input=1))
    with pytest.raises(RateLimited, match="upstream two"):
        await stage.call(await stage.enter(asking()), "two")


async def test_each_model_of_each_upstream() -> None:
    stage = Stage({"requests_per_day": 1, "per": "model"})
    for upstream, model in (("one", "a"), ("one", "b"), ("two", "a"), ("two", "")):
        await stage.call(asking(model="m"), upstream, model)
    with pytest.raises(RateLimited, match="model 'm' of upstream two"):
        await stage.call(asking(model="m"), "two")


async def test_only_an_upstreams_free_models() -> None:
    stage = Stage({"requests_per_day": 1, "per": "upstream", "only": ["one/*:free"]})
    for upstream, model in (("one", "paid"), ("one", "paid"), ("two", "x:free"), ("two", "x:free"), ("one", "x:free")):
        await stage.call(asking(), upstream, model)
    with pytest.raises(RateLimited):
        await stage.call(asking(), "one", "y:free")


async def test_each_call_is_settled_for_itself() -> None:
    stage = Stage({"tokens_per_day": 200, "requests_per_day": 9, "per": "upstream", "concurrency": 1})
    exchange = prompt_of(60, max_tokens=40)
    await stage.call(exchange, "one")
    await stage.fail(exchange, UpstreamFailed("no"))
    await stage.call(exchange, "two")
    await stage.end(exchange, Usage(input=150))
    await stage.call(prompt_of(200), "one")
    with pytest.raises(RateLimited, match="200 tokens"):
        await stage.call(prompt_of(60), "two")
    await stage.call(prompt_of(50), "two")


# ---------------------------------------------------------------- waiting


async def test_who_may_wait_waits_for_room() -> None:
    loop = asyncio.get_running_loop()
    stage = Stage({"requests_per_minute": 600, "wait": "2s"}, MemoryStore(loop.time), cast(Clock, loop.time))
    await asyncio.gather(*(stage.enter(asking()) for _ in range(600)))
    started = loop.time()
    await asyncio.gather(*(stage.enter(asking()) for _ in range(5)))
    assert 0.3 < loop.time() - started < 2


async def test_who_waits_for_another_one_to_end() -> None:
    loop = asyncio.get_running_loop()
    stage = Stage({"concurrency": 1, "wait": "30s"}, MemoryStore(loop.time), cast(Clock, loop.time))
    first = await stage.enter(asking())
    waiting = asyncio.create_task(stage.enter(asking()))
    await asyncio.sleep(0)
    assert not waiting.done()
    await stage.end(first)
    async with asyncio.timeout(10):
        await waiting


async def test_who_cannot_get_in_within_that_time_is_told_at_once() -> None:
    stage = Stage({"requests_per_minute": 1, "wait": "59s"})
    await stage.enter(asking())
    async with asyncio.timeout(5):
        assert (await stage.refusal(asking())).retry_after == 60


async def test_who_leaves_while_waiting_has_taken_nothing() -> None:
    loop = asyncio.get_running_loop()
    stage = Stage({"concurrency": 1, "requests_per_day": 2, "wait": "30s"}, MemoryStore(loop.time))
    first = await stage.enter(asking())
    gone = asking()
    waiting = asyncio.create_task(stage.enter(gone))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await stage.end(gone, outcome="cancelled")
    await stage.end(first)
    await stage.enter(asking())


# ---------------------------------------------------------------- without the store


async def test_without_the_store_requests_are_refused_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    store = Absent(clock)
    stage = Stage({"requests_per_day": 1, "concurrency": 1}, store, clock)
    for _ in range(2):
        store.away = True
        for _ in range(3):
            error = await stage.refusal(asking())
            assert isinstance(error, Overloaded)
            assert error.message == "the gateway cannot look up its limits at the moment"
            assert error.retry_after == 5
        store.away = False
        await stage.end(await stage.enter(asking()), outcome="error")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the store is away, requests are refused until it is back: it does not answer"] * 2


async def test_without_the_store_requests_pass_if_the_operator_says_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    store = Absent(clock)
    stage = Stage({"requests_per_day": 1, "concurrency": 5, "when_store_fails": "allow"}, store, clock)
    store.away = True
    for _ in range(5):
        await stage.answered(Usage())
    store.away = False
    assert caplog.records[0].getMessage().startswith("the store is away, requests pass without limits")
    await stage.enter(asking())
    await stage.refusal(asking())


async def test_a_settlement_that_the_store_misses_frees_the_lease_all_the_same() -> None:
    clock = Clock()
    store = Absent(clock)
    stage = Stage({"tokens_per_minute": 60_000, "concurrency": 1}, store, clock)
    exchange = await stage.enter(asking())
    store.away = True
    await stage.end(exchange, Usage(input=5))
    store.away = False
    await stage.enter(asking())


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set at least one limit, such as `requests_per_minute: 60`"),
        ({"requests_per_minute": None}, "set at least one limit"),
        ({"requests_per_minute": 0}, "a limit is a number from 1 to 1,000,000,000,000"),
        ({"requests_per_minute": 5, "concurrency": -1}, "a limit is a number from 1 to"),
        ({"tokens_per_day": 10**400}, "a limit is a number from 1 to"),
        ({"iterations": 5}, "they need `per: session`"),
        ({"requests_per_minute": 1, "per": "agent"}, "Invalid enum value 'agent'"),
        ({"requests_per_second": 1}, "requests_per_second"),
        ({"requests_per_minute": 1, "when_store_fails": "shrug"}, "Invalid enum value 'shrug'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        limits(**options)


def test_it_is_a_plugin() -> None:
    assert issubclass(Limits, Plugin)


# ---------------------------------------------------------------- any interleaving

LIMITS: dict[str, object] = {"requests_per_minute": 6, "tokens_per_minute": 600, "concurrency": 3}
Deed = tuple[str, int, int]
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "call", "answer", "fail", "leave", "break", "pass"]),
        st.integers(0, 5),
        st.integers(20, 400),
    ),
    max_size=60,
)


class Model:
    """One subject's limits, as simply as they can be said."""

    def __init__(self) -> None:
        self.requests, self.tokens, self.inside = 6.0, 600.0, 0

    def passes(self, seconds: float) -> None:
        self.requests = min(6.0, self.requests + seconds / 10)
        self.tokens = min(600.0, self.tokens + seconds * 10)

    def admits(self, tokens: int) -> bool:
        enough = self.requests >= 1 - 1e-8 and self.tokens >= min(tokens, 600) - 1e-6
        return self.inside < 3 and enough


async def interleave(deeds: Sequence[Deed]) -> None:
    """Do it all, and compare with the model at each step; at the end nothing is left."""
    stage, model = Stage(dict(LIMITS)), Model()
    open_: list[tuple[Exchange, int]] = []
    for deed, which, amount in deeds:
        if deed == "pass":
            stage.clock.now += amount / 20
            model.passes(amount / 20)
        elif deed == "ask":
            await ask(stage, model, open_, amount)
        elif open_:
            exchange, estimate = open_[which % len(open_)]
            if deed == "call":
                if not exchange.attempts:
                    await stage.call(exchange)
                continue
            open_.remove((exchange, estimate))
            await over(stage, model, deed, exchange, estimate, amount)
    for exchange, estimate in open_:
        await over(stage, model, "leave", exchange, estimate, 0)
    assert model.inside == 0
    key = "core\tann\tlaptop"
    assert [await stage.store.hold(key, 3, f"new {number}", 60) for number in range(4)] == [True] * 3 + [False]


async def ask(stage: Stage, model: Model, open_: list[tuple[Exchange, int]], tokens: int) -> None:
    exchange = prompt_of(tokens)
    if model.admits(tokens):
        await stage.enter(exchange)
        model.requests -= 1
        model.tokens -= tokens
        model.inside += 1
        open_.append((exchange, tokens))
    else:
        assert isinstance(await stage.refusal(exchange), RateLimited)


async def over(stage: Stage, model: Model, deed: str, exchange: Exchange, estimate: int, amount: int) -> None:
    called = bool(exchange.attempts)
    usage = Usage(input=amount, output=1) if deed in ("answer", "break") and called else Usage()
    outcome: Outcome = "ok" if deed == "answer" and called else "cancelled" if deed == "leave" else "error"
    if deed == "fail" and called:
        await stage.fail(exchange, UpstreamFailed("no"), 500)
    await stage.end(exchange, usage, outcome)
    if not called:
        spent = 0
    elif usage != Usage():
        spent = amount + 1
    else:
        spent = 0 if deed == "fail" else estimate
    model.inside -= 1
    model.requests = min(6.0, model.requests + (not called))
    model.tokens = min(600.0, model.tokens + estimate - spent)


@settings(max_examples=200)
@given(DEEDS)
def test_no_interleaving_exceeds_a_limit_or_leaves_a_lease(deeds: list[Deed]) -> None:
    asyncio.run(interleave(deeds))
