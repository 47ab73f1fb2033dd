"""What every store must do, to be inherited by the tests of each; and a small model that properties compare it with."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock import Event, Store, Take, Text
from penstock.store import PrefixedStore

SLOW = 1e-6
"""A rate at which nothing comes back while a test runs."""

Later = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass for a store: truly, or on the clock it was given."""


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def later(self, seconds: float) -> None:
        self.now += seconds


class StoreContract:
    """Inherit, and have fixtures `store` and `later`."""

    # ------------------------------------------------------------ values

    async def test_a_value_comes_back_typed_until_it_expires(self, store: Store, later: Later) -> None:
        await store.set("k", ["a"], ttl=0.5)
        assert await store.get("k", list[str]) == ["a"]
        await later(0.5)
        assert await store.get("k", list[str]) is None

    async def test_a_value_without_ttl_stays_and_events_are_values(self, store: Store, later: Later) -> None:
        events: list[Event] = [Text(0, "hällo \x00 \U0001f600")]
        await store.set("k", "before", ttl=0.1)
        await store.set("k", events)
        await later(0.5)
        assert await store.get("k", list[Event]) == events

    async def test_no_time_at_all_keeps_nothing(self, store: Store) -> None:
        await store.set("k", 1)
        await store.set("k", 2, ttl=0)
        assert await store.get("k", int) is None

    async def test_a_large_value_comes_back(self, store: Store) -> None:
        await store.set("k", "x" * 5_000_000)
        assert await store.get("k", str) == "x" * 5_000_000

    async def test_deleting_forgets_all_of_a_key_and_does_not_complain(self, store: Store) -> None:
        await store.set("k", 1)
        await store.take([Take("k", 1, SLOW, 1)])
        await store.hold("k", 1, "a", 60)
        await store.delete("k")
        await store.delete("k")
        assert await store.get("k", int) is None
        assert await store.take([Take("k", 1, SLOW, 1)]) == 0
        assert await store.hold("k", 1, "b", 60)

    async def test_clearing_forgets_what_is_under_a_prefix_and_counts_values(self, store: Store) -> None:
        keys = ["p*[a-z]?\\/1", "p*[a-z]?\\/2", "p*[a-z]?\\/ü", "pxa/3", "p*", "q"]
        for key in keys:
            await store.set(key, key)
        await store.add("p*[a-z]?\\/count", 1)
        for key in ("p*[a-z]?\\/1", "q"):
            await store.take([Take(key, 1, SLOW, 1)])
            await store.hold(key, 1, "a", 60)
        assert await store.clear("p*[a-z]?\\/") == 4
        assert [key for key in keys if await store.get(key, str) is not None] == ["pxa/3", "p*", "q"]
        assert [await store.take([Take(key, 1, SLOW, 1)]) == 0 for key in ("p*[a-z]?\\/1", "q")] == [True, False]
        assert [await store.hold(key, 1, "b", 60) for key in ("p*[a-z]?\\/1", "q")] == [True, False]
        assert await store.clear("") == 3

    async def test_many_values_are_cleared(self, store: Store) -> None:
        await asyncio.gather(*(store.set(f"many/{number}", number) for number in range(1500)))
        await store.set("other", 1)
        assert await store.clear("many/") == 1500
        assert await store.get("other", int) == 1

    async def test_keys_are_those_of_values_under_a_prefix(self, store: Store, later: Later) -> None:
        for key in ("p*[a]?\\/1", "p*[a]?\\/ü", "p*", "pa/3"):
            await store.set(key, key)
        await store.set("p*[a]?\\/gone", 1, ttl=0.5)
        await store.add("p*[a]?\\/count", 1)
        await store.take([Take("p*[a]?\\/bucket", 1, SLOW, 1)])
        await later(0.5)
        assert await keys(store, "p*[a]?\\/") == ["p*[a]?\\/1", "p*[a]?\\/count", "p*[a]?\\/ü"]
        assert await keys(PrefixedStore(store, "p"), "*") == ["*", "*[a]?\\/1", "*[a]?\\/count", "*[a]?\\/ü"]
        assert await keys(store, "nothing") == []

    async def test_many_keys_are_listed_while_they_go(self, store: Store) -> None:
        await asyncio.gather(*(store.set(f"many/{number}", number) for number in range(1500)))
        found = set()
        async for key in store.keys("many/"):
            found.add(key)
            await store.delete(key)
        assert len(found) == 1500
        assert await keys(store, "many/") == []

    # ------------------------------------------------------------ numbers

    async def test_adding_counts_up_and_expires_from_the_first_add(self, store: Store, later: Later) -> None:
        assert await store.add("n", 2, ttl=1) == 2
        await later(0.5)
        assert await store.add("n", 3, ttl=100) == 5
        await later(0.5)
        assert await store.add("n", 1) == 1

    async def test_a_number_is_a_value(self, store: Store) -> None:
        await store.set("n", 40)
        assert await store.add("n", 2.5) == 42.5
        assert await store.add("n", -0.5) == 42
        assert await store.get("n", int) == 42
        await store.set("n", "text")
        assert await store.get("n", str) == "text"

    async def test_large_sums_are_exact(self, store: Store) -> None:
        await store.add("n", 2**53 - 2)
        await store.add("n", 1)
        assert await store.get("n", int) == 2**53 - 1

    async def test_nothing_can_be_added_to_words(self, store: Store) -> None:
        await store.set("n", "3 apples")
        with pytest.raises(Exception, match="Expected `float`, got `str`"):
            await store.add("n", 1)
        assert await store.get("n", str) == "3 apples"

    async def test_additions_at_once_all_count(self, store: Store) -> None:
        totals = await asyncio.gather(*(store.add("n", 1) for _ in range(200)))
        assert sorted(totals) == list(range(1, 201))

    # ------------------------------------------------------------ buckets

    async def test_a_bucket_refuses_until_it_has_refilled(self, store: Store, later: Later) -> None:
        assert await store.take([Take("b", 10, 20, 10)]) == 0
        wait = await store.take([Take("b", 10, 20, 4)])
        assert 0 < wait <= 0.2
        await later(wait)
        assert await store.take([Take("b", 10, 20, 4)]) == 0

    async def test_waits_are_exact(self, store: Store) -> None:
        assert await store.take([Take("b", 10, SLOW, 8)]) == 0
        assert await store.take([Take("b", 10, SLOW, 8)]) == pytest.approx(6 / SLOW, rel=1e-3)
        assert await store.take([Take("b", 10, SLOW, 2)]) == 0

    async def test_all_buckets_or_none(self, store: Store) -> None:
        both = [Take("a", 10, SLOW, 5), Take("b", 6, SLOW, 4)]
        assert await store.take(both) == 0
        assert await store.take(both) == pytest.approx(2 / SLOW, rel=1e-3)
        assert await store.take([Take("a", 10, SLOW, 5)]) == 0
        assert await store.take([Take("b", 6, SLOW, 2)]) == 0
        assert await store.take([]) == 0

    async def test_more_than_the_capacity_needs_a_full_bucket_and_leaves_debt(self, store: Store, later: Later) -> None:
        assert await store.take([Take("b", 10, 50, 25)]) == 0
        wait = await store.take([Take("b", 10, 50, 1)])
        assert 0 < wait <= 16 / 50
        assert await store.take([Take("b", 10, 50, 0)]) > 0
        await later(wait)
        assert await store.take([Take("b", 10, 50, 1)]) == 0

    async def test_settling_charges_what_was_used_and_may_leave_debt(self, store: Store) -> None:
        await store.take([Take("b", 10, SLOW, 4)])
        await store.settle([Take("b", 10, SLOW, 16)])
        assert await store.take([Take("b", 10, SLOW, 1)]) == pytest.approx(11 / SLOW, rel=1e-3)

    async def test_giving_back_never_overfills(self, store: Store) -> None:
        await store.take([Take("b", 10, SLOW, 4), Take("c", 10, SLOW, 4)])
        await store.settle([Take("b", 10, SLOW, -100), Take("c", 10, SLOW, -1)])
        await store.settle([])
        assert await store.take([Take("b", 10, SLOW, 10), Take("c", 10, SLOW, 7)]) == 0
        assert await store.take([Take("b", 10, SLOW, 1)]) > 0
        assert await store.take([Take("c", 10, SLOW, 1)]) > 0

    async def test_a_limit_may_change(self, store: Store) -> None:
        await store.take([Take("b", 100, SLOW, 10)])
        assert await store.take([Take("b", 50, SLOW, 50)]) == 0
        assert await store.take([Take("b", 100, SLOW, 1)]) > 0

    async def test_takes_at_once_never_exceed_the_bucket(self, store: Store) -> None:
        waits = await asyncio.gather(
            *(store.take([Take("b", 50, SLOW, 1), Take("c", 70, SLOW, 1)]) for _ in range(200))
        )
        assert waits.count(0) == 50
        assert await store.take([Take("c", 70, SLOW, 20)]) == 0

    async def test_levels_are_told_and_nothing_is_taken(self, store: Store, later: Later) -> None:
        await store.take([Take("a", 10, SLOW, 4), Take("b", 10, 20, 25)])
        both = [Take("a", 10, SLOW, 99), Take("b", 10, 20, 0), Take("c", 7, SLOW, 1)]
        first, second = await store.levels(both), await store.levels(both)
        assert first[0] == pytest.approx(6, abs=1e-3)
        assert -15 <= first[1] <= second[1] < 10
        assert first[2] == second[2] == 7
        await later(1.5)
        assert await store.levels(both[1:]) == [10, 7]
        assert await store.levels([]) == []

    # ------------------------------------------------------------ leases

    async def test_only_so_many_hold_a_lease(self, store: Store) -> None:
        given = await asyncio.gather(*(store.hold("l", 3, f"holder {number}", 60) for number in range(20)))
        assert given.count(True) == 3
        assert not await store.hold("l", 0, "anybody", 60)
        await store.release("l", f"holder {given.index(True)}")
        await store.release("l", "nobody")
        assert await store.hold("l", 3, "late", 60)
        assert not await store.hold("l", 3, "later", 60)

    async def test_a_lease_ends_unless_it_is_renewed(self, store: Store, later: Later) -> None:
        await store.hold("l", 2, "a", 1)
        await store.hold("l", 2, "b", 1)
        await later(0.5)
        assert await store.hold("l", 2, "a", 60)
        assert not await store.hold("l", 2, "c", 60)
        await later(0.5)
        assert await store.hold("l", 2, "c", 60)
        assert not await store.hold("l", 2, "b", 60)

    async def test_held_leases_are_counted(self, store: Store, later: Later) -> None:
        assert await store.held("l") == 0
        await store.hold("l", 3, "a", 0.5)
        await store.hold("l", 3, "b", 60)
        await store.hold("l", 3, "b", 60)
        assert await store.held("l") == 2
        await later(0.5)
        assert await store.held("l") == 1
        await store.release("l", "b")
        assert await store.held("l") == 0

    async def test_a_renewal_is_given_when_the_limit_has_become_smaller(self, store: Store) -> None:
        for holder in "abc":
            await store.hold("l", 3, holder, 60)
        assert await store.hold("l", 1, "b", 60)
        assert not await store.hold("l", 1, "d", 60)

    async def test_prefixes_keep_steps_apart(self, store: Store) -> None:
        one, two = PrefixedStore(store, "a/"), PrefixedStore(store, "b/")
        await one.set("k", 1)
        await one.take([Take("k", 1, SLOW, 1)])
        await one.hold("k", 1, "x", 60)
        assert await two.get("k", int) is None
        assert await two.take([Take("k", 1, SLOW, 1)]) == 0
        assert await two.hold("k", 1, "y", 60)
        assert await two.clear("") == 0
        assert await one.add("k", 1) == 2
        await one.release("k", "x")
        assert await one.hold("k", 1, "z", 60)
        await one.settle([Take("k", 1, SLOW, -1)])
        assert await one.take([Take("k", 1, SLOW, 1)]) == 0
        assert (await one.levels([Take("k", 1, SLOW, 1)]))[0] < 1
        assert await two.levels([Take("k", 1, SLOW, 1)]) == [1]
        assert (await one.held("k"), await two.held("k")) == (1, 0)
        await one.delete("k")
        assert await one.get("k", int) is None


async def keys(store: "Store | Model", prefix: str) -> list[str]:
    """The keys in order."""
    return sorted({key async for key in store.keys(prefix)})


# ---------------------------------------------------------------- the model


class Model:
    """What a store does, as simply as it can be said."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.values: dict[str, tuple[Any, float]] = {}
        self.buckets: dict[str, tuple[float, float, float]] = {}  # level, when, and when it is full again
        self.leases: dict[str, dict[str, float]] = {}

    async def get(self, key: str, type: Any) -> Any:
        value, end = self.values.get(key, (None, math.inf))
        return value if end > self.clock() else None

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        self.values[key] = value, math.inf if ttl is None else self.clock() + ttl

    async def add(self, key: str, amount: float, ttl: float | None = None) -> float:
        known = await self.get(key, float) is not None
        value, end = self.values[key] if known else (0, math.inf if ttl is None else self.clock() + ttl)
        self.values[key] = value + amount, end
        return float(value + amount)

    async def delete(self, key: str) -> None:
        for part in (self.values, self.buckets, self.leases):
            part.pop(key, None)

    async def clear(self, prefix: str) -> int:
        gone = [key for key in {*self.values, *self.buckets, *self.leases} if key.startswith(prefix)]
        count = len([key for key in gone if await self.get(key, float) is not None])
        for key in gone:
            await self.delete(key)
        return count

    async def take(self, takes: Sequence[Take]) -> float:
        missing = [(min(take.amount, take.capacity) - self.level(take), take.rate) for take in takes]
        wait = max([0.0, *(tokens / rate for tokens, rate in missing)])
        if wait == 0:
            await self.settle(takes)
        return wait

    async def settle(self, takes: Sequence[Take]) -> None:
        for take in takes:
            level, now = min(take.capacity, self.level(take) - take.amount), self.clock()
            self.buckets[take.key] = level, now, now + (take.capacity - level) / take.rate

    async def levels(self, takes: Sequence[Take]) -> list[float]:
        return [self.level(take) for take in takes]

    async def held(self, key: str) -> int:
        return len([end for end in self.leases.get(key, {}).values() if end > self.clock()])

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        for key in self.values:
            if key.startswith(prefix) and await self.get(key, float) is not None:
                yield key

    async def hold(self, key: str, limit: int, holder: str, ttl: float) -> bool:
        held = {who for who, end in self.leases.get(key, {}).items() if end > self.clock()}
        if holder in held or len(held) < limit:
            self.leases.setdefault(key, {})[holder] = self.clock() + ttl
            return True
        return False

    async def release(self, key: str, holder: str) -> None:
        self.leases.get(key, {}).pop(holder, None)

    def level(self, take: Take) -> float:
        now = self.clock()
        level, when, full = self.buckets.get(take.key, (take.capacity, now, now))
        if now >= full:  # at the rate at which it was charged; a bucket that is full is as good as none
            return take.capacity
        return min(take.capacity, level + (self.clock() - when) * take.rate)


Deed = tuple[str, tuple[Any, ...]]

KEYS = st.sampled_from(["", "a", "ab", "b"])
QUARTERS = st.integers(0, 40).map(lambda number: number / 4)
"""Seconds and amounts whose sums and products are exact."""
TTLS = st.none() | QUARTERS.map(lambda seconds: seconds + 0.25)


def deeds(rates: st.SearchStrategy[float], patience: st.SearchStrategy[float]) -> st.SearchStrategy[list[Deed]]:
    """Verbs with their arguments, one after the other; `pass` lets time go by. Capacities are as fixed as rates."""
    buckets = st.lists(st.tuples(KEYS, QUARTERS), max_size=3, unique_by=lambda pair: pair[0])
    capacities = {"": 1.0, "a": 2.5, "ab": 5.0, "b": 8.0}
    takes = st.builds(lambda pairs, rate: [Take(k, capacities[k], rate, n) for k, n in pairs], buckets, rates)
    refunds = takes.map(lambda found: [replace(take, amount=take.amount - 5) for take in found])
    verbs: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
        "get": (KEYS, st.just(float)),
        "set": (KEYS, QUARTERS, TTLS),
        "add": (KEYS, QUARTERS, TTLS),
        "delete": (KEYS,),
        "clear": (KEYS,),
        "keys": (KEYS,),
        "take": (takes,),
        "settle": (refunds,),
        "levels": (takes,),
        "held": (KEYS,),
        "hold": (KEYS, st.integers(1, 3), st.sampled_from("xyz"), QUARTERS.map(lambda seconds: seconds + 0.25)),
        "release": (KEYS, st.sampled_from("xyz")),
        "pass": (patience,),
    }
    return st.lists(
        st.sampled_from(sorted(verbs)).flatmap(lambda verb: st.tuples(st.just(verb), st.tuples(*verbs[verb]))),
        max_size=40,
    )


_INEXACT = frozenset({"add", "take", "levels"})


async def check(store: Store, clock: Clock, done: Sequence[Deed]) -> None:
    """Do it all to a store and to the model; they must not differ."""
    model = Model(clock)
    for number, (verb, arguments) in enumerate(done):
        if verb == "pass":
            await clock.later(*arguments)
            continue
        if verb == "keys":
            expected, found = await keys(model, *arguments), await keys(store, *arguments)
        else:
            expected = await getattr(model, verb)(*arguments)
            found = await getattr(store, verb)(*arguments)
        same = found == (pytest.approx(expected, rel=1e-6, abs=1e-4) if verb in _INEXACT else expected)
        assert same, f"{number}: {verb}{arguments} gave {found}, not {expected}"
