"""A place where a page of the documentation is acted out: files are written, commands run, outputs compared.

`sh` blocks are commands; `console` blocks are commands behind `$ ` with the output that they must have, where `...`
stands for anything; a key that such an output shows stands, on the rest of the page, for the one that was really made.
A block with a file name behind its language is that file. A YAML block that is a pipeline, or a
part of one, is compiled, and must be refused if it is marked `wrong`. Of other programs than ours only the names are
known; a gateway runs in this process. A wheel is installed for this page alone.
"""

import asyncio
import configparser
import importlib
import json
import os
import re
import shlex
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from penstock.bind import is_loopback
from penstock.cli import main as penstock_command
from penstock.cli.banner import banner
from penstock.cli.describe import compiled
from penstock.document import Document
from penstock.gateway import Host
from penstock.gatewayfile import GatewayFile
from penstock.options import decode_hook
from penstock.problems import ConfigError
from penstock.testing import PATIENCE, Place, RunningGateway
from penstock.typed import convert
from penstock_auth.keysfile import KeysFile
from tests.pages import Block, blocks

ROOT = Path(__file__).parent.parent
ADDRESS = "127.0.0.1:4000"
OUTSIDE = {"claude", "git", "cd", "ollama", "jq", "systemctl", "openssl", "kill", "sudo", "python3", "scp"}
INSIDE = {"sleep", "curl", "cat", "tail", "mkdir", "cp", "mv", "rm", "(cd", ".venv/bin/python"}
FRAME = "plugins: [models, translation]\n"
"""What a part of a pipeline file needs to be a whole one."""

_OF_A_GATEWAY = frozenset({"bind", "trusted_proxies"})

CHANGING = (
    (re.compile(r"127\.0\.0\.1:\d+"), ADDRESS),
    (re.compile(r"\b(req|msg|toolu)_[0-9a-f]{24}"), r"\1_"),
    (re.compile(r"pk-[\w-]{43}"), "pk-"),
    (re.compile(r"pk-[\w-]{5}\.\.\."), "pk-"),
    (re.compile(r"key_[0-9a-f]{16}"), "key_"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "time"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "sha256:"),
    (re.compile(r'"(time|agent|generation)":"[^"]*"'), r'"\1":""'),
    (re.compile(r'"(first_event|total)":[\d.]+'), r'"\1":0'),
    (re.compile(r"^date: .*$", re.MULTILINE), "date:"),
    (re.compile(r"\b(passed|failed) in [\d.]+s"), r"\1 in 0s"),
    (re.compile(r"[ \r]+$", re.MULTILINE), ""),
)
"""What differs from run to run."""
MADE = re.compile(r"pk-[\w-]{43}|key_[0-9a-f]{16}|sha256:[0-9a-f]{64}")
"""What a command makes up, and later commands and files of a page name."""


class Ran(NamedTuple):
    """What a command did: its output, None if it is not known, and whether it was content."""

    output: str | None
    content: bool = True


class Stage:
    """One page's folder, environment and gateway."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._env: dict[str, str] = {}
        self._gateway: RunningGateway | None = None
        self._watching: asyncio.Task[None] | None = None
        self._unnamed = 0
        self._made: dict[str, str] = {}
        shutil.copytree(ROOT / "pipelines", root / "pipelines")
        (root / "plugins").mkdir()
        self._packages = root / ".venv/lib"
        python = root / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nPYTHONPATH={self._packages} exec {sys.executable} "$@"\n')
        python.chmod(0o755)

    async def play(self, page: Path) -> None:
        """Act out a page. Raises AssertionError where it is wrong, with the line."""
        for block in blocks(page):
            try:
                await self._act(block)
            except (AssertionError, ConfigError, ValueError) as error:
                raise AssertionError(f"{block.place}: {error}") from error

    async def close(self) -> None:
        """Stop the gateway, if one runs, and forget what was installed."""
        await self._stop()
        if str(self._packages) in sys.path:
            sys.path.remove(str(self._packages))
            for module in [name for name in sys.modules if (self._packages / name.partition(".")[0]).exists()]:
                del sys.modules[module]

    async def _stop(self) -> None:
        if self._watching is not None and self._gateway is not None:
            self._watching.cancel()
            await self._gateway.close()
        self._gateway = self._watching = None

    async def _act(self, block: Block) -> None:
        match block.language:
            case "sh":
                for command in _commands(block.text):
                    ran = await self.run(command)
                    assert ran.content, f"`{command}` fails:\n{ran.output}"
            case "console":
                for command, expected in _session(block.text):
                    output = (await self.run(command)).output
                    assert output is None or _alike(output, expected), f"`{command}` says:\n{output}"
                    self._made |= dict(zip(MADE.findall(expected), MADE.findall(output or ""), strict=False))
            case "yaml":
                await self._write(block.file or self._next_name(), block.text, wrong=block.wrong)
            case "json" | "python" | "ini":
                _check_syntax(block)
                if block.file:
                    await self._write(block.file, block.text)
            case language:
                assert language in ("text", "nginx"), f"nobody knows what to do with {language!r}"

    # ------------------------------------------------------------ files

    @property
    def _address(self) -> str:
        """Where the gateway is that pages call ADDRESS; until one runs, that is as good."""
        return self._gateway.url.removeprefix("http://") if self._gateway else ADDRESS

    def _next_name(self) -> str:
        self._unnamed += 1
        return f"unnamed/pipelines/page{self._unnamed}.yaml"

    async def _write(self, name: str, text: str, *, wrong: bool = False) -> None:
        path, text = self.root / name, self._real(text).replace(ADDRESS, self._address)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        if path.suffix == ".yaml":
            with pytest.raises(ConfigError) if wrong else nullcontext():
                self._check_yaml(path, text)
        if self._gateway is not None and before != text:
            await self._taken_over(self._gateway.host, path)

    def _check_yaml(self, path: Path, text: str) -> None:
        env = {**dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "a-key"), **self._env}
        document = Document.parse(text, path.name, env)
        assert not document.problems, document.problems[0]
        if "keys" in document.data:
            _converted(document, KeysFile)
        elif path.name == "gateway.yaml" or document.data.keys() & _OF_A_GATEWAY:
            _converted(document, GatewayFile)
        else:
            path.write_text(text if "plugins" in document.data else text + FRAME)
            compiled(path, env)

    async def _taken_over(self, host: Host, path: Path) -> None:
        """Wait until a running gateway has noticed a change of one of its files."""
        if path not in {file.resolve() for file in host.current.watched}:
            return
        before = (host.current, host.reload_problem)
        async with asyncio.timeout(PATIENCE):
            while (host.current, host.reload_problem) == before:  # noqa: ASYNC110 - only the log announces it
                await asyncio.sleep(0.05)

    # ------------------------------------------------------------ commands

    async def run(self, command: str) -> Ran:
        """Run a command if it is one of ours. Raises AssertionError for a program that nobody knows."""
        command = self._real(command)
        program, *arguments = shlex.split(command, comments=True)
        if program == "export":
            self._env.update(_assignments(arguments))
            return Ran("")
        if program == "make":
            return await self._make(arguments)
        if program == ".venv/bin/penstock":
            return await self._penstock(arguments)
        if arguments[:3] == ["-m", "pip", "install"] and arguments[-1].endswith(".whl"):
            return self._install(self.root / arguments[-1])
        if program in OUTSIDE or arguments[:2] == ["-m", "pip"]:
            return Ran(None)
        assert program in INSIDE, f"nobody knows the program {program!r}"
        return await self._shell(command)

    def _real(self, text: str) -> str:
        return MADE.sub(lambda found: self._made.get(found[0], found[0]), text)

    async def _make(self, arguments: list[str]) -> Ran:
        targets = [argument for argument in arguments if "=" not in argument]
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), f"no target {targets}"
        if targets != ["run"]:
            return Ran(None)
        values = _assignments(arguments)
        place = values.get("PIPELINE", "pipelines/solo.yaml")
        return await self._penstock(["serve", place, *shlex.split(values.get("ARGS", ""))])

    def _install(self, wheel: Path) -> Ran:
        """As pip installs a wheel of Python alone: what is in it comes to the packages."""
        zipfile.ZipFile(wheel).extractall(self._packages)
        sys.path.append(str(self._packages))
        importlib.invalidate_caches()
        return Ran(None)

    async def _penstock(self, arguments: list[str]) -> Ran:
        """A command in this process; `new`, a trial run and what plugins bring as a process of their own."""
        name, *rest = arguments
        if name == "new" or "--time" in rest or name not in penstock_command.commands:
            return await self._shell(shlex.join([".venv/bin/python", "-m", "penstock", *arguments]))
        command = penstock_command.commands[name]
        options = command.make_context(name, list(rest)).params
        if name == "serve":
            return await self._serve(self.root / options["place"], options["bind"] or ADDRESS, debug=options["debug"])
        place = os.path.relpath(self.root / options["place"])
        rest = [place if Path(word) == options["place"] else word for word in rest]
        result = CliRunner(env={**dict.fromkeys(os.environ), **self._env}).invoke(command, rest)
        return Ran(result.output.replace(os.path.relpath(self.root) + "/", ""), result.exit_code == 0)

    async def _serve(self, place: Path, bind: str, *, debug: bool) -> Ran:
        gateway = RunningGateway(Place(self.root, "none", {}), {})
        gateway.host = Host(place, self._env, public=not is_loopback(bind), debug=debug)
        try:
            await gateway.start()
        except ConfigError as error:
            what = str(error).replace(f"{self.root}/", "")
            return Ran(f"{what}\n{len(error.problems)} mistake; nothing was started", content=False)
        await self._stop()
        self._gateway = gateway
        self._watching = gateway.host.spawn(gateway.host.watch(0.02), "look more often than once a second")
        return Ran("\n".join(await banner(gateway.host, gateway.url)))

    async def _shell(self, command: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-ec", command.replace(ADDRESS, self._address)),
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "HOME": str(self.root), **self._env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(3 * PATIENCE):
            output, _ = await process.communicate()
        return Ran(output.decode(), process.returncode == 0)


def _check_syntax(block: Block) -> None:
    """Raises ValueError; SyntaxError for Python."""
    match block.language:
        case "json":
            json.loads(block.text)
        case "python":
            compile(block.text, block.place, "exec")
        case "ini":
            configparser.ConfigParser().read_string(block.text)


def _converted(document: Document, kind: type[Any]) -> None:
    _, problems = convert(document, (), kind, decode_hook())
    assert not problems, problems[0]


def _assignments(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, sign, value in (word.partition("=") for word in words) if sign}


def _commands(text: str) -> Iterator[str]:
    """The commands of a block: a line each, or several that end in a backslash."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _session(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.replace("\\\n", " ").partition("\n")
        yield command, output


def _alike(output: str, expected: str) -> bool:
    pattern = re.escape(_constant(expected)).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, _constant(output), re.DOTALL) is not None


def _constant(text: str) -> str:
    for pattern, value in CHANGING:
        text = pattern.sub(value, text)
    return text.strip()
