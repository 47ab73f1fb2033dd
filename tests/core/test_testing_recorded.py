"""The recorded requests of the kit: of several agents, small, whole in their shapes, and nobody's."""

import json
import re
import zipfile
from pathlib import Path

import pytest

import penstock.testing
from penstock.testing import recorded, recorded_names

FOLDER = Path(penstock.testing.__file__).parent / "recorded"
AGENTS = {"claude-code", "codex", "gemini-cli", "opencode", "aider"}
SECRETS = ("authorization", "x-api-key", "x-goog-api-key")


def test_every_agent_has_some_and_all_are_small() -> None:
    assert {name.partition("/")[0] for name in recorded_names()} == AGENTS
    sizes = [file.stat().st_size for file in FOLDER.rglob("*.json")]
    assert max(sizes) < 10_000
    assert sum(sizes) < 100_000


@pytest.mark.parametrize("name", recorded_names())
def test_a_request_is_whole_and_says_nothing_of_anybody(name: str) -> None:
    request = recorded(name)
    assert (request.name, request.method) == (name, "POST")
    assert re.fullmatch(r"[\w-]+ \d+\.\d+\.\d+", request.client)
    assert request.path.startswith("/v1")
    assert all(header == header.lower() for header in request.headers)
    assert all("client-token" in request.headers[header] for header in SECRETS if header in request.headers)
    text = json.dumps(request.body, ensure_ascii=False) + json.dumps(dict(request.headers))
    assert not re.search(r"[\w.+-]+@[\w-]+\.\w+", text), "an e-mail address"
    assert set(re.findall(r"/(?:home|Users)/([\w.-]+)", text)) <= {"dev"}
    assert not re.search(r"sk-[\w-]{8}|lorem|\[\[run", text)
    prose = [found for found in re.findall(r'"((?:[^"\\]|\\.)*)"', text) if found.count(" ") > 60]
    assert not prose, "a long text of the agent's"


def test_they_differ_in_what_they_show() -> None:
    first, later = recorded("claude-code/first-turn"), recorded("claude-code/tool-result")
    assert first.stream
    assert len(later.body["messages"]) > len(first.body["messages"])
    assert recorded("gemini-cli/first-turn").stream
    assert not recorded("claude-code/count-tokens").stream
    assert any(tool["type"] == "custom" for tool in recorded("codex/first-turn").body["tools"])


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    for name in ("claude", "../__init__", "codex/first-turn.json"):
        with pytest.raises(LookupError, match=r"no recorded request .*; there are: aider/chat, "):
            recorded(name)


def test_they_are_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {f"penstock/testing/recorded/{name}.json" for name in recorded_names()} <= packed
