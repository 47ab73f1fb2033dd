"""`penstock explain --time`: made-up requests go through the true steps, and leave nothing behind."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.testing.gateway import clean_environment
from penstock_auth.keys import hash_of, new_key
from tests.core.places import write

KEY = new_key()
BUSY = '''
"""Takes its time over requests and every text."""
import time
from penstock import Exchange, Plugin, Text, hookimpl

class Busy(Plugin):
    """Takes a millisecond for each request."""
    seconds: float = 0.001

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        time.sleep(self.seconds)

    @hookimpl
    def on_event(self, event: Text) -> None: ...
'''
REACHING = '''
"""Reaches for the world outside."""
import pathlib, socket, subprocess
from penstock import Exchange, Plugin, hookimpl

class Reaching(Plugin):
    """Does something outside."""
    what: str
    when: str = "startup"

    def reach(self):
        if self.what == "connect":
            socket.create_connection(("127.0.0.1", 9))
        elif self.what == "write":
            pathlib.Path("{root}/written").write_text("x")
        elif self.what == "remove":
            pathlib.Path("{root}/kept").unlink()
        elif self.what == "rename":
            pathlib.Path(self.folder / "own").write_text("x")
            pathlib.Path(self.folder / "own").rename("{root}/kept")
        elif self.what == "run":
            subprocess.run(["touch", "{root}/written"])

    @hookimpl
    def startup(self) -> None:
        if self.when == "startup":
            self.reach()

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if self.when == "on_request":
            self.reach()

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None:
        if self.when == "on_complete":
            self.reach()
'''
UPSTREAM = "path: /\nupstreams:\n  main: {protocol: anthropic, url: 'http://127.0.0.1:9', key: '${KEY:-}'}\n"
LOCAL = UPSTREAM + "plugins:\n- logging: {to: ../logs/requests.jsonl}\n- busy\n- translation\n"
TEAM = UPSTREAM + (
    "plugins:\n- auth: {keys: ../keys.yaml}\n- usage\n- limits: {requests_per_minute: 2}\n- busy: {seconds: 0.0}\n"
    "- translation\nteams:\n  slow: {busy: {seconds: 0.002}}\n"
)
KEYS = f"keys:\n- {{hash: '{hash_of(KEY)}', user: ann, team: slow}}\n"
BESIDE = {"keys.yaml": KEYS}


def timed(root: Path, pipeline: str, *arguments: str, files: Mapping[str, str] | None = None) -> str:
    """What the command says about a pipeline; it runs as a process, which an audit hook never leaves."""
    reaching = REACHING.replace("{root}", str(root))
    local = {"plugins/busy.py": BUSY, "plugins/reaching.py": reaching, "pipelines/p.yaml": pipeline}
    write(root, {**local, **(files or {})})
    command = [sys.executable, "-m", "penstock", "explain", "--time", str(root / "pipelines/p.yaml"), *arguments]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def rows(said: str, step: str, hook: str) -> list[tuple[float, float]]:
    """Calls per answer and microseconds per call, of each table."""
    found = re.findall(rf"^ +{step} +{hook} +([\d.]+) +([\d.]+) ", said, re.MULTILINE)
    return [(float(calls), float(each)) for calls, each in found]


def test_a_slow_hook_is_seen(tmp_path: Path) -> None:
    said = timed(tmp_path, LOCAL)
    assert re.search(r"100 streamed answers of 101 events, \d+ us each\n", said)
    assert re.search(r"100 whole answers, \d+ us each\n", said)
    requests = rows(said, "busy", "on_request")
    assert len(requests) == 2
    assert all(calls == 1 and each >= 1000 for calls, each in requests)
    assert [calls for calls, _ in rows(said, "busy", "on_event")] == [96, 96]
    assert "not timed" not in said


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = {*tmp_path.rglob("*")}
    said = timed(tmp_path, TEAM, files=BESIDE)
    left = {path.relative_to(tmp_path) for path in {*tmp_path.rglob("*")} - before if path.is_file()}
    kept = {path for path in left if "__pycache__" not in path.parts}
    assert {str(path) for path in kept} == {
        *("keys.yaml", "pipelines/p.yaml", "plugins/busy.py", "plugins/reaching.py")
    }
    assert rows(said, "usage", "on_complete")
    assert "not timed: auth: give it a key, with --key" in said


def test_limits_do_not_stop_a_trial(tmp_path: Path) -> None:
    said = timed(tmp_path, TEAM, files=BESIDE)
    assert [calls for calls, _ in rows(said, "limits", "on_request")] == [1, 1]


def test_a_team_has_its_own_times(tmp_path: Path) -> None:
    others = rows(timed(tmp_path, TEAM, files=BESIDE), "busy", "on_request")
    said = timed(tmp_path, TEAM, "--team", "slow", files=BESIDE)
    assert "p.yaml), team slow" in said
    assert all(each >= 2000 for _, each in rows(said, "busy", "on_request"))
    assert any(each < 2000 for _, each in others), "one that is held up by the machine is no proof"


def test_a_key_is_asked_with(tmp_path: Path) -> None:
    said = timed(tmp_path, TEAM, "--key", KEY, files=BESIDE)
    assert [calls for calls, _ in rows(said, "auth", "on_request")] == [1, 1]
    assert all(each >= 2000 for _, each in rows(said, "busy", "on_request")), "the key is of a slow team"
    assert KEY not in said
    said = timed(tmp_path, TEAM, "--key", "pk-unknown", files=BESIDE)
    assert said.count("refused with 401: this API key is not known here") == 2
    assert "pk-unknown" not in said


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("connect", "connects to nothing"),
        ("write", "writes nothing"),
        ("remove", "writes nothing"),
        ("rename", "writes nothing"),
        ("run", "starts no program"),
    ],
)
def test_a_step_that_reaches_outside_is_not_timed(tmp_path: Path, what: str, reason: str) -> None:
    (tmp_path / "kept").write_text("as it was")
    said = timed(tmp_path, LOCAL.replace("- busy", f"- reaching: {{what: {what}}}\n- busy"))
    assert re.search(rf"^  not timed: reaching: .*a trial run {reason}", said, re.MULTILINE)
    assert rows(said, "busy", "on_request")
    assert (tmp_path / "kept").read_text() == "as it was"
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("hook", ["on_request", "on_complete"])
def test_neither_is_one_that_does_so_later(tmp_path: Path, hook: str) -> None:
    said = timed(tmp_path, LOCAL.replace("- busy", f"- reaching: {{what: connect, when: {hook}}}\n- busy"))
    reason = f"its {hook} fails with ConnectionRefusedError: .*a trial run connects to nothing"
    assert len(re.findall(rf"^  not timed: reaching: {reason}", said, re.MULTILINE)) == 1
    assert len(rows(said, "busy", "on_request")) == 2


def test_a_pipeline_that_refuses_says_why(tmp_path: Path) -> None:
    said = timed(tmp_path, UPSTREAM + "plugins: [models: {routes: {m: main}}, translation]\n", "--model", "other")
    assert "streamed answers of 101 events: refused with 404: model 'other' is not offered here" in said


def test_a_pipeline_without_a_protocol_says_so(tmp_path: Path) -> None:
    assert "no step serves a client protocol" in timed(tmp_path, UPSTREAM + "plugins: [busy]\n")
