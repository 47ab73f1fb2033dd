"""`penstock usage`: what was used, by whom, and what it cost."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock import ConfigError, DatabaseUnavailable, find_prices, open_database

from .asking import BY, question

if TYPE_CHECKING:
    from .report import Report


@click.command()
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="What each line is about.")
@click.option("--since", default="30d", show_default=True, metavar="DAY", help="`2026-11-01`, or back from now: `7d`.")
@click.option("--until", default="0d", metavar="DAY", help="The last day, in UTC as all days.  [default: today]")
@click.option("--team", default="", help="Only this team.")
@click.option("--user", default="", help="Only this user.")
@click.option("--key", default="", help="Only the key of this name.")
@click.option("--model", default="", help="Only this model, by the name the upstream was asked for.")
@click.option("--upstream", default="", help="Only this upstream.")
@click.option("--session", default="", metavar="ID", help="Only this session of an agent.")
@click.option("--baseline", default="", metavar="MODEL", help="What the same tokens would have cost with this model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with an object for each line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--pipeline",
    "place",
    type=click.Path(path_type=Path),
    default=Path("pipelines"),
    help="A pipeline, or a folder of them, beside the gateway.yaml that names the database.  [default: pipelines]",
)
@click.option("--database", "url", default="", metavar="URL", help="Another database than gateway.yaml names.")
def usage(by: str, place: Path, url: str, as_json: bool, as_csv: bool, **asked: Any) -> None:
    """Show what was used, by whom, and what it cost."""
    try:
        report = asyncio.run(_report(place, url, by, **asked))
    except ModuleNotFoundError as error:
        raise click.ClickException(f"a ledger needs {error.name}: pip install 'penstock[database]'") from None
    except (ConfigError, DatabaseUnavailable, ValueError) as error:
        raise click.ClickException(str(error)) from None
    from .view import comma_separated

    if as_json:
        click.echo(json.dumps(report.rows(), indent=2))
    elif as_csv:
        click.echo(comma_separated(report.rows()), nl=False)
    else:
        _print(report)


async def _report(place: Path, url: str, by: str, since: str, until: str, baseline: str, **filters: str) -> "Report":
    from .baseline import check_model
    from .report import make_report
    from .tables import SCHEMA

    asked = question(since, until, filters)
    prices = await find_prices(place, os.environ) if baseline else {}
    if baseline:
        check_model(prices, baseline)
    async with open_database(place, os.environ, SCHEMA, url) as database:
        return await make_report(database, by, asked, baseline, prices)


def _print(report: "Report") -> None:
    encoding = sys.stdout.encoding or "ascii"
    lines: Sequence[str] = list(report.told(plain="utf" not in encoding.lower()))
    click.echo("\n".join(lines))
