"""The command line: serve, check, explain, plugins, new, schema, and what plugins add."""

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from penstock import __version__
from penstock.cli.commands import Commands
from penstock.cli.new import new
from penstock.problems import ConfigError

PLACE = click.argument("place", type=click.Path(path_type=Path), default=Path("pipelines"), required=False)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="penstock")
def main() -> None:
    """A gateway between coding agents and model providers, built from one YAML file per pipeline."""


@main.command()
@PLACE
@click.option("--bind", help="host:port, [ipv6]:port or unix:path; port 0 takes a free one.  [default: 127.0.0.1:4000]")
@click.option("--workers", type=click.IntRange(1), help="Processes to serve with.  [default: 1]")
@click.option("--cert", type=click.Path(), help="TLS certificate, PEM.")
@click.option("--key", type=click.Path(), help="TLS key, PEM.")
@click.option("--graceful-timeout", type=float, help="Seconds that streams may go on after a stop.  [default: 300]")
@click.option("--debug", is_flag=True, help="Tell every client, in `server-timing`, which steps took how long.")
def serve(
    place: Path,
    bind: str | None,
    workers: int | None,
    cert: str | None,
    key: str | None,
    graceful_timeout: float | None,
    debug: bool,
) -> None:
    """Serve a pipeline FILE or a FOLDER of them. Options override gateway.yaml beside the pipelines."""
    from penstock.cli.serve import ServeError, serve_forever

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("penstock").setLevel(logging.INFO)
    try:
        serve_forever(place, os.environ, bind, workers, cert, key, graceful_timeout, debug)
    except ConfigError as error:
        _give_up(error)
    except ServeError as error:
        click.echo(f"penstock: {error}", err=True)
        sys.exit(1)


@main.command()
@PLACE
def check(place: Path) -> None:
    """Report every mistake of a pipeline FILE or a FOLDER, with its place; exit code 1 if there is one.

    What is no mistake and probably not meant is a warning, and changes no exit code.
    """
    from penstock.cli.describe import compiled, doubts

    try:
        pipelines = compiled(place, os.environ)
    except ConfigError as error:
        _give_up(error)
    for pipeline in pipelines:
        steps, teams = len(pipeline.file.steps), len(pipeline.course.team_plans)
        click.echo(f"{pipeline.file.file}: ok, {steps} steps, {teams} teams, at {pipeline.path or '/'}")
    for doubt in doubts(pipelines, pipelines[0].file.gateway.workers):
        click.echo(str(doubt), err=True)


@main.command()
@PLACE
@click.option("--team", help="Only this team's plan.")
@click.option("--time", "timed", is_flag=True, help="Run made-up requests, aside, and show what each hook takes.")
@click.option("--key", default="", envvar="PENSTOCK_KEY", help="With --time: the key to ask with, for `auth`.")
@click.option("--model", default="", help="With --time: the model to ask for.  [default: the first on offer]")
def explain(place: Path, team: str | None, timed: bool, key: str, model: str) -> None:
    """Show in which order the steps run, per hook and per team."""
    from penstock.cli.describe import compiled, explained

    try:
        pipelines = compiled(place, os.environ)
    except ConfigError as error:
        _give_up(error)
    if team is not None and not any(team in pipeline.course.team_plans for pipeline in pipelines):
        raise click.UsageError(f"no pipeline has a team {team!r}")
    if model and not timed:
        raise click.UsageError("--model is for --time")
    if timed:
        if team and key:
            raise click.UsageError("a key has a team of its own: give --team or --key")
        from penstock.cli import trial
        from penstock.cli.laps import Wish

        for line in trial.timed(place, os.environ, Wish(team or "", key, model)):
            click.echo(line)
        return
    for pipeline in pipelines:
        click.echo("\n".join(explained(pipeline, team)))


@main.command()
@PLACE
def plugins(place: Path) -> None:
    """List the plugins a pipeline in this place can name: where each comes from, and its options."""
    from penstock.cli.describe import plugin_list

    click.echo("\n".join(plugin_list(place)))


@main.command()
@PLACE
def schema(place: Path) -> None:
    """Print the JSON Schema of a pipeline file, for editors; it knows the plugins found from this place."""
    from penstock.cli.schema import pipeline_schema

    click.echo(pipeline_schema(place))


main.add_command(new)


def _give_up(error: ConfigError) -> NoReturn:
    click.echo(str(error), err=True)
    count = len(error.problems)
    click.echo(f"{count} mistake{'s' if count != 1 else ''}; nothing was started", err=True)
    sys.exit(1)
