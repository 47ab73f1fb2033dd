"""What the same tokens would have cost with another model."""

from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa

from penstock import Database, Prices, Usage

from .asking import Question
from .sums import chosen, column
from .tables import USAGE

_KINDS = {
    "input": USAGE.c.input_tokens,
    "cache_read": USAGE.c.cache_read_tokens,
    "cache_write": USAGE.c.cache_write_tokens,
    "cache_write_1h": USAGE.c.cache_write_1h_tokens,
    "output": USAGE.c.output_tokens,
    "reasoning": USAGE.c.reasoning_tokens,
    "searches": USAGE.c.searches,
}


def check_model(prices: Mapping[str, Prices], model: str) -> None:
    """Whether the price of a model is known. Raises ValueError."""
    if not prices:
        raise ValueError("a baseline needs prices: add the step 'prices' to the pipeline")
    if not any(each.cost("", model, Usage(input=1), served="").known for each in prices.values()):
        raise ValueError(f"no price is known for the baseline {model!r}")


async def baseline(
    database: Database, by: str, asked: Question, prices: Mapping[str, Prices], model: str
) -> Mapping[str, int]:
    """Nano-dollars by name, counted answer by answer: prices have steps. `prices` are by name of a pipeline.

    All in the standard way of processing. What was answered from a cache counts as nothing. Raises DatabaseUnavailable.
    """
    some = next(iter(prices.values()))
    kinds = (amount.label(kind) for kind, amount in _KINDS.items())
    query = sa.select(column(USAGE, by).label("name"), USAGE.c.pipeline, *kinds)
    costs: Counter[str] = Counter()
    async with database.read() as connection:
        rows = await connection.stream(query.where(*chosen(USAGE, asked), USAGE.c.answered == "upstream"))
        async for row in rows.mappings():
            usage = Usage(**{kind: row[kind] for kind in _KINDS})
            costs[row["name"]] += prices.get(row["pipeline"], some).cost("", model, usage).total
    return costs
