"""The kit as pytest loads it: in a project with nothing but the wheel, pytest and pytest-asyncio."""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.testing import clean_environment

TEST = """
from penstock import Exchange, Plugin, hookimpl

class Hello(Plugin):
    "Greets."

    @hookimpl
    def on_response(self, response) -> None:
        response.headers["x-hello"] = "1"

async def test_it_greets(pipeline, upstream):
    upstream.answers("hello")
    answer = await pipeline("plugins: [hello]", hello=Hello).ask("hi")
    assert (answer.text, answer.headers["x-hello"]) == ("hello", "1")

async def test_it_greets_in_a_playbook(playbook):
    played = await playbook(Hello()).response()
    assert played.response.headers == {"x-hello": "1"}
"""


def run(folder: Path, *arguments: str, mode: str = "auto") -> subprocess.CompletedProcess[str]:
    """pytest in a project of its own."""
    ini = f'asyncio_mode = "{mode}"\nasyncio_default_fixture_loop_scope = "function"\n' if mode else ""
    (folder / "pyproject.toml").write_text(f'[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n{ini}')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=clean_environment(), check=False)


def test_a_project_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_hello.py").write_text(TEST)
    result = run(tmp_path, "-p", "no:timeout", "-p", "no:hypothesispytest")
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout


def test_local_plugins_are_found_by_name(tmp_path: Path) -> None:
    plugin, _, tests = TEST.partition("async def test_it_greets(")
    package = tmp_path / "plugins" / "hello"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(plugin)
    test = "async def test_it_greets(" + tests.partition("async def test_it_greets_in")[0].replace(", hello=Hello", "")
    (package / "test_hello.py").write_text(test)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_greeting.py").write_text(test)
    for place in (".", "plugins/hello", "tests"):
        result = run(tmp_path, "--import-mode=importlib", place)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("mode", ["strict", ""])
def test_without_the_mode_auto_it_is_said_what_to_do(tmp_path: Path, mode: str) -> None:
    (tmp_path / "test_hello.py").write_text(TEST)
    result = run(tmp_path, "-W", "ignore", mode=mode)
    assert result.returncode == 1
    assert "the fixtures of penstock.testing are asynchronous" in result.stdout
    assert 'asyncio_mode = "auto"' in result.stdout
    assert "Traceback" not in result.stdout
    assert "no plugin or hook that handled it" not in result.stdout


def test_without_pytest_asyncio_it_is_said_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test_hello.py").write_text(TEST)
    result = run(tmp_path, "-p", "no:asyncio", "-W", "ignore", mode="")
    assert result.returncode == 1
    assert "install pytest-asyncio" in result.stdout


def test_tests_that_use_nothing_of_it_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef upstream():\n    return 1\n\n"
        "def test_plain(upstream, clock):\n    assert upstream == 1\n    clock.advance(1)\n"
    )
    result = run(tmp_path, mode="strict")
    assert result.returncode == 0, result.stdout


def test_loading_it_imports_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'quart', 'hypercorn', 'uvloop', 'yaml', 'sqlalchemy', 'click', 'penstock.gateway'}"
    code = f"import sys, penstock.testing.fixtures; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
