"""Let in what the limits allow, keep leases alive, and settle what was used: what a step asks of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock import Store, StoreUnavailable, Subject, Take

from .refusal import Refusal
from .rules import Quantity, Rule

LEASE = 60.0
"""Seconds after which the lease of a gateway that has crashed is free again."""
_BUSY = 5.0
"""Seconds after which to ask again when too many are under way: nobody knows when one of them ends."""
_LOOK = 0.2
"""Seconds between two looks of a request that may wait for that."""
_SESSION = 7 * 86400.0
"""Seconds for which the requests of a session are counted, from its first one on."""


class Pass:
    """What a request wants, and what it has of it."""

    __slots__ = ("counted", "estimate", "holder", "subject", "takes")

    def __init__(self, subject: Subject, holder: str, estimate: Quantity) -> None:
        self.subject = subject
        self.holder = holder
        self.estimate = estimate
        self.takes: Sequence[Take] = ()
        self.counted = False


class Gate:
    """The limits of one step, counted in a store."""

    def __init__(
        self,
        store: Store,
        rules: Sequence[Rule],
        concurrency: int | None = None,
        iterations: int | None = None,
        lease: float = LEASE,
    ) -> None:
        """`lease` is in seconds."""
        self.store = store
        self.rules = rules
        self.concurrency = concurrency
        self.iterations = iterations
        self._lease = lease
        self._holders: dict[str, Subject] = {}

    async def enter(self, wanted: Pass) -> Refusal | None:
        """Let in, or say why not, and then nothing was taken.

        Raises StoreUnavailable; `leave` then gives back what was taken until then.
        """
        refusal = await self._hold(wanted) or await self._take(wanted) or await self._count(wanted)
        if refusal is not None:
            await self.leave(wanted, Quantity())
        return refusal

    async def leave(self, held: Pass, used: Quantity) -> None:
        """Give the lease back and settle with what was used. Raises StoreUnavailable."""
        if self._holders.pop(held.holder, None) is not None:
            await self.store.release(held.subject.key, held.holder)
        takes, held.takes = held.takes, ()
        owed = [
            Take(take.key, take.capacity, take.rate, amount)
            for rule, take in zip(self.rules, takes, strict=False)
            if (amount := used.of(rule.unit) - take.amount)
        ]
        if owed:
            await self.store.settle(owed)
        if held.counted and not used.requests:
            held.counted = False
            await self.store.add(held.subject.key, -1, _SESSION)

    async def keep(self) -> None:
        """Renew the leases, for ever."""
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                for holder, subject in list(self._holders.items()):
                    await self._renew(holder, subject)
            except StoreUnavailable:
                continue  # they last for another two turns

    async def _renew(self, holder: str, subject: Subject) -> None:
        await self.store.hold(subject.key, self.concurrency or 0, holder, self._lease)
        if holder not in self._holders:  # it has ended meanwhile
            await self.store.release(subject.key, holder)

    async def _hold(self, wanted: Pass) -> Refusal | None:
        if self.concurrency is None:
            return None
        self._holders[wanted.holder] = wanted.subject  # before asking: whatever happens then, it is given back
        if await self.store.hold(wanted.subject.key, self.concurrency, wanted.holder, self._lease):
            return None
        del self._holders[wanted.holder]
        return Refusal(f"{self.concurrency} at a time", _BUSY, _LOOK)

    async def _take(self, wanted: Pass) -> Refusal | None:
        if not self.rules:
            return None
        takes = [rule.take(wanted.subject.key, wanted.estimate) for rule in self.rules]
        wait = await self.store.take(takes)
        if not wait:
            wanted.takes = takes
            return None
        return Refusal((await self._strictest(takes)).words, wait, wait)

    async def _strictest(self, takes: Sequence[Take]) -> Rule:
        """Which of several limits it is that a request has to wait for. The store tells the longest wait only."""
        levels = await self.store.levels(takes)
        waits = list(map(Take.wait, takes, levels))
        return self.rules[waits.index(max(waits))]

    async def _count(self, wanted: Pass) -> Refusal | None:
        if self.iterations is None or not wanted.subject.named:
            return None
        total = await self.store.add(wanted.subject.key, 1, _SESSION)
        wanted.counted = True
        if total <= self.iterations:
            return None
        return Refusal(f"{self.iterations} requests", None, float("inf"))
