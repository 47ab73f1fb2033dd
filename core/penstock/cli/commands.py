"""Commands that plugins bring: found by name in the entry points, imported when they are run."""

import ast
from functools import cached_property
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click

GROUP = "penstock.commands"


class Commands(click.Group):
    """The built-in commands, and those of the entry points `penstock.commands`, which can replace none of them.

    The help text shows the first line of each command's docstring, read from its source without running it. One that
    cannot be imported says so when it is called, and is no obstacle to the others.
    """

    @cached_property
    def brought(self) -> dict[str, EntryPoint]:
        """The commands of plugins by name."""
        return {point.name: point for point in entry_points(group=GROUP) if point.name not in self.commands}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self.brought})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self.brought.get(cmd_name)
        return super().get_command(ctx, cmd_name) if point is None else _imported(point)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summary(name, width)) for name in self.list_commands(ctx)])

    def _summary(self, name: str, width: int) -> str:
        text = _docstring(self.brought[name]) if name in self.brought else self.commands[name].help or ""
        return click.Command(name, help=text).get_short_help_str(width)


def _imported(point: EntryPoint) -> click.Command:
    """Raises ClickException, which ends the program with one line."""
    try:
        command = point.load()
    except Exception as error:
        from penstock.catalogue import reason

        raise click.ClickException(
            f"the command {point.name!r} ({point.value}) cannot be used: {reason(error)}"
        ) from error
    if not isinstance(command, click.Command):
        raise click.ClickException(f"the command {point.name!r} ({point.value}) is no click command, but {command!r}")
    return command


def _docstring(point: EntryPoint) -> str:
    """The docstring of the function behind an entry point, "" if it cannot be seen from outside."""
    try:
        tree = ast.parse(_source(point.module))
    except (OSError, SyntaxError, ValueError):
        return ""
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == point.attr)
    return next((ast.get_docstring(function) or "" for function in functions), "")


def _source(module: str) -> str:
    """A module's source text; `find_spec` of importlib would import the packages above it. Raises OSError."""
    places, origin = None, ""
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}".strip(".")
        spec = PathFinder.find_spec(name, places)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(name)
        places, origin = spec.submodule_search_locations, spec.origin
    return Path(origin).read_text("utf-8")
