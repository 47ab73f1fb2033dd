"""Commands of plugins: listed without being imported, run when called, and no harm to others when broken."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.testing import clean_environment

Penstock = Callable[..., "subprocess.CompletedProcess[str]"]

FINE = '''
import click
print("imported")
@click.group()
def acme() -> None:
    """Do what Acme wants.

    At length.
    """
@acme.command()
@click.option("--loud", is_flag=True)
def hello(loud: bool) -> None:
    click.echo("HELLO" if loud else "hello")
'''
POINTS = """
[penstock.commands]
acme = acme_tools.commands:acme
broken = acme_tools.broken:command
plain = acme_tools:PLAIN
serve = acme_tools.commands:acme
nowhere = acme_nowhere:command
"""


@pytest.fixture
def penstock(tmp_path: Path) -> Penstock:
    """Runs `penstock` where a distribution brings commands."""
    package, info = tmp_path / "acme_tools", tmp_path / "acme_tools-1.0.dist-info"
    for folder in (package, info):
        folder.mkdir()
    (package / "__init__.py").write_text("PLAIN = 'no command'\nprint('package imported')\n")
    (package / "commands.py").write_text(FINE)
    (package / "broken.py").write_text("def command():\n    'Broken on import.'\nimport acme_missing\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tools\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        env = {**clean_environment(PYTHONPATH=path), "COLUMNS": "100"}
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


def test_the_help_lists_them_and_imports_none(penstock: Penstock) -> None:
    shown = penstock("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in shown.stdout.partition("Commands:\n")[2].splitlines()]
    assert ["acme", "Do what Acme wants."] in lines
    assert ["broken", "Broken on import."] in lines
    assert ["plain"] in lines
    assert ["nowhere"] in lines
    assert "imported" not in shown.stdout


def test_they_run_as_if_they_were_built_in(penstock: Penstock) -> None:
    said = penstock("acme", "hello", "--loud")
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "HELLO")
    assert "Usage: python -m penstock acme hello [OPTIONS]" in penstock("acme", "hello", "--help").stdout


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("broken", "Error: the command 'broken' (acme_tools.broken:command) cannot be used: ModuleNotFoundError"),
        ("nowhere", "Error: the command 'nowhere' (acme_nowhere:command) cannot be used: ModuleNotFoundError"),
        ("plain", "Error: the command 'plain' (acme_tools:PLAIN) is no click command, but 'no command'"),
    ],
)
def test_a_broken_one_says_so_and_harms_no_other(penstock: Penstock, name: str, complaint: str) -> None:
    said = penstock(name)
    assert said.returncode == 1
    assert said.stderr.startswith(complaint)
    assert "Traceback" not in said.stderr
    assert penstock("acme", "hello").returncode == 0
    assert penstock("plugins").returncode == 0


def test_none_replaces_a_built_in_command(penstock: Penstock) -> None:
    assert "Serve a pipeline FILE" in penstock("serve", "--help").stdout
