"""Requests as real agents send them, for tests of what a plugin makes of them.

Fields, nesting, headers, ids and tools are as they came; all texts are shortened and none of them is anybody's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Recorded:
    """One request: its name, the agent and its version in `client`, and what it sent."""

    name: str
    client: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def stream(self) -> bool:
        """Whether the agent asked for a stream."""
        return self.body.get("stream") is True or ":stream" in self.path


def recorded(name: str) -> Recorded:
    """The request of that name, one of `recorded_names()`. Raises LookupError.

    gate = pipeline("plugins: [redact]")
    answer = await gate.ask(recorded(recorded_names()[0]))
    """
    file = _FOLDER / f"{name}.json"
    if name not in recorded_names():
        raise LookupError(f"no recorded request {name!r}; there are: {', '.join(recorded_names())}")
    found = json.loads(file.read_text("utf-8"))
    return Recorded(name, found["client"], found["method"], found["path"], found["headers"], found["body"])


def recorded_names() -> list[str]:
    """All names: the agent, a slash, and what it does."""
    return sorted(file.relative_to(_FOLDER).with_suffix("").as_posix() for file in _FOLDER.rglob("*.json"))
