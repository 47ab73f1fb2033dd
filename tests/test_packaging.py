"""What is delivered: the wheel, the entry points, the exact versions."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
PACKAGES = sorted(init.parent for init in (*ROOT.glob("core/*/__init__.py"), *ROOT.glob("plugins/*/__init__.py")))
ENTRY_POINTS = [
    EntryPoint(name, value, group)
    for group, entries in PROJECT["entry-points"].items()
    for name, value in entries.items()
]
LEFT_BEHIND = re.compile(r"(^|/)(__pycache__|\.[^/]*)(/|$)")


def source_files() -> Iterator[str]:
    for package in PACKAGES:
        for file in package.rglob("*"):
            path = file.relative_to(package.parent).as_posix()
            if file.is_file() and not LEFT_BEHIND.search(path):
                yield path


def test_the_wheel_holds_every_file_of_both_roots_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if ".dist-info/" not in name) == sorted(source_files())
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_runs_without_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        "import runpy, sys, penstock; print(penstock.__file__);"
        "sys.argv[1:] = ['--help']; runpy.run_module('penstock', run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    where, _, text = run.stdout.partition("\n")
    assert (run.returncode, run.stderr) == (0, "")
    assert Path(where).is_relative_to(tmp_path)
    assert "Usage: " in text
    assert "serve" in text


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_tells_type_checkers_that_it_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize("entry", ENTRY_POINTS, ids=lambda entry: f"{entry.group}:{entry.name}")
def test_an_entry_point_leads_somewhere(entry: EntryPoint) -> None:
    assert entry.load() is not None


def test_every_plugin_can_be_found() -> None:
    found = {entry.module.split(".")[0] for entry in ENTRY_POINTS}
    assert {package.name for package in PACKAGES} - {"penstock"} <= found


def requirements() -> list[str]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    groups = [line for lines in PYPROJECT["dependency-groups"].values() for line in lines]
    return [*PROJECT["dependencies"], *extras, *groups, *PYPROJECT["build-system"]["requires"]]


@pytest.mark.parametrize("line", requirements())
def test_a_requirement_has_one_exact_version(line: str) -> None:
    requirement = Requirement(line)
    exact = {pin.name: pin for pin in map(Requirement, constraints())}
    (version,) = exact[requirement.name.lower()].specifier
    assert version.operator == "=="
    assert requirement.specifier.contains(version.version)


def test_constraints_are_versions_and_name_no_source() -> None:
    assert [line for line in constraints() if not re.fullmatch(r"[a-z0-9-]+==[0-9.]+( ; .+)?", line)] == []


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]
