"""The parts of the documentation that are generated: each function writes one, from the code and its docstrings."""

import ast
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import msgspec
from click.testing import CliRunner

import penstock
from docs.stubs import stubs
from docs.tables import codes, fields, options, table
from penstock import validator
from penstock.catalogue import Catalogue
from penstock.cli import main as penstock_command
from penstock.hookspecs import Hooks
from penstock.plan import HOOKS
from penstock_simulator.models import MODELS

ROOT = Path(__file__).parent.parent
CATALOGUE = Catalogue(None)


def _hooks() -> str:
    """Each hook as declared, and what its docstring says."""
    return "\n\n".join(_hook(name, getattr(Hooks, name)) for name in HOOKS)


def _hook(name: str, function: Callable[..., Any]) -> str:
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    signature = str(inspect.signature(function)).replace("'", "")
    return f"### `{name}`\n\n```python\n{word} {name}{signature}: ...\n```\n\n{inspect.getdoc(function)}"


def _events() -> str:
    """The events in the order of their union, with their fields."""
    kinds = typing.get_args(penstock.Event)
    return table("event | fields | meaning", ((f"`{k.__name__}`", fields(k), inspect.getdoc(k)) for k in kinds))


def _repairs() -> str:
    """What the validator mends, from its own list."""
    found = re.findall(r"^(\w+)  +(.+)$", validator.__doc__ or "", re.MULTILINE)
    return table("repair | what was wrong", ((f"`{name}`", text) for name, text in found))


def _errors() -> str:
    """The kinds of errors: how they are named, what a client of the Messages format gets, and what they mean."""
    found = [value for value in vars(penstock).values() if isinstance(value, type)]
    kinds = [kind for kind in found if issubclass(kind, penstock.GatewayError) and kind is not penstock.GatewayError]
    kinds.sort(key=lambda kind: (kind.default_status, kind.kind))
    return table("class | kind | the client gets | next target is tried | meaning", map(_error, kinds))


def _error(kind: type[penstock.GatewayError]) -> tuple[str, ...]:
    made = penstock.PromptTooLong(2, 1) if kind is penstock.PromptTooLong else kind("")
    answer = CATALOGUE.client_protocol("anthropic").error(made, "")
    says = [f"{answer.status} `{msgspec.json.decode(answer.body)['error']['type']}`"]
    says += [f"`{name}: {value}`" for name, value in answer.headers.items() if name == "x-should-retry"]
    meaning = (inspect.getdoc(kind) or "").partition("\n")[0]
    return f"`{kind.__name__}`", f"`{kind.kind}`", ", ".join(says), "yes" if made.retryable else "no", meaning


def _names(place: str) -> str:
    """The public names of a module of the core, or one of them."""
    return f"```python\n{stubs(place)}\n```"


def _plugins() -> str:
    """The built-in plugins: description, facts, hooks, options."""
    return "\n\n".join(_plugin(name, CATALOGUE.plugin(name).plugin) for name in CATALOGUE.plugin_names())


_IF_BROKEN = MappingProxyType(
    {
        "fail": "the exchange fails",
        "skip": "the exchange goes on without it",
        "deny": "the exchange is refused",
    }
)


def _plugin(name: str, plugin: type[penstock.Plugin]) -> str:
    facts = [f"Provides the {fact}." for fact in sorted(plugin.provides)]
    facts += [f"Needs the {fact}." for fact in sorted(plugin.requires)]
    facts += [f"Hooks: {codes(hook for hook in HOOKS if hasattr(plugin, hook))}."]
    facts += [f"If it breaks, {_IF_BROKEN[plugin.if_broken]} (`on_error: {plugin.if_broken}`)."]
    return f"## `{name}`\n\n{inspect.getdoc(plugin)}\n\n{' '.join(facts)}\n\n{options(plugin)}"


def _quirks(protocol: str) -> str:
    """What may be set in `quirks` of an upstream that speaks this protocol."""
    return options(CATALOGUE.upstream_protocol(protocol).quirks)


def _presets() -> str:
    """The named providers, then those that are gone."""
    known = {name: preset for name, preset in CATALOGUE.presets.items() if not preset.retired}
    rows = (
        (f"`{name}`", p.title, f"`{p.protocol}`", codes(p.env) or "none needed", codes(p.parameters), p.notes)
        for name, p in known.items()
    )
    gone = "\n".join(f"- `{name}`: {p.retired}" for name, p in CATALOGUE.presets.items() if p.retired)
    header = "preset | provider | protocol | key from | `parameters` | note"
    return f"{table(header, rows)}\n\nNo longer there:\n\n{gone}"


def _commands() -> str:
    """The help of each command, those of plugins among them, and of each command inside a group."""
    return "\n\n".join(_command(names) for names, _ in every_command())


def every_command() -> Iterator[tuple[list[str], click.Command]]:
    """The commands of `penstock` that somebody can type, by their words; what is below a group follows it."""
    yield from _below(penstock_command, click.Context(penstock_command), [])


def _below(group: click.Group, context: click.Context, names: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield [*names, name], command
        if isinstance(command, click.Group):
            yield from _below(command, context, [*names, name])


def _command(names: list[str]) -> str:
    run = CliRunner(env={"COLUMNS": "100"}).invoke(penstock_command, [*names, "--help"], prog_name="penstock")
    title = f"{'#' * (len(names) + 1)} `penstock {' '.join(names)}`"
    return f"{title}\n\n```text\n{run.output.strip()}\n```"


def _routes(protocol: str) -> str:
    """The endpoints that a client protocol brings."""
    found = CATALOGUE.client_protocol(protocol).routes
    return table("request | operation", ((f"`{r.method} <path>{r.path}`", f"`{r.operation}`") for r in found))


def _simulated() -> str:
    """The simulated models."""
    return table("model | what it does", ((f"`sim/{name}`", model.description) for name, model in MODELS.items()))


def _modules(folder: str) -> str:
    """The modules of a folder, each with the first line of its docstring."""
    files = sorted((ROOT / folder).rglob("*.py"), key=lambda file: (len(file.parts), file))
    return table("file | purpose", ((f"`{file.relative_to(ROOT / folder)}`", _purpose(file)) for file in files))


def _purpose(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]


_ALL = (
    _hooks,
    _events,
    _repairs,
    _errors,
    _names,
    _plugins,
    _quirks,
    _presets,
    _commands,
    _routes,
    _simulated,
    _modules,
)
PARTS: Mapping[str, Callable[..., str]] = MappingProxyType({part.__name__.removeprefix("_"): part for part in _ALL})
