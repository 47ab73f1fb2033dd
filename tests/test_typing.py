"""Types as authors meet them, mypy and pyright being strict: tests/typing, examples of docstrings, plugins of docs."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest

import penstock
from docs.generate import pages
from tests.pages import blocks

ROOT = Path(__file__).parent.parent
TYPING = ROOT / "tests/typing"
EXAMPLE = re.compile(r"(?<=\n\n)(?: {4}.*(?:\n|$)|\n(?= {4}))+")
"""What stands further in than the text around it."""
PLUGIN = re.compile(r"plugins/(?!.*test_).+\.py")
HEAD = '''"""Examples of docstrings."""

from penstock import %s


class Example(Plugin):
    """What the examples take for granted."""

    url: str = ""
    webhook: str = ""

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self._http = gateway.http()

    async def tell(self, asked: EndpointRequest) -> Answer:
        return Answer(200, {}, b"")

    async def watch(self) -> None: ...
'''
METHOD = """
    async def example_%d(self, exchange: Exchange, gateway: Gateway, user: str) -> Response | None:
%s
        return None
"""


def examples() -> Iterator[str]:
    """The examples in the docstrings of all public names and of their methods."""
    for name in penstock.__all__:
        value = getattr(penstock, name)
        members = vars(value).values() if isinstance(value, type) else ()
        for documented in (value, *(member for member in members if inspect.isfunction(member))):
            if inspect.isfunction(documented) or isinstance(documented, type):
                yield from map(dedent, EXAMPLE.findall(inspect.cleandoc(documented.__doc__ or "")))


def example_class() -> str:
    """All examples as methods of one plugin."""
    methods = (METHOD % (number, indent(text, " " * 8)) for number, text in enumerate(examples()))
    return HEAD % ", ".join(sorted(penstock.__all__)) + "".join(methods)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files to check: those of tests/typing, the examples, and every plugin that a page has its reader write."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "docstrings.py").write_text(example_class())
    for page in pages():
        plugins = [block for block in blocks(page) if PLUGIN.fullmatch(block.file)]
        for number, block in enumerate(plugins):
            name = f"{page.stem}_{Path(block.file).stem}_{number}".replace("-", "_")
            (folder / f"{name}.py").write_text(block.text)
    return [*sorted(TYPING.glob("*.py")), *sorted(folder.glob("*.py"))]


def ran(*command: str) -> str:
    """What a program says that finds something wrong, "" when it is content."""
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr if result.returncode else ""


def test_there_is_something_to_check(sources: list[Path]) -> None:
    assert len(list(examples())) >= 6
    assert {"authors.py", "mistakes.py", "docstrings.py", "common_jobs_guard_2.py"} < {file.name for file in sources}


def test_mypy_agrees(sources: list[Path]) -> None:
    assert ran("mypy", "--strict", "--no-warn-unused-configs", *map(str, sources)) == ""


def test_pyright_agrees(sources: list[Path], tmp_path: Path) -> None:
    config = json.loads((TYPING / "pyrightconfig.json").read_text())
    config |= {"include": [str(file) for file in sources], "venvPath": str(ROOT), "reportUnusedImport": False}
    config |= {
        "extraPaths": [str(ROOT / "core"), str(ROOT / "plugins")],
        "reportUnusedVariable": False,
        "reportUnusedClass": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    assert ran("basedpyright", "-p", str(tmp_path)) == ""


@pytest.mark.parametrize("mistake", re.findall(r"^.*# type: ignore.*$", (TYPING / "mistakes.py").read_text(), re.M))
def test_each_mistake_is_one_for_both(mistake: str) -> None:
    assert "# pyright: ignore[" in mistake
