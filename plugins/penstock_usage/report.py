"""One answer of the ledger: lines, their total, what was saved, and what that suggests."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from penstock import DOLLAR, Database, Prices, format_money

from .advice import suggestions
from .asking import Question
from .baseline import baseline
from .sums import Line, Sums, days_know, lines, remembered_since, total
from .view import table


class Report(msgspec.Struct, kw_only=True):
    """`baseline` is what each name would have cost with the model `against`, in nano-dollars."""

    by: str
    asked: Question
    lines: list[Line]
    total: Sums
    advice: list[str]
    against: str = ""
    baseline: Mapping[str, int] = {}

    def rows(self) -> list[dict[str, Any]]:
        """For JSON and CSV, an object for each line."""
        return [
            {self.by: line.name, **line.about, **line.sums.told(), **self._compared(line.name, line.sums.cost_nano)}
            for line in self.lines
        ]

    def whole(self) -> dict[str, Any]:
        """For JSON: all of it."""
        return {
            "by": self.by,
            "since": self.asked.since,
            "until": self.asked.until,
            "rows": self.rows(),
            "total": self.total.told() | self._compared_whole(),
            "suggestions": self.advice,
        }

    def told(self, *, plain: bool) -> Iterator[str]:
        """For people, line by line."""
        yield f"{self.asked.since} to {self.asked.until}, days in UTC"
        if not self.lines:
            yield "nothing was used"
            return
        yield ""
        yield from table(self.by, self.lines, self.total, self.asked.days, plain=plain)
        yield ""
        yield from self._savings()
        yield from self.advice

    def _savings(self) -> Iterator[str]:
        sums = self.total
        if sums.cache_read_tokens or sums.cache_saved_nano:
            read, saved = f"{sums.cache_hit_rate:.0%}", format_money(sums.cache_saved_nano)
            yield f"prompt caches: {read} of the tokens sent came from one, which saved {saved}"
        if sums.replays:
            yield f"answers given again from a cache: {sums.replays:,}, which saved {format_money(sums.replayed_nano)}"
        if self.against:
            would = sum(self.baseline.values())
            saved = format_money(would - sums.cost_nano)
            yield f"with {self.against} for everything: {format_money(would)}, so {saved} were saved"

    def _compared(self, name: str, cost: int) -> dict[str, float]:
        return self._against(self.baseline.get(name, 0), cost)

    def _compared_whole(self) -> dict[str, float]:
        return self._against(sum(self.baseline.values()), self.total.cost_nano)

    def _against(self, would: int, cost: int) -> dict[str, float]:
        if not self.against:
            return {}
        return {"baseline_usd": would / DOLLAR, "baseline_saved_usd": (would - cost) / DOLLAR}


async def make_report(
    database: Database, by: str, asked: Question, against: str = "", prices: Mapping[str, Prices] | None = None
) -> Report:
    """Ask the ledger. `prices` are by name of a pipeline. Raises DatabaseUnavailable."""
    found = await lines(database, by, asked)
    advice = suggestions(await lines(database, "model", asked), await lines(database, "upstream", asked))
    needs_exchanges = against or not days_know(by, asked)
    if needs_exchanges and (since := await remembered_since(database, asked)):
        advice.insert(0, f"this counts single exchanges, of which the ledger has those since {since} (`keep`)")
    return Report(
        by=by,
        asked=asked,
        lines=found,
        total=total(found),
        advice=advice,
        against=against,
        baseline=await baseline(database, by, asked, prices or {}, against) if against else {},
    )
