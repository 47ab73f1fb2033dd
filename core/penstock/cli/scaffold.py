"""Files made from the templates in penstock/scaffold: names are checked, words replaced, and nothing is overwritten."""

import keyword
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

import penstock
from penstock.catalogue import Catalogue
from penstock.cli.schema import pipeline_schema
from penstock.watching import yaml_files

Files = dict[Path, str]
"""What is to be written: texts by path."""

_TEMPLATES = Path(__file__).parent.parent / "scaffold"
_PLUGIN_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_PIPELINE_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
_LONGEST = 40
_SCHEMA = "pipeline.schema.json"


class NameRefused(ValueError):
    """A name that a plugin or a pipeline cannot have."""


class Names(NamedTuple):
    """What a plugin is called: on the command line, as a package and step, and as a class."""

    name: str
    package: str
    cls: str

    def render(self, template: str) -> str:
        """The text of a template, which is about a plugin `acme-guard`, for this one."""
        words = {
            "acme-guard": self.name,
            "acme_guard": self.package,
            "AcmeGuard": self.cls,
            "Acme Guard": self.package.replace("_", " ").title(),
            "penstock>=0.0.0": f"penstock>={penstock.__version__}",
        }
        return _replaced((_TEMPLATES / template).read_text("utf-8"), words)


def plugin_names(name: str) -> Names:
    """The names of a plugin. Raises NameRefused for one that cannot be a package, or is taken in Python."""
    if not _PLUGIN_NAME.fullmatch(name) or len(name) > _LONGEST:
        raise NameRefused(f"{name!r} is no name for a plugin: take lower-case words joined by '-', {_proposal(name)}")
    package = name.replace("-", "_")
    cls = "".join(word.capitalize() for word in package.split("_"))
    if keyword.iskeyword(package) or package in sys.stdlib_module_names:
        raise NameRefused(f"{name!r} is a word of Python's own: add one of yours, such as acme-{name}")
    if cls in penstock.__all__:
        raise NameRefused(f"{cls!r} is a name of Penstock's own: add a word of yours, such as acme-{name}")
    return Names(package.replace("_", "-"), package, cls)


def folder_plugin(names: Names, folder: Path) -> Files:
    """A plugin as a folder in `folder`, the one beside the pipelines. Raises NameRefused if there is such a plugin."""
    _check_free(names, Catalogue(folder))
    home = folder / names.package
    files = {
        home / "__init__.py": names.render("acme_guard/__init__.py"),
        home / f"test_{names.package}.py": names.render("acme_guard/test_acme_guard.py"),
        home / "README.md": names.render("folder/README.md"),
    }
    root = folder.resolve().parent
    if pytest_settings(root) is None:
        files[folder.parent / "pytest.ini"] = names.render("folder/pytest.ini")
    return files


def package_plugin(names: Names, folder: Path) -> Files:
    """A plugin as a package to publish, a folder in `folder`. Raises NameRefused if such a plugin is installed."""
    _check_free(names, Catalogue(None))
    home = folder / names.name
    return {
        home / "pyproject.toml": names.render("package/pyproject.toml"),
        home / "README.md": names.render("package/README.md"),
        home / names.package / "__init__.py": names.render("acme_guard/__init__.py"),
        home / names.package / "py.typed": "",
        home / "tests" / f"test_{names.package}.py": names.render("acme_guard/test_acme_guard.py"),
    }


def pipeline(name: str, folder: Path) -> Files:
    """A pipeline, at `/` if it is the first of its folder. Raises NameRefused for a name that is none, or is taken."""
    if not _PIPELINE_NAME.fullmatch(name):
        raise NameRefused(f"{name!r} is no name for a pipeline: take lower-case words joined by '-', {_proposal(name)}")
    if name == "gateway":
        raise NameRefused("gateway.yaml holds what all pipelines share: take another name for a pipeline")
    others = [file for file in yaml_files(folder) if file.stem != "gateway"] if folder.is_dir() else []
    if taken := [file for file in others if file.stem == name]:
        raise NameRefused(f"{taken[0]} is there already")
    presets = sorted(
        preset for preset, data in Catalogue(None).presets.items() if not data.retired and "-" not in preset
    )
    words = {
        "PIPELINE": name,
        "PATH": f"/{name}" if others else "/",
        "PRESETS": "\n# ".join(textwrap.wrap(", ".join(presets), 115)),
    }
    return {folder / f"{name}.yaml": _replaced((_TEMPLATES / "pipeline.yaml").read_text("utf-8"), words)}


def write(files: Files) -> None:
    """Write files that are not there yet. Raises FileExistsError before any is written, OSError."""
    for path in files:
        if path.exists():
            raise FileExistsError(f"{path} is there already; nothing was written")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)


def write_schema(pipelines: Path) -> Path:
    """Write the schema for editors anew, beside the pipelines, with the plugins there are now. Raises OSError."""
    path = pipelines / _SCHEMA
    path.write_text(pipeline_schema(pipelines) + "\n", "utf-8")
    return path


def has_schema(pipelines: Path) -> bool:
    """Whether a schema for editors lies beside the pipelines."""
    return (pipelines / _SCHEMA).is_file()


def pytest_settings(root: Path) -> Path | None:
    """The file with the settings of pytest for tests below `root`: there, or above it in the same repository."""
    above = list(root.parents)
    top = next((number for number, folder in enumerate(above, 1) if (folder / ".git").exists()), 0)
    return next((file for folder in (root, *above[:top]) for file in _settings(folder)), None)


def _settings(folder: Path) -> Iterator[Path]:
    marks = {"pytest.ini": "", ".pytest.ini": "", "pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]"}
    for name, mark in {**marks, "setup.cfg": "[tool:pytest]"}.items():
        file = folder / name
        if file.is_file() and mark in file.read_text("utf-8", errors="replace"):
            yield file


def _check_free(names: Names, catalogue: Catalogue) -> None:
    for known in catalogue.plugin_names():
        if known.replace("-", "_") == names.package:
            raise NameRefused(f"there is a plugin {known!r} already: `penstock plugins` shows where it comes from")
    spec = PathFinder.find_spec(names.package)
    if spec is not None and spec.origin is not None:
        raise NameRefused(f"{names.package!r} is an installed Python package already ({spec.origin})")


def _proposal(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
    joined = "-".join(words)[:_LONGEST].strip("-")
    return f"such as {joined if _PLUGIN_NAME.fullmatch(joined) else 'acme-guard'}"


def _replaced(text: str, words: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)
