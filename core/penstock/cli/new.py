"""`penstock new`: begin a plugin or a pipeline of one's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from penstock.cli.scaffold import Files

T = TypeVar("T")

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def new() -> None:
    """Make a plugin or a pipeline to begin with. Nothing is overwritten but the schema for editors."""


@new.command()
@click.argument("name")
@click.option("--package", is_flag=True, help="Make a package to publish.")
@click.option("--folder", type=_FOLDER, help="Where to make it.  [default: plugins; with --package, here]")
def plugin(name: str, package: bool, folder: Path | None) -> None:
    """Make the plugin NAME, such as acme-guard, with options, two hooks, and tests that pass.

    It is a folder in `plugins`, where the gateway finds it without an installation.
    """
    from penstock.cli import scaffold

    place = folder or Path("." if package else "plugins")
    names = _checked(lambda: scaffold.plugin_names(name))
    make = scaffold.package_plugin if package else scaffold.folder_plugin
    _write(_checked(lambda: make(names, place)))
    if package:
        _next(f"cd {place / names.name}", "python -m pytest", "python -m hatchling build")
        return
    if scaffold.has_schema(place.parent / "pipelines"):
        _write_schema(place.parent / "pipelines")
    settings = scaffold.pytest_settings(place.resolve().parent)
    if settings is not None and "asyncio_mode" not in settings.read_text("utf-8", errors="replace"):
        click.echo(f"{settings} needs asyncio_mode = auto for the tests")
    _next(f"python -m pytest {place / names.package}", f"add the step to a pipeline:  - {names.package}")


@new.command()
@click.argument("name")
@click.option("--folder", type=_FOLDER, default=Path("pipelines"), show_default=True, help="Where to make it.")
def pipeline(name: str, folder: Path) -> None:
    """Make the pipeline NAME, with comments, and beside it the schema that helps editors. It runs without a key."""
    from penstock.cli import scaffold

    files = _checked(lambda: scaffold.pipeline(name, folder))
    _write(files)
    _write_schema(folder)
    (file,) = files
    _next(f"penstock check {file}", f"penstock serve {file}")


def _checked(make: Callable[[], T]) -> T:
    """What is made, or the end of the program with the reason why not."""
    from penstock.cli.scaffold import NameRefused

    try:
        return make()
    except NameRefused as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None


def _write(files: "Files") -> None:
    from penstock.cli.scaffold import write

    with _failing_clearly():
        write(files)
    for path in files:
        click.echo(f"made {path}")


def _write_schema(pipelines: Path) -> None:
    from penstock.cli.scaffold import has_schema, write_schema

    done = "updated" if has_schema(pipelines) else "made"
    with _failing_clearly():
        click.echo(f"{done} {write_schema(pipelines)}")


@contextmanager
def _failing_clearly() -> Iterator[None]:
    """What the file system refuses ends the program with one line."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}" if error.strerror else str(error)) from None


def _next(*commands: str) -> None:
    click.echo("next:")
    for command in commands:
        click.echo(f"  {command}")
