"""What `penstock new` makes works: its tests pass, its types and its style hold, its pipeline answers without a key."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.testing import GatewayProcess, Place, clean_environment
from tests.integration.talk import ask, prompt

ROOT = Path(__file__).parent.parent.parent
FORMS = {"folder": ("plugins", []), "package": ("dlp-filter", ["--package"])}


@pytest.fixture(params=FORMS)
def rendered(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin `dlp-filter` that was made in an empty folder, the current one; where its package is."""
    monkeypatch.chdir(tmp_path)
    folder, form = FORMS[request.param]
    assert CliRunner().invoke(main, ["new", "plugin", "dlp-filter", *form]).exit_code == 0
    return tmp_path / folder


def run(folder: Path, *command: str) -> str:
    """The output of a Python program, which must end well."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_tests_pass(rendered: Path) -> None:
    where = rendered.parent if rendered.name == "plugins" else rendered
    wanted = ["plugins/dlp_filter"] if rendered.name == "plugins" else []
    assert "2 passed" in run(where, "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *wanted)


def test_its_tests_fail_when_the_plugin_does_not_work(rendered: Path) -> None:
    (init,) = rendered.rglob("__init__.py")
    init.write_text(init.read_text().replace("raise Forbidden", "return None; raise Forbidden"))
    where = rendered.parent if rendered.name == "plugins" else rendered
    wanted = ["plugins/dlp_filter"] if rendered.name == "plugins" else []
    with pytest.raises(AssertionError, match="1 failed, 1 passed"):
        run(where, "pytest", "-q", "-p", "no:cacheprovider", *wanted)


def test_its_types_hold_under_mypy(rendered: Path) -> None:
    config = rendered / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = true\nmypy_path = {rendered}:{ROOT / 'core'}\n")
    run(
        rendered, "mypy", "--config-file", str(config), "--cache-dir", str(ROOT / ".mypy_cache/scaffold"), str(rendered)
    )


def test_its_types_hold_under_pyright(rendered: Path) -> None:
    settings = f'[tool.pyright]\ntypeCheckingMode = "strict"\nextraPaths = ["{ROOT / "core"}", "."]\n'
    config = rendered / "pyproject.toml"
    config.write_text((config.read_text() if config.exists() else "") + settings)
    run(rendered, "basedpyright", "--project", str(config), "--pythonpath", sys.executable, str(rendered))


@pytest.mark.parametrize("name", ["dlp-filter", "a-very-long-name-for-a-plugin-of-40-sign"])
@pytest.mark.parametrize("form", FORMS)
def test_its_style_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", "plugin", name, *FORMS[form][1]]).exit_code == 0
    rules = ",".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["select"])
    isolated = ("--isolated", "--config", "line-length = 120")
    run(tmp_path, "ruff", "check", *isolated, "--select", rules, "--ignore", "I001", ".")  # order depends on the name
    run(tmp_path, "ruff", "format", *isolated, "--check", ".")


def test_a_package_can_be_built_and_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", "plugin", "dlp-filter", "--package"]).exit_code == 0
    run(tmp_path / "dlp-filter", "hatchling", "build", "--target", "wheel")
    (wheel,) = (tmp_path / "dlp-filter/dist").glob("*.whl")
    assert wheel.name == "dlp_filter-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if "dist-info" not in name} == {
            "dlp_filter/__init__.py",
            "dlp_filter/py.typed",
        }
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "plugins"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "dlp_filter  (dlp-filter 0.1.0)  Refuse requests that say a refused word" in done.stdout


async def test_the_pipeline_answers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", "pipeline", "first"]).exit_code == 0
    gate = await GatewayProcess.start(Place(tmp_path, "first", {}), (), clean_environment())
    try:
        await gate.says("answers are SIMULATED")
        said = await ask(gate.url, prompt("good morning"))
    finally:
        await gate.close()
    assert (said.status, said.text.startswith("[simulated]")) == (200, True)
    assert "good morning" in said.text
    assert '"outcome":"ok"' in (tmp_path / "logs/first.jsonl").read_text()
