"""What the cache has been good for, counted in the store: for all processes, and beyond a restart."""

import asyncio
from collections import Counter

from penstock import DOLLAR, Exchange, Store, StoreUnavailable
from penstock_cache.entry import Entry

_PREFIX = "count/"
_PAUSE = 1.0  # seconds between writes
_RESULTS = {"hit": "hits", "miss": "misses", "bypass": "bypassed"}
_COUNTS = (
    *("hits", "misses", "bypassed", "kept"),
    *("saved_input", "saved_output", "saved_cost"),
    *("prompt_new", "prompt_read", "prompt_written"),
)


class Stats:
    """Counts in this process and, a little later, in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: Counter[str] = Counter()

    def count_exchange(self, exchange: Exchange, result: str, *, kept: bool) -> None:
        """One exchange has ended."""
        self._waiting[_RESULTS[result]] += 1
        self._waiting["kept"] += kept
        usage = exchange.usage
        if exchange.attempts and not usage.estimated:  # an estimate knows nothing of a provider's cache
            self._waiting["prompt_new"] += usage.input
            self._waiting["prompt_read"] += usage.cache_read
            self._waiting["prompt_written"] += usage.cache_write + usage.cache_write_1h

    def count_hit(self, entry: Entry) -> None:
        """An answer is given again: what it took does not have to be paid a second time."""
        self._waiting["saved_input"] += entry.usage.prompt
        self._waiting["saved_output"] += entry.usage.output
        self._waiting["saved_cost"] += entry.cost

    async def write_often(self) -> None:
        """Write every second, without end."""
        while True:
            await asyncio.sleep(_PAUSE)
            await self.write()

    async def write(self) -> None:
        """Write what is waiting. It waits on while the store is away."""
        while self._waiting:
            name, amount = self._waiting.popitem()
            try:
                if amount:
                    await self._store.add(_PREFIX + name, amount)
            except StoreUnavailable:
                self._waiting[name] += amount
                return

    async def report(self) -> dict[str, object]:
        """All counts, for a person or a dashboard. Raises StoreUnavailable."""
        count = {name: await self._store.get(_PREFIX + name, int) or 0 for name in _COUNTS}
        prompt = count["prompt_new"] + count["prompt_read"] + count["prompt_written"]
        return {
            "hits": count["hits"],
            "misses": count["misses"],
            "bypassed": count["bypassed"],
            "hit_rate": _share(count["hits"], count["hits"] + count["misses"]),
            "kept": count["kept"],
            "saved": {
                "input_tokens": count["saved_input"],
                "output_tokens": count["saved_output"],
                "cost_usd": count["saved_cost"] / DOLLAR,
            },
            "prompt_cache": {
                "new_tokens": count["prompt_new"],
                "read_tokens": count["prompt_read"],
                "written_tokens": count["prompt_written"],
                "hit_rate": _share(count["prompt_read"], prompt),
            },
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
