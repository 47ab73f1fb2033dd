"""The walls of the house: what each part may know. A violation reads `file:line: what is wrong`."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

Wall = Callable[[Path], Iterator[str]]

ROOT = Path(__file__).parent.parent

# Lower never imports upper at run time; a name that only annotations need may come from above.
LAYERS = (
    {"errors", "events", "money", "pictures", "sse"},
    {
        *("request", "protocol", "exchange", "store", "database", "sql", "web", "wording"),
        *("hookspecs", "validator", "deadlines"),
    },
    {
        *("problems", "document", "typed", "options", "plugin", "metering", "catalogue"),
        *("reach", "bind", "proxies", "watching", "conditions", "safety"),
        *("gatewayfile", "pipelinefile", "config", "databases", "places"),
    },
    {
        *("plan", "engine", "asking", "upstream", "outbound", "sources", "delivery", "instances", "pipeline"),
        *("blame", "calling", "sending", "journey", "timings", "tally", "stats"),
    },
    {"generation", "gateway"},
    {"pricing", "app", "connection", "listen", "server", "supervisor", "cli", "testing", "__main__", "__init__"},
)
HOMES = {
    "quart": {"app", "connection", "testing"},
    "hypercorn": {"server", "connection"},
    "aiohttp": {"upstream", "outbound", "testing"},
    "yaml": {"document"},
    "pluggy": {"hookspecs", "plan"},
    "sqlalchemy": {"database", "sql"},  # in `database` for annotations only
    "alembic": {"sql"},
    "aiosqlite": {"sql"},
    "asyncpg": {"sql"},
}
PLUGIN_LIBRARIES = {"click", "msgspec"}
OWN_LIBRARIES = {  # what a plugin needs beyond that, as an extra
    "penstock_auth": {"alembic", "joserfc", "sqlalchemy"},
    "penstock_redis": {"redis"},
    "penstock_usage": {"alembic", "sqlalchemy"},
}
SANS_IO = LAYERS[0] | {
    *("request", "protocol", "validator", "problems", "bind", "document", "typed", "penstock_translation"),
}
IO = (
    *("asyncio", "threading", "concurrent", "multiprocessing", "subprocess", "time"),
    *("socket", "ssl", "select", "selectors", "http.client", "http.server", "urllib.request"),
    *("quart", "hypercorn", "aiohttp", "uvloop"),
)
VENDORS = re.compile(
    r"(?<![a-z])(anthropic|claude|openai|chatgpt|gpt|codex|azure|google|gemini|vertex|bedrock|openrouter"
    r"|deepseek|mistral|qwen|dashscope|glm|zai|zhipu|moonshot|kimi|minimax|xai|grok|groq|cerebras|ollama"
    r"|vllm|litellm)(?![a-z])",
    re.IGNORECASE,
)
TEXTS = {".py", ".md", ".toml", ".yaml", ".txt", ".tmpl"}
MUTABLE_TYPES = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}


class Import(NamedTuple):
    """One imported name and the part of the house that imports it; `module` is absolute."""

    where: str
    part: str
    module: str
    name: str
    runtime: bool
    named: bool
    """Whether the module is called by its name, and not by its place."""

    def is_from(self, top: str) -> bool:
        """Whether this imports `top` or something in it."""
        return f"{self.module}.{self.name}.".startswith(f"{top}.")


def sources(root: Path, *folders: str) -> Iterator[tuple[Path, str, ast.Module]]:
    """Path, part (`errors`, `cli`, `penstock_auth`) and tree of each file but the scaffold, a template."""
    for file in sorted(file for folder in folders for file in (root / folder).rglob("*.py")):
        path = file.relative_to(root)
        part = path.parts[2 if path.parts[0] == "core" else 1].removesuffix(".py")
        if part != "scaffold":
            yield path, part, ast.parse(file.read_text("utf-8"))


def imports(root: Path, *folders: str) -> Iterator[Import]:
    for path, part, tree in sources(root, *folders):
        blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If))
        typing_only = [block for block in blocks if ast.unparse(block.test).endswith("TYPE_CHECKING")]
        guarded = {id(node) for block in typing_only for line in block.body for node in ast.walk(line)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                origin = absolute(path, node) if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    module, name = (origin, alias.name) if origin else (alias.name, "")
                    named = isinstance(node, ast.Import) or not node.level
                    yield Import(f"{path}:{node.lineno}", part, module, name, id(node) not in guarded, named)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    package = path.parts[1 : -node.level] if node.level else ()
    return ".".join((*package, node.module) if node.module else package)


def core_knows_no_vendor(root: Path) -> Iterator[str]:
    for file in sorted(file for file in (root / "core").rglob("*") if file.suffix in TEXTS):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if found := VENDORS.search(line):
                yield f"{file.relative_to(root)}:{number}: the core knows no vendor, but says '{found[0]}'"


def layers_import_downwards(root: Path) -> Iterator[str]:
    level = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    for path, part, _ in sources(root, "core"):
        if part not in level:
            yield f"{path}:1: '{part}' has no layer: give it one in LAYERS"
    for found in imports(root, "core"):
        if found.runtime and found.is_from("penstock"):
            inner = found.module.split(".")[1:]
            target = inner[0] if inner else found.name if found.name in level else "__init__"
            if level.get(target, 0) > level.get(found.part, len(LAYERS)):
                yield f"{found.where}: '{found.part}' imports '{target}', which is in a layer above it"


def libraries_stay_home(root: Path) -> Iterator[str]:
    for found in imports(root, "core"):
        library = found.module.split(".")[0]
        if library in HOMES and found.part not in HOMES[library]:
            yield f"{found.where}: '{library}' may be imported only in {', '.join(sorted(HOMES[library]))}"


def plugins_stand_alone(root: Path) -> Iterator[str]:
    init = root / "core/penstock/__init__.py"
    public = re.findall(r'^    "(\w+)",$', init.read_text("utf-8"), re.MULTILINE) if init.exists() else []
    for found in imports(root, "plugins"):
        own = {found.part, *PLUGIN_LIBRARIES, *OWN_LIBRARIES.get(found.part, ()), *sys.stdlib_module_names}
        is_public = found.module == "penstock" and found.name in ("", *public)
        if found.module.split(".")[0] not in own and not is_public:
            name = f"{found.module}.{found.name}".strip(".")
            yield f"{found.where}: a plugin may import its own and what `penstock` exports, not '{name}'"


def plugins_do_not_name_themselves(root: Path) -> Iterator[str]:
    for found in imports(root, "plugins"):
        if found.named and found.is_from(found.part):
            yield f"{found.where}: write 'from .x import y', so that a copy of '{found.part}' imports its own modules"


def sans_io_does_no_io(root: Path) -> Iterator[str]:
    for found in imports(root, "core", "plugins"):
        if found.part in SANS_IO and found.runtime:
            for name in filter(found.is_from, IO):
                yield f"{found.where}: '{found.part}' does no I/O and has no clock, but imports '{name}'"


def modules_hold_no_state(root: Path) -> Iterator[str]:
    for path, _, tree in sources(root, "core", "plugins"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                yield f"{path}:{node.lineno}: 'global {', '.join(node.names)}' is state of a module"
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_mutable(node.value):
                name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
                if not name.isupper() and not name.startswith("__"):
                    yield f"{path}:{node.lineno}: '{name}' is state of a module; a CONSTANT has capitals"


def is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split(".")[-1] in MUTABLE_TYPES
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def files_say_their_purpose(root: Path) -> Iterator[str]:
    for path, _, tree in sources(root, "core", "plugins", "tests", "benchmarks"):
        docstring = ast.get_docstring(tree, clean=False) or ""
        if not docstring.split("\n")[0].strip() or tree.body[0].lineno != 1:
            yield f"{path}:1: the first line says what the file is for, in a docstring"


def sources_have_their_tests(root: Path) -> Iterator[str]:
    for source in sorted((*root.glob("core/penstock/[!_]*.py"), *root.glob("plugins/*/__init__.py"))):
        path = source.relative_to(root)
        plugin = path.parts[1].removeprefix("penstock_")
        test = f"tests/core/test_{path.name}" if path.parts[0] == "core" else f"tests/plugins/test_{plugin}.py"
        if not (root / test).is_file():
            yield f"{path}:1: its tests are missing: {test}"


# Each wall, and files that it must refuse: a wall that stops nothing is no wall.
WALLS: dict[Wall, list[tuple[str, str]]] = {
    core_knows_no_vendor: [("core/penstock/app.py", "HINT = 'set OPENAI_API_KEY'")],
    layers_import_downwards: [
        ("core/penstock/errors.py", "from penstock import store"),
        ("core/penstock/engine.py", "from .gateway import Gateway"),
        ("core/penstock/plan.py", "def late():\n    from penstock import Plugin"),
        ("core/penstock/novelty.py", "'''In which layer?'''"),
    ],
    libraries_stay_home: [
        ("core/penstock/gateway.py", "from quart.app import Quart"),
        ("core/penstock/cli/new.py", "import yaml"),
    ],
    plugins_stand_alone: [
        ("plugins/acme/__init__.py", "from penstock.engine import run"),
        ("plugins/acme/__init__.py", "from penstock import engine"),
        ("plugins/acme/__init__.py", "from penstock_auth import Auth"),
        ("plugins/acme/client.py", "import aiohttp"),
    ],
    plugins_do_not_name_themselves: [
        ("plugins/acme/__init__.py", "from acme.rules import Rules"),
        ("plugins/acme/__init__.py", "def late():\n    import acme.rules"),
    ],
    sans_io_does_no_io: [
        ("core/penstock/sse.py", "from urllib import request"),
        ("plugins/penstock_translation/clock.py", "import time"),
    ],
    modules_hold_no_state: [
        ("core/penstock/store.py", "cache: dict[str, str] = {}"),
        ("plugins/acme/a.py", "def f():\n    global x"),
    ],
    files_say_their_purpose: [("plugins/acme/a.py", "# late\n'''A docstring.'''"), ("tests/test_x.py", "")],
    sources_have_their_tests: [("core/penstock/store.py", ""), ("plugins/penstock_auth/__init__.py", "")],
}
HOLES = [(wall, file, text) for wall, holes in WALLS.items() for file, text in holes]


@pytest.mark.parametrize("wall", WALLS)
def test_the_wall_stands(wall: Wall) -> None:
    violations = list(dict.fromkeys(wall(ROOT)))
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize(("wall", "file", "text"), HOLES)
def test_the_wall_refuses(tmp_path: Path, wall: Wall, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    assert [violation.split(":")[0] for violation in wall(tmp_path)] == [file]
