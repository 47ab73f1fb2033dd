"""The store in memory, and what may be asked of a part of a store."""

import asyncio
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Take
from penstock.store import MemoryStore, PrefixedStore
from tests.plugins.stores import QUARTERS, Clock, Deed, Later, StoreContract, check, deeds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def later(clock: Clock) -> Later:
    return clock.later


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


class TestMemory(StoreContract):
    """The contract, in memory."""


@given(deeds(st.sampled_from([0.5, 1.0, 2.0]), QUARTERS))
def test_it_does_what_the_model_does(done: list[Deed]) -> None:
    clock = Clock()
    asyncio.run(check(MemoryStore(clock), clock, done))


async def test_a_kept_value_cannot_be_changed_from_outside(store: MemoryStore) -> None:
    value = ["a"]
    await store.set("k", value)
    value.append("b")
    assert await store.get("k", list[str]) == ["a"]


# ---------------------------------------------------------------- bounds


async def test_the_oldest_values_make_room_and_counters_stay(clock: Clock) -> None:
    store = MemoryStore(clock, room=4000)
    await store.add("spent", 7)
    for key in "abcd":
        await store.set(key, key * 1000)
    assert [await store.get(key, str) is not None for key in "abcd"] == [False, True, True, True]
    await store.set("b", "small")
    await store.set("e", "e" * 1000)
    assert [await store.get(key, str) is not None for key in "abcde"] == [False, True, True, True, True]
    await store.set("too large", "x" * 4000)
    assert await store.get("too large", str) is None
    assert await store.get("e", str) is not None
    assert await store.get("spent", int) == 7


async def test_counters_buckets_and_leases_are_bounded_in_number(clock: Clock) -> None:
    store = MemoryStore(clock, count=3)
    for key in "abcd":
        await store.add(key, 1)
        await store.take([Take(key, 1, 0.001, 1)])
        await store.hold(key, 1, "a", 1000)
    assert [await store.get(key, int) for key in "abcd"] == [None, 1, 1, 1]
    assert [await store.take([Take(key, 1, 0.001, 0.5)]) > 0 for key in "dcba"] == [True, True, True, False]
    assert [await store.hold(key, 1, "b", 1000) for key in "dcba"] == [False, False, False, True]


async def test_what_nobody_asks_for_again_is_forgotten_when_it_has_expired(store: MemoryStore, clock: Clock) -> None:
    async def use(number: int) -> None:
        await store.set(f"value {number}", "x" * 100, ttl=10)
        await store.add(f"number {number}", 1, ttl=10)
        await store.take([Take(f"bucket {number}", 10, 1, 10)])
        await store.hold(f"lease {number}", 1, "me", 10)
        clock.now += 0.1

    tracemalloc.start()
    try:
        for number in range(500):
            await use(number)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(500, 5000):
            await use(number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < before * 2


# ---------------------------------------------------------------- what may be asked


@pytest.mark.parametrize(
    ("take", "complaint"),
    [
        (Take("b", 0, 1, 1), "not a bucket"),
        (Take("b", 1, 0, 1), "not a bucket"),
        (Take("b", math.nan, 1, 1), "not a bucket"),
        (Take("b", 1, math.inf, 1), "not a bucket"),
        (Take("b", 1, 1, math.nan), "not a bucket, or not an amount"),
        (Take("b", 1, 1, -1), "cannot take a negative amount"),
    ],
)
async def test_a_take_that_makes_no_sense_is_refused(store: MemoryStore, take: Take, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        await PrefixedStore(store, "a/").take([take])


async def test_other_nonsense_is_refused_too(store: MemoryStore) -> None:
    part = PrefixedStore(store, "a/")
    with pytest.raises(ValueError, match="each bucket may stand once"):
        await part.take([Take("b", 1, 1, 1), Take("b", 2, 1, 1)])
    with pytest.raises(ValueError, match="not a bucket"):
        await part.settle([Take("b", -1, 1, 1)])
    with pytest.raises(ValueError, match="cannot add nan"):
        await part.add("n", math.nan)
    with pytest.raises(ValueError, match="must end after some seconds"):
        await part.hold("l", 1, "me", math.inf)
    with pytest.raises(ValueError, match="must end after some seconds"):
        await part.hold("l", 1, "me", 0)
