"""Which old item of a list a new one is, or replaces: for writers that keep a client's bytes where nothing changed."""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def origins(old: Sequence[T], new: Sequence[T], key: Callable[[T], Hashable]) -> list[int | None]:
    """For each new item the place of the old one that it is or replaces, None if it is inserted.

    Identity decides what is kept. Between two kept items, as many new ones as old ones replace them one by one; of
    more or fewer, each replaces the next with its `key`.
    """
    places = {id(item): place for place, item in enumerate(old)}
    kept = {places[id(item)] for item in new if id(item) in places}
    found: list[int | None] = []
    run: list[T] = []
    start = 0
    for item in new:
        place = places.get(id(item))
        if place is None:
            run.append(item)
            continue
        found += _replaced(old, range(start, len(old)), kept, run, key)
        found.append(place)
        run, start = [], place + 1
    return found + _replaced(old, range(start, len(old)), kept, run, key)


def _replaced(
    old: Sequence[T], places: range, kept: set[int], run: list[T], key: Callable[[T], Hashable]
) -> list[int | None]:
    if not run:
        return []
    gone = list(_until(places, kept))
    if len(gone) == len(run):
        return [*gone]
    waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
    for place in gone:
        waiting[key(old[place])].append(place)
    return [waiting[key(item)].popleft() if waiting[key(item)] else None for item in run]


def _until(places: range, kept: set[int]) -> Iterator[int]:
    for place in places:
        if place in kept:
            return
        yield place
