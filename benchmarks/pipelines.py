"""The pipelines that are compared with each other, as files for the benchmark's upstream, and the keys for them."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_TEAM = Path(__file__).parents[1] / "pipelines" / "team.yaml"
_NO_END = 10**9  # limits and budgets are looked after, and never reached

Document = Mapping[str, Any]


def bare(upstream: str, *more: str | Document) -> Document:
    """The least that is a gateway, with more steps above."""
    return {"path": "/", "upstreams": _upstreams(upstream), "plugins": [*more, _models(), "translation"]}


def listening(upstream: str, kind: str, count: int) -> Document:
    """The same with that many listeners of a class in `benchmarks.listeners`."""
    steps: list[Any] = [{f"benchmarks.listeners:{kind}": {}, "id": f"listener-{number}"} for number in range(count)]
    return {**bare(upstream), "plugins": [*steps, _models(), "translation"]}


def team(upstream: str) -> Document:
    """The team's pipeline as it ships, but for where requests go, and that no limit is ever reached."""
    shipped: dict[str, Any] = yaml.safe_load(_TEAM.read_text())
    steps = [{step: {}} if isinstance(step, str) else step for step in shipped["plugins"]]
    plugins = [_models() if "models" in step else _without_end(step) for step in steps]
    teams = {name: _without_end(options) for name, options in shipped["teams"].items() if "models" not in options}
    return {"path": "/", "upstreams": _upstreams(upstream), "plugins": plugins, "teams": teams}


def write(folder: Path, name: str, document: Document) -> Path:
    """The pipeline in a folder of its own, with a database of its own."""
    file = folder / name / "pipelines" / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(dict(document), sort_keys=False))
    return file


def make_keys(file: Path, team: str, users: Sequence[str]) -> tuple[str, ...]:
    """A key for each of them."""
    return tuple(_make_key(file, team, user) for user in users)


def _make_key(file: Path, team: str, user: str) -> str:
    arguments = ["keys", "create", "--user", user, "--team", team, "--pipeline", str(file), "--json"]
    ran = subprocess.run([sys.executable, "-m", "penstock", *arguments], stdout=subprocess.PIPE, check=True)
    key: str = json.loads(ran.stdout)["key"]
    return key


def _upstreams(url: str) -> Document:
    return {
        "messages": {"protocol": "anthropic", "url": url, "key": "benchmark"},
        "chat": {"protocol": "openai-chat", "url": f"{url}/v1", "key": "benchmark"},
    }


def _models() -> Document:
    return {"models": {"routes": {"chat-*": "chat", "*": "messages"}}}


def _without_end(options: Document) -> Document:
    """The same with every limit and budget out of reach."""
    raised = {"limits": _raised, "budgets": _raised}
    return {name: raised.get(name, lambda same: same)(value) for name, value in options.items()}


def _raised(options: Any) -> Any:
    if not isinstance(options, dict):
        return options
    return {name: _NO_END if isinstance(value, int) else value for name, value in options.items()}
