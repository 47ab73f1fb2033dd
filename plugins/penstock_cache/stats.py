"""What the cache has been good for, counted in the store by team: for all processes, and beyond a restart."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from urllib.parse import quote, unquote

from penstock import DOLLAR, Exchange, Store, StoreUnavailable

from .entry import Entry
from .shelf import hits_key

_PREFIX = "counts/"
_PAUSE = 1.0  # seconds between writes
_RESULTS = {"hit": "hits", "miss": "misses", "bypass": "bypassed"}


class Stats:
    """Counts in this process and, a little later, in the store."""

    def __init__(self, store: Store, ttl: float) -> None:
        """`ttl` is that of answers, in seconds."""
        self._store = store
        self._ttl = ttl
        self._waiting: Counter[str] = Counter()

    def count_exchange(self, exchange: Exchange, result: str, *, kept: bool) -> None:
        """One exchange has ended."""
        team = _team(exchange)
        self._waiting[team + _RESULTS[result]] += 1
        self._waiting[team + "kept"] += kept
        usage = exchange.usage
        if exchange.attempts and not usage.estimated:  # an estimate knows nothing of a provider's cache
            self._waiting[team + "prompt_new"] += usage.input
            self._waiting[team + "prompt_read"] += usage.cache_read
            self._waiting[team + "prompt_written"] += usage.cache_write + usage.cache_write_1h

    def count_hit(self, exchange: Exchange, name: str, entry: Entry) -> None:
        """An answer is given again: what it took does not have to be paid a second time."""
        team = _team(exchange)
        self._waiting[team + "saved_input"] += entry.usage.prompt
        self._waiting[team + "saved_output"] += entry.usage.output
        self._waiting[team + "saved_cost"] += entry.cost
        self._waiting[hits_key(name, entry.made)] += 1

    async def write_often(self) -> None:
        """Write every second, without end."""
        while True:
            await asyncio.sleep(_PAUSE)
            await self.write()

    async def write(self) -> None:
        """Write what is waiting. It waits on while the store is away."""
        while self._waiting:
            key, amount = self._waiting.popitem()
            try:
                if amount:
                    await self._store.add(key, amount, None if key.startswith(_PREFIX) else self._ttl)
            except StoreUnavailable:
                self._waiting[key] += amount
                return

    async def report(self, team: str) -> dict[str, object]:
        """The counts of one team. Raises StoreUnavailable."""
        return _told((await self._counts(f"{_PREFIX}{quote(team, safe='')}/")).get(team, Counter()))

    async def whole_report(self, *, teams: bool) -> dict[str, object]:
        """The counts of all, and of each of the `teams`. Raises StoreUnavailable."""
        counts = await self._counts(_PREFIX)
        total: Counter[str] = Counter()
        for count in counts.values():
            total += count
        told = _told(total)
        if teams:
            told["teams"] = [{"team": team, **_told(counts[team])} for team in sorted(counts)]
        return told

    async def _counts(self, prefix: str) -> dict[str, Counter[str]]:
        """What stands in the store, by team."""
        found: dict[str, Counter[str]] = {}
        async for key in self._store.keys(prefix):
            team, _, name = key.removeprefix(_PREFIX).partition("/")
            found.setdefault(unquote(team), Counter())[name] = await self._store.get(key, int) or 0
        return found


def _team(exchange: Exchange) -> str:
    """How the keys of a team's counts begin."""
    who = exchange.principal
    return f"{_PREFIX}{quote(who.team, safe='') if who else ''}/"


def _told(count: Mapping[str, int]) -> dict[str, object]:
    """Counts for a person or a dashboard."""

    def of(name: str) -> int:
        return count.get(name, 0)

    prompt = of("prompt_new") + of("prompt_read") + of("prompt_written")
    return {
        "hits": of("hits"),
        "misses": of("misses"),
        "bypassed": of("bypassed"),
        "hit_rate": _share(of("hits"), of("hits") + of("misses")),
        "kept": of("kept"),
        "saved": {
            "input_tokens": of("saved_input"),
            "output_tokens": of("saved_output"),
            "cost_usd": of("saved_cost") / DOLLAR,
        },
        "prompt_cache": {
            "new_tokens": of("prompt_new"),
            "read_tokens": of("prompt_read"),
            "written_tokens": of("prompt_written"),
            "hit_rate": _share(of("prompt_read"), prompt),
        },
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
