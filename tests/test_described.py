"""Whatever is public is described. Each check names what is not, and is tried with something made up that is not."""

import ast
import inspect
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec
import pytest

import penstock
from docs.generate import DOCS
from docs.parts import CATALOGUE, ROOT, every_command
from docs.stubs import Definition, Function, defined, is_text, public_names, tree
from penstock import Plugin, hookimpl, testing
from penstock.hookspecs import Hooks
from penstock.pipelinefile import STEP_WORDS
from penstock.plan import HOOKS
from penstock.testing import MakeGateway, ScriptedUpstream, fixtures
from tests.pages import blocks, code, table

REFERENCE = DOCS / "reference"


def words(text: str) -> set[str]:
    """What a text sets in the type of code, in single words."""
    return set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", text))))


# ---------------------------------------------------------------- names


def undescribed_names(module: ast.Module, names: set[str]) -> Iterator[str]:
    """Of a module's definitions with these names those that have no text, and their public methods that have none."""
    for node, after in defined(module.body, names):
        if not isinstance(node, Definition):
            if after is None or not is_text(after):
                yield ast.unparse(node).split(" ")[0].rstrip(":")
        elif ast.get_docstring(node) is None:
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}.{method.name}"
                for method in node.body
                if isinstance(method, Function) and is_silent(method)
            )


def is_silent(method: Function) -> bool:
    """Whether it is public, has no docstring, and does not only repeat another one, as an overload or a setter does."""
    marks = {ast.unparse(mark).split(".")[-1] for mark in method.decorator_list}
    return method.name[0] != "_" and ast.get_docstring(method) is None and marks.isdisjoint({"overload", "setter"})


@pytest.mark.parametrize("package", ["", "testing"])
def test_public_names_have_docstrings(package: str) -> None:
    homes = public_names(package)
    for home in sorted(set(homes.values()) - {""}):
        names = {name for name, module in homes.items() if module == home}
        found = undescribed_names(tree(f"{package}/{home}".lstrip("/")), names)
        assert [name for name in found if name not in INHERITED] == [], f"in {package or 'penstock'}.{home}"
    for name in (name for name, home in homes.items() if home == "" and package == ""):
        assert inspect.getdoc(getattr(penstock, name)), name


INHERITED = {"CUT", "RESET", "HANG"}
"""Members of an enum: `Act` says what they are."""


def test_a_name_without_docstring_is_found() -> None:
    module = ast.parse(
        "class A:\n  'Said.'\n  def f(self): ...\n  def g(self): 'Said.'\nB = 1\nC = 2\n'Said.'\ndef d(): ..."
    )
    assert list(undescribed_names(module, {"A", "B", "C", "d"})) == ["A.f", "B", "d"]


def test_the_reference_names_what_is_public() -> None:
    told = set(re.findall(r"[\w-]+", "\n".join(map(code, REFERENCE.glob("*.md")))))
    assert undescribed([*penstock.__all__, *testing.__all__, *fixture_names()], told) == []


def fixture_names() -> list[str]:
    """The fixtures that tests name, without those that are only there for others."""
    found = re.findall(
        r"@pytest.fixture\n(?:async )?def (\w+)\(.*?\"\"\"(.*?)\n", inspect.getsource(fixtures), re.DOTALL
    )
    return [name for name, said in found if not said.startswith("For the fixtures")]


def undescribed(names: Iterable[str], told: set[str]) -> list[str]:
    return sorted(set(names) - told)


def test_a_name_that_no_page_has_is_found() -> None:
    assert len(fixture_names()) >= 8
    assert undescribed(["Exchange", "Novelty"], {"Exchange"}) == ["Novelty"]


# ---------------------------------------------------------------- hooks


def undescribed_hooks(hooks: Mapping[str, Callable[..., Any]], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Hooks without a docstring, or without a row that tells when, order, return, raise and cost."""
    told = {row[0].strip("`"): row[1:] for row in rows}
    for name, hook in hooks.items():
        if not inspect.getdoc(hook) or len(told.get(name, ())) != 5 or not all(told[name]):
            yield name


def test_hooks_are_described() -> None:
    hooks = {name: getattr(Hooks, name) for name in HOOKS}
    assert list(undescribed_hooks(hooks, table(REFERENCE / "hooks.md", "When they are called"))) == []


def test_a_hook_that_nobody_describes_is_found() -> None:
    def on_novelty() -> None: ...

    def on_request() -> None:
        """Said."""

    rows = [["`on_request`", "once", "file", "nothing", "refuses", ""], ["`on_novelty`", *"12345"]]
    assert list(undescribed_hooks({"on_request": on_request, "on_novelty": on_novelty}, rows)) == [
        "on_request",
        "on_novelty",
    ]


def test_facts_and_marks_of_a_plugin_are_described() -> None:
    told = set(re.findall(r"\w+", code(REFERENCE / "hooks.md")))
    assert undescribed(typing.get_args(penstock.Fact), told) == []
    assert undescribed(inspect.get_annotations(Plugin), words(inspect.getdoc(Plugin) or "")) == []


# ---------------------------------------------------------------- options


def undescribed_options(kind: type[msgspec.Struct]) -> list[str]:
    """Options that neither the docstring of the plugin names nor a description of their own explains."""
    told = words(inspect.getdoc(kind) or "")
    return [field.encode_name for field in msgspec.structs.fields(kind) if field.encode_name not in told | own(field)]


def own(field: msgspec.structs.FieldInfo) -> set[str]:
    notes = getattr(field.type, "__metadata__", ())
    told = any(isinstance(note, msgspec.Meta) and note.description for note in notes)
    return {field.encode_name} if told else set()


@pytest.mark.parametrize("name", CATALOGUE.plugin_names())
def test_options_are_described(name: str) -> None:
    assert undescribed_options(CATALOGUE.plugin(name).plugin) == []


def test_an_option_that_nobody_describes_is_found() -> None:
    class Made(Plugin):
        """Has `told` and more."""

        told: int = 1
        noted: typing.Annotated[int, msgspec.Meta(description="Said.")] = 1
        silent: typing.Annotated[int, msgspec.Meta(ge=0)] = 1

        @hookimpl
        def on_request(self) -> None: ...

    assert undescribed_options(Made) == ["silent"]


def test_words_beside_a_step_are_described() -> None:
    rows = table(REFERENCE / "pipeline-file.md", "plugins")
    assert undescribed(STEP_WORDS, {row[0].strip("`") for row in rows if all(row)}) == []


# ---------------------------------------------------------------- errors


def undescribed_errors(kinds: Iterable[type[penstock.GatewayError]], rows: Iterable[Sequence[str]]) -> list[str]:
    """Kinds without a row that says all, or that share their name with another."""
    told = {row[0].strip("`"): row for row in rows if all(row)}
    found = list(kinds)
    names = [kind.kind for kind in found]
    return [kind.__name__ for kind in found if kind.__name__ not in told or names.count(kind.kind) > 1]


def test_errors_are_described() -> None:
    kinds = set(subclasses(penstock.GatewayError))
    assert len(kinds) >= 12
    assert undescribed_errors(kinds, table(REFERENCE / "errors.md", "Errors")) == []


def subclasses(kind: type[penstock.GatewayError]) -> Iterator[type[penstock.GatewayError]]:
    """The kinds of the core: tests and plugins may have their own."""
    for below in kind.__subclasses__():
        if below.__module__ == "penstock.errors":
            yield below
        yield from subclasses(below)


def test_an_error_that_nobody_describes_is_found() -> None:
    rows = [
        ["`NotFound`", "`not_found`", "404", "no", "There is none."],
        ["`Forbidden`", "`forbidden`", "403", "no", ""],
    ]
    assert undescribed_errors([penstock.NotFound, penstock.Forbidden], rows) == ["Forbidden"]


# ---------------------------------------------------------------- commands


def undescribed_commands(commands: Iterable[tuple[list[str], click.Command]], page: str) -> Iterator[str]:
    """Commands and options without a help text, and commands that the page does not have."""
    for names, command in commands:
        if not command.help or f"`penstock {' '.join(names)}`" not in page:
            yield " ".join(names)
        for option in command.params:
            if isinstance(option, click.Option) and not option.help and not option.hidden:
                yield f"{' '.join(names)} {option.opts[0]}"


def test_commands_are_described() -> None:
    page = (REFERENCE / "cli.md").read_text("utf-8")
    assert list(undescribed_commands(every_command(), page)) == []


def test_a_command_that_nobody_describes_is_found() -> None:
    silent = click.Command("silent", params=[click.Option(["--told"], help="Said."), click.Option(["--untold"])])
    assert list(undescribed_commands([(["silent"], silent)], "")) == ["silent", "silent --untold"]


# ---------------------------------------------------------------- entry points, endpoints


def test_groups_of_entry_points_are_described() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    core = "".join(file.read_text("utf-8") for file in (ROOT / "core/penstock").rglob("*.py"))
    groups = {*re.findall(r'"(penstock\.(?:plugins|protocols|stores|presets|commands|\w+s))"', core)}
    groups |= {group for group in ours if group.startswith("penstock.")}
    assert len(groups) == 5
    pages = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    assert [group for group in sorted(groups) if f"`{group}`" not in pages] == []


EVERYTHING = """
path: /team
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - auth: {keys: database, pepper: sixteen-letters-or-more-of-pepper}
  - prices
  - usage
  - limits: {requests_per_day: 9}
  - budgets: {daily: 9}
  - cache
  - models
  - translation
"""


async def endpoints(gateway: MakeGateway, upstream: ScriptedUpstream) -> set[str]:
    """Every endpoint that built-in steps serve beside those of protocols, as pages write them."""
    files = {"gateway.yaml": 'database: "sqlite:things.db"\n'}
    gate = await gateway(EVERYTHING, url=upstream.url, files=files)
    found = gate.host.current.endpoints.items()
    return {
        f"{method} <path>{path.removeprefix('/team')}" for path, methods in found for method in methods if "/-/" in path
    }


async def test_endpoints_are_described(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    page = (REFERENCE / "endpoints.md").read_text("utf-8").replace("<step>", "limits")
    page += page.replace("/-/limits", "/-/budgets")
    served = await endpoints(gateway, upstream)
    assert {"GET <path>/-/stats", "GET <path>/-/cache", "POST <path>/-/keys"} <= served
    assert sorted(each for each in served if f"`{each}`" not in page) == []


EXAMPLES = (
    *("log-in-with-a-badge", "redact-secrets", "route-by-cost-centre"),
    *("export-costs", "set-a-tool-policy"),
)


@pytest.mark.parametrize("page", EXAMPLES)
def test_an_example_is_short_and_tested(page: str) -> None:
    """A plugin of at most 60 lines, and its tests; the page is acted out by test_docs."""
    written = [block for block in blocks(DOCS / f"how-to/{page}.md") if block.language == "python"]
    plugin, test = (block.text.splitlines() for block in written)
    assert len(plugin) <= 60
    assert any(line.startswith("async def test_") for line in test)
