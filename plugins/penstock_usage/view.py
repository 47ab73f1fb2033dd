"""The sums for people: a table with sparklines; and as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock import format_money

from .sums import Line, Sums

_SPARKS = "▁▂▃▄▅▆▇█"
_PLAIN_SPARKS = "_.-=+*%#"
_WIDEST = 44  # characters of a name
_TREND = 30  # days of a sparkline
_HEADS = ("requests", "input", "cached", "output", "cost", "saved")


def table(by: str, lines: Sequence[Line], total: Sums, days: Sequence[str], *, plain: bool) -> Iterator[str]:
    """A table, line by line; `plain` makes do with ASCII."""
    sparks = _PLAIN_SPARKS if plain else _SPARKS
    trends = _bars(lines, sparks) if by == "day" else [sparkline(line.costs, days[-_TREND:], sparks) for line in lines]
    rows: list[tuple[str, ...]] = [(by, *_HEADS, "cost per day" if by != "day" else "")]
    rows += [(_name(line), *_cells(line.sums), trend) for line, trend in zip(lines, trends, strict=True)]
    rows.append(("total", *_cells(total), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:-1], row[-1]]).rstrip()


def _name(line: Line) -> str:
    name = printable(line.name) or "(none)"
    short = name if len(name) <= _WIDEST else f"{name[: _WIDEST - 3]}..."
    user = printable(line.about.get("user", ""))
    return f"{short}  {user} {line.about['first'][:16].replace('T', ' ')}" if line.about else short


def _cells(sums: Sums) -> tuple[str, ...]:
    return (
        f"{sums.requests:,}",
        count(sums.prompt_tokens),
        f"{sums.cache_hit_rate:.0%}",
        count(sums.output_tokens),
        format_money(sums.cost_nano),
        format_money(sums.cache_saved_nano + sums.replayed_nano),
    )


def _bars(lines: Sequence[Line], sparks: str) -> list[str]:
    most = max((line.sums.cost_nano for line in lines), default=0)
    full = sparks[-1]
    return [full * round(20 * line.sums.cost_nano / most) if most else "" for line in lines]


def sparkline(costs: Mapping[str, int], days: Sequence[str], sparks: str = _SPARKS) -> str:
    """One character for each day, as high as its cost; a blank for none."""
    most = max((costs.get(day, 0) for day in days), default=0)
    return "".join(_spark(costs.get(day, 0), most, sparks) for day in days)


def _spark(cost: int, most: int, sparks: str) -> str:
    return sparks[min(len(sparks) - 1, len(sparks) * cost // most)] if cost > 0 else " "


def count(number: int) -> str:
    """A number in four characters or so: `950`, `12.3k`, `4.5M`, `1.2G`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with a line of names. A text that a spreadsheet could take for a formula gets a quote before it."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def printable(text: str) -> str:
    """A name that a client chose, without what could steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
