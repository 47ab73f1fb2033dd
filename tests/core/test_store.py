"""The five verbs of the store in memory."""

import pytest

from penstock.store import MemoryStore, PrefixedStore


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock, capacity=3)


async def test_a_value_comes_back_typed_until_it_expires(store: MemoryStore, clock: Clock) -> None:
    await store.set("k", ["a"], ttl=10)
    assert await store.get("k", list[str]) == ["a"]
    clock.now += 10
    assert await store.get("k", list[str]) is None


async def test_a_kept_value_cannot_be_changed_from_outside(store: MemoryStore) -> None:
    value = ["a"]
    await store.set("k", value)
    value.append("b")
    assert await store.get("k", list[str]) == ["a"]


async def test_deleting_forgets_and_does_not_complain(store: MemoryStore) -> None:
    await store.set("k", 1)
    await store.delete("k")
    await store.delete("k")
    assert await store.get("k", int) is None


async def test_adding_counts_up_and_expires_from_the_first_add(store: MemoryStore, clock: Clock) -> None:
    assert await store.add("n", 2, ttl=10) == 2
    clock.now += 9
    assert await store.add("n", 3, ttl=10) == 5
    clock.now += 1
    assert await store.add("n", 1) == 1


async def test_the_oldest_written_make_room(store: MemoryStore) -> None:
    for key in "abcd":
        await store.set(key, key)
    assert [await store.get(key, str) for key in "abcd"] == [None, "b", "c", "d"]


async def test_a_bucket_refuses_until_it_has_refilled(store: MemoryStore, clock: Clock) -> None:
    assert await store.take("b", capacity=10, rate=2, amount=8) == 0
    assert await store.take("b", capacity=10, rate=2, amount=8) == 3
    clock.now += 3
    assert await store.take("b", capacity=10, rate=2, amount=8) == 0


async def test_more_than_the_capacity_needs_a_full_bucket_and_leaves_debt(store: MemoryStore, clock: Clock) -> None:
    assert await store.take("b", capacity=10, rate=1, amount=25) == 0
    assert await store.take("b", capacity=10, rate=1, amount=1) == 16
    clock.now += 16
    assert await store.take("b", capacity=10, rate=1, amount=1) == 0


async def test_giving_back_never_overfills(store: MemoryStore) -> None:
    await store.take("b", capacity=10, rate=1, amount=4)
    await store.take("b", capacity=10, rate=1, amount=-100)
    assert await store.take("b", capacity=10, rate=1, amount=10) == 0
    assert await store.take("b", capacity=10, rate=1, amount=1) == 1


async def test_prefixes_keep_steps_apart(store: MemoryStore) -> None:
    one, two = PrefixedStore(store, "a/"), PrefixedStore(store, "b/")
    await one.set("k", 1)
    assert await one.get("k", int) == 1
    assert await two.get("k", int) is None
