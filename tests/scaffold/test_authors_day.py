"""An author's day with the installed wheel: scaffold, test, serve, see it act, change it, break it."""

import asyncio
import sysconfig
import venv
import zipfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.testing import PATIENCE, GatewayProcess, Place, clean_environment
from tests.agents.claude import ask as ask_claude
from tests.agents.claude import find_binary
from tests.integration.talk import ask, prompt

Talk = Callable[[str, str], Awaitable[str]]
"""What a client with a question, at an address, is told: the answer, or why there is none."""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which the wheel is installed, beside what it depends on; this repository is not in its path."""
    home = tmp_path_factory.mktemp("installed")
    venv.EnvBuilder(symlinks=True).create(home)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files do not count
    return home / "bin/python"


def outside() -> dict[str, str]:
    return {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}


async def run(python: Path, folder: Path, *arguments: str) -> str:
    """The output of `python -m ...`, which must end well."""
    process = await asyncio.create_subprocess_exec(
        python, "-m", *arguments, cwd=folder, env=outside(), stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(3 * PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@asynccontextmanager
async def serving(python: Path, folder: Path) -> AsyncIterator[GatewayProcess]:
    """`penstock serve`, as it was installed."""
    command = (python, "-m", "penstock", "serve", "pipelines/first.yaml", "--bind", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=outside(), stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    gate = GatewayProcess(process, Place(folder, "first", {}))
    try:
        gate.url = (await gate.says(r"http://127\.0\.0\.1:\d+"))[0]
        yield gate
    finally:
        await gate.close()


async def plain(url: str, text: str) -> str:
    """As any HTTP client."""
    return (await ask(url, prompt(text, stream=True))).body.decode()


@pytest.fixture(params=["http", pytest.param("claude", marks=pytest.mark.agents)])
def talk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """A client: plain HTTP, and the real Claude Code."""
    if request.param == "http":
        return plain
    binary, home = find_binary(), tmp_path_factory.mktemp("home")

    async def claude(url: str, text: str) -> str:
        return str((await ask_claude(binary, url, home, home, text))["result"])

    return claude


@pytest.mark.timeout(240)
async def test_an_authors_day(python: Path, tmp_path: Path, talk: Talk) -> None:
    where = await run(python, tmp_path, "inspect", "--details", "penstock")
    assert f"Origin: {python.parent.parent}" in where
    made = await run(python, tmp_path, "penstock", "new", "plugin", "acme-guard")
    assert "made plugins/acme_guard/__init__.py" in made
    assert "2 passed" in await run(python, tmp_path, "pytest", "-q", "plugins/acme_guard")

    await run(python, tmp_path, "penstock", "new", "pipeline", "first")
    file, plugin = tmp_path / "pipelines/first.yaml", tmp_path / "plugins/acme_guard/__init__.py"
    file.write_text(
        file.read_text().replace("# - acme_guard: {words: [tangerine]}", "- acme_guard: {words: [tangerine]}", 1)
    )
    assert "ok, 5 steps" in await run(python, tmp_path, "penstock", "check", "pipelines/first.yaml")

    async with serving(python, tmp_path) as gate:
        assert "[simulated]" in await talk(gate.url, "good morning")
        assert "'tangerine' must not leave the house" in await talk(gate.url, "the plan is called tangerine")

        plugin.write_text(plugin.read_text().replace("must not leave the house", "stays here"))
        await gate.says("reloaded: generation")
        assert "'tangerine' stays here" in await talk(gate.url, "the plan is called tangerine")

        plugin.write_text(plugin.read_text().replace("raise Forbidden(", "raise Forbidden)"))
        await gate.says(r"the old configuration stays:\n(.*\n)*.*plugins/acme_guard/__init__\.py:\d+: unmatched '\)'")
        assert "'tangerine' stays here" in await talk(gate.url, "the plan is called tangerine")
        assert "[simulated]" in await talk(gate.url, "good evening")
