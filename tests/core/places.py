"""Folders with pipelines and local plugins, written for one test, and what is said to be wrong with them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.cli.describe import compiled
from penstock.pipeline import Pipeline
from penstock.problems import ConfigError

WHO = '''
"""Says who is asking."""
from penstock import Exchange, Plugin, Principal, hookimpl

class Who(Plugin):
    """Says that it is always the same user who asks."""
    provides = frozenset({"principal"})
    name: str = "ann"

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.identify(Principal(user=self.name, team=exchange.headers.get("x-team", "")))
'''
METER = '''
"""Counts by principal."""
from penstock import Exchange, Plugin, hookimpl

class Meter(Plugin):
    """Counts the requests of each user."""
    requires = frozenset({"principal"})
    rate: int = 1

    @hookimpl
    def on_request(self, exchange: Exchange) -> None: ...
'''
KNOBS = '''
"""Options of all kinds."""
from typing import Annotated, Literal
from msgspec import Meta
from penstock import Duration, Plugin, Secret, Targets

class Knobs(Plugin):
    """Has options of all kinds."""
    ttl: Duration = 60.0
    to: Targets | None = None
    mode: Literal["exact", "loose"] = "exact"
    size: Annotated[int, Meta(ge=1)] = 1
    rates: dict[str, int] = {}
    password: Secret | None = None

    def __post_init__(self) -> None:
        if self.size > 100:
            raise ValueError("size must not exceed 100")
        if self.size == 99:
            raise KeyError("red balloons")
'''
PLUGINS = {"plugins/who.py": WHO, "plugins/meter.py": METER, "plugins/knobs.py": KNOBS}
MAIN = 'upstreams: {main: {protocol: anthropic, url: "http://127.0.0.1:9"}}\n'


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files below `root`, by their paths there."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def install(root: Path, monkeypatch: pytest.MonkeyPatch, entry_points: str) -> None:
    """Make a distribution `acme` of what lies in `root`, with these entry points, and install it for one test."""
    metadata = "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n"
    write(root, {"acme-1.0.dist-info/METADATA": metadata, "acme-1.0.dist-info/entry_points.txt": entry_points})
    monkeypatch.syspath_prepend(root)


def compiled_in(root: Path, files: Mapping[str, str | bytes], env: Mapping[str, str] | None = None) -> list[Pipeline]:
    """The pipelines of `root`/pipelines, with `files` and three local plugins written first."""
    write(root, {**PLUGINS, **files})
    return compiled(root / "pipelines", env or {})


def mistakes(root: Path, files: Mapping[str, str | bytes], env: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with them, as `file:line:column: message`."""
    with pytest.raises(ConfigError) as caught:
        compiled_in(root, files, env)
    return told(root, caught.value)


def told(root: Path, error: ConfigError) -> list[str]:
    """The problems, with paths below `root`; each is printed with the line it is about."""
    assert all(problem.source in str(problem) for problem in error.problems)
    problems = (f"{p.path}:{p.line}:{p.column}: {p.message}" for p in error.problems)
    return [problem.replace(f"{root}/", "") for problem in problems]
