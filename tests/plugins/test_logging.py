"""The request log: one line per exchange, what it says and does not say, and where it goes."""

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from penstock import (
    Attempt,
    Exchange,
    Gateway,
    Overloaded,
    Principal,
    Prompt,
    Request,
    Target,
    Unauthenticated,
    Upstream,
    UpstreamFailed,
    Usage,
)
from penstock_logging import Logging

NOBODY = cast(Any, None)  # these hooks never ask a protocol or the gateway
SECRET_TEXT = "the secret of the prompt"


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def start(folder: Path, to: str, clock: Clock | None = None) -> Logging:
    plugin = Logging(to=to)
    log = logging.LoggerAdapter(logging.getLogger("penstock.test.logging"), {})
    for name, value in {"folder": folder, "clock": clock or Clock(), "log": log}.items():
        setattr(plugin, name, value)
    plugin.startup(cast(Gateway, NOBODY))
    return plugin


def exchange(model: str = "claude-opus-5-5", **headers: str) -> Exchange:
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": SECRET_TEXT}]})
    return Exchange(
        pipeline="team",
        protocol=NOBODY,
        operation="generate",
        request=Request(body.encode(), lambda _: Prompt(), session="11d4-session"),
        headers={"user-agent": "claude-cli/2.1.329 (external, cli)", "x-api-key": "pk-" + "s" * 43, **headers},
        query="key=hidden",
        peer="10.0.0.7",
        upstreams={},
        started=10.0,
    )


def tried(number: int, upstream: str, model: str, seconds: float) -> Attempt:
    attempt = Attempt(number, Target(upstream, model), Upstream(name=upstream, protocol=NOBODY))
    attempt.seconds = seconds
    return attempt


def answered() -> Exchange:
    done = exchange()
    done.principal = Principal(user="alice", team="platform", key="laptop")
    busy, good = tried(1, "anthropic", "", 0.25), tried(2, "openrouter", "anthropic/claude-opus-5.5", 1.5)
    busy.status, busy.error = 529, Overloaded("Overloaded", status=529)
    good.status, good.request_id = 200, "up-1"
    done.attempts = [busy, good]
    done.status, done.outcome, done.stop_reason = 200, "ok", "tool_use"
    done.usage = Usage(input=12, cache_read=300, cache_write=40, cache_write_1h=2, output=70, reasoning=5)
    done.served_model = "anthropic/claude-opus-5.5"
    done.first_event, done.ended = 10.7512, 12.0
    done.repairs = {"closed block": 1}
    return done


def written(plugin: Logging, path: Path, *exchanges: Exchange) -> list[dict[str, Any]]:
    for each in exchanges:
        plugin.on_complete(each)
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(folder: Path, *exchanges: Exchange) -> dict[str, Any]:
    plugin = start(folder, "requests.jsonl")
    line = written(plugin, folder / "requests.jsonl", *exchanges)[-1]
    plugin.shutdown(cast(Gateway, NOBODY))
    return line


def test_the_line_says_who_what_how_and_how_much(tmp_path: Path) -> None:
    done = answered()
    line = logged(tmp_path, done)
    time = line.pop("time")
    assert time.endswith("Z")
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(time) < timedelta(minutes=1)
    assert line == {
        "request_id": done.id,
        "pipeline": "team",
        "operation": "generate",
        "user": "alice",
        "team": "platform",
        "key": "laptop",
        "session": "11d4-session",
        "agent": "claude-cli/2.1.329",
        "client": "10.0.0.7",
        "stream": True,
        "model": "claude-opus-5-5",
        "served_model": "anthropic/claude-opus-5.5",
        "upstream": "openrouter",
        "attempts": [
            {
                "upstream": "anthropic",
                "model": "claude-opus-5-5",
                "status": 529,
                "error": "overloaded",
                "seconds": 0.25,
            },
            {
                "upstream": "openrouter",
                "model": "anthropic/claude-opus-5.5",
                "status": 200,
                "request_id": "up-1",
                "seconds": 1.5,
            },
        ],
        "status": 200,
        "outcome": "ok",
        "stop_reason": "tool_use",
        "tokens": {"input": 12, "cache_read": 300, "cache_write": 42, "output": 70, "reasoning": 5},
        "first_event": 0.751,
        "total": 2.0,
        "repairs": {"closed block": 1},
    }


def test_what_is_unknown_is_left_out(tmp_path: Path) -> None:
    refused = exchange()
    refused.headers = {}
    refused.status, refused.outcome, refused.ended = 401, "error", 10.001
    refused.error = Unauthenticated("no API key")
    line = logged(tmp_path, refused)
    assert set(line) == {
        *("time", "request_id", "pipeline", "operation", "session", "client", "stream", "model"),
        *("status", "outcome", "error", "total"),
    }
    assert line["error"] == {"kind": "unauthenticated", "message": "no API key"}
    assert line["total"] == 0.001


def test_estimates_and_simulated_answers_are_marked(tmp_path: Path) -> None:
    done = answered()
    done.usage, done.simulated = Usage(output=3, estimated=True), True
    line = logged(tmp_path, done)
    assert line["tokens"] == {"input": 0, "output": 3, "estimated": True}
    assert line["simulated"] is True


def test_a_cancelled_exchange_is_logged_as_such(tmp_path: Path) -> None:
    gone = answered()
    gone.outcome = "cancelled"
    assert logged(tmp_path, gone)["outcome"] == "cancelled"


def test_contents_credentials_and_queries_are_never_written(tmp_path: Path) -> None:
    logged(tmp_path, answered(), exchange(authorization="Bearer hello-there-token"))
    text = (tmp_path / "requests.jsonl").read_text()
    assert not [secret for secret in (SECRET_TEXT, "s" * 43, "hello-there-token", "hidden") if secret in text]


HEX = "0123456789abcdef" * 3


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Incorrect API key provided: sk-proj-abc123*****XYZ9.", "Incorrect API key provided: [redacted]"),
        ("invalid x-api-key sk-ant-api03-AbC_d-eF0123456789", "invalid x-api-key [redacted]"),
        ("key pk-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE is unknown", "key [redacted] is unknown"),
        ("got Authorization: Bearer abcdef.GHI-123", "got Authorization: Bearer [redacted]"),
        ("POST /v1/models?key=AIzaSyD-1234567&alt=sse failed", "POST /v1/models?key=[redacted]&alt=sse failed"),
        ("token gsk_a1b2c3d4e5f6 expired", "token [redacted] expired"),
        ('{"api_key": "swordfish", "n": 1}', '{"api_key": "[redacted]", "n": 1}'),
        ("x-api-key: 1234-abcd-5678-efgh; next", "x-api-key: [redacted]; next"),
        (f"unknown account {HEX}", "unknown account [redacted]"),
        ("bad blob aGVsbG8gd29ybGQsIHRoaXMgaXMgYSBsb25nIHRleHQ=", "bad blob [redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc is no token", "[redacted] is no token"),
    ],
)
def test_credentials_in_error_texts_are_taken_out(tmp_path: Path, said: str, kept: str) -> None:
    failed = exchange()
    failed.error = UpstreamFailed(said, detail=said)
    assert logged(tmp_path, failed)["error"] == {"kind": "upstream_failed", "message": kept, "detail": kept}


@pytest.mark.parametrize(
    "said",
    [
        "no API key: send it as `authorization: Bearer ...` or `x-api-key`",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "model claude-opus-4-5-20250929-with-extended-thinking is not served here",
        "/usr/local/lib/python3/dist-packages/penstock/engine.py:123: task 0f8e2f0a-1c9f-4e6e-9d7a-6f2d0f3b1c22",
        "missing key: 'model' (risk-based-routing)",
    ],
)
def test_ordinary_error_texts_stay_readable(tmp_path: Path, said: str) -> None:
    failed = exchange()
    failed.error = UpstreamFailed(said)
    assert logged(tmp_path, failed)["error"]["message"] == said


def test_a_huge_error_text_is_cut(tmp_path: Path) -> None:
    failed = exchange()
    failed.error = UpstreamFailed("word " * 1_000_000)
    assert len(logged(tmp_path, failed)["error"]["message"]) == 1000


def test_a_client_cannot_forge_lines_or_reach_the_terminal(tmp_path: Path) -> None:
    nasty = 'x\r\n{"user":"root"}\u2028\x1b[31m\x9b1m'
    forged = exchange(model=nasty + "m" * 220, **{"user-agent": "a\x1b[2Jb" + "c" * 1000})
    line = logged(tmp_path, forged)
    raw = (tmp_path / "requests.jsonl").read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw.rstrip(b"\n"))
    assert line["model"].startswith(nasty)
    assert len(line["model"]) == len(line["agent"]) == 200


@pytest.mark.parametrize("to", ["stdout", "stderr"])
def test_the_streams(tmp_path: Path, to: str, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = start(tmp_path, to)
    plugin.on_complete(answered())
    plugin.shutdown(cast(Gateway, NOBODY))
    captured = capfd.readouterr()
    assert json.loads(captured.out if to == "stdout" else captured.err)["user"] == "alice"
    assert not (captured.err if to == "stdout" else captured.out)
    assert not list(tmp_path.iterdir())


def test_a_file_is_made_with_its_folders_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "today" / "requests.jsonl"
    for number in (1, 2):  # as after a restart
        plugin = start(tmp_path, "logs/today/requests.jsonl")
        assert len(written(plugin, path, answered())) == number
        plugin.shutdown(cast(Gateway, NOBODY))


@pytest.mark.parametrize("to", ["folder", "file/below/a/file.jsonl"])
def test_a_file_that_cannot_be_written_refuses_the_start(tmp_path: Path, to: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"`to`: cannot write {tmp_path / to}: (Is|Not) a directory"):
        start(tmp_path, to)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="`to` must be stdout, stderr or a file"):
        Logging(to="")


def test_a_rotated_file_is_followed(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "requests.jsonl"
    plugin = start(tmp_path, "requests.jsonl", clock)
    plugin.on_complete(answered())
    path.rename(tmp_path / "requests.jsonl.1")
    clock.now += 0.5
    plugin.on_complete(answered())  # looks at most once a second
    assert not path.exists()
    clock.now += 0.5
    assert len(written(plugin, path, answered())) == 1
    assert len(written(plugin, tmp_path / "requests.jsonl.1")) == 2
    path.rename(tmp_path / "requests.jsonl.2")
    path.touch()  # some rotations make the new file themselves
    clock.now += 1
    assert len(written(plugin, path, answered(), answered())) == 2
    assert open_files(tmp_path) == [path]
    plugin.shutdown(cast(Gateway, NOBODY))
    assert open_files(tmp_path) == []


def open_files(folder: Path) -> list[Path]:
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.is_symlink():  # the listing's own is gone by now
            targets.append(descriptor.readlink())
    return [target for target in targets if target.is_relative_to(folder)]


WORKER = """
import sys
from pathlib import Path
from tests.plugins.test_logging import answered, start
plugin = start(Path(sys.argv[1]), "requests.jsonl")
for _ in range(300):
    plugin.on_complete(answered())
"""


def test_several_workers_share_a_file(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], cwd=root) for _ in range(3)]
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert len({line["request_id"] for line in lines}) == 900


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_reported_once_and_fails_no_exchange(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin = start(tmp_path, "/dev/full")
    for _ in range(3):
        plugin.on_complete(answered())
    (record,) = caplog.records
    assert record.getMessage() == "request log /dev/full cannot be written, lines are being lost: " + os.strerror(28)


def test_trouble_that_comes_back_is_reported_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, path = Clock(), tmp_path / "logs" / "requests.jsonl"
    plugin = start(tmp_path, "logs/requests.jsonl", clock)
    for _ in range(2):
        path.unlink()
        path.parent.rmdir()
        path.parent.touch()  # a file where the folder was
        clock.now += 1
        plugin.on_complete(answered())
        path.parent.unlink()
        clock.now += 1
        assert len(written(plugin, path, answered())) == 1
    assert [record.getMessage().split(" cannot")[0] for record in caplog.records] == [
        "request log logs/requests.jsonl"
    ] * 2
    plugin.shutdown(cast(Gateway, NOBODY))


def test_half_a_surrogate_pair_loses_no_line(tmp_path: Path) -> None:
    odd = answered()
    odd.error = UpstreamFailed("half \ud83d of it")
    assert logged(tmp_path, odd)["error"]["message"] == "half \ud83d of it"


def test_what_an_upstream_calls_its_model_is_cut(tmp_path: Path) -> None:
    odd = answered()
    odd.served_model = "m" * 100_000
    assert logged(tmp_path, odd)["served_model"] == "m" * 200


def test_a_key_of_32_hexadecimal_digits_is_taken_out(tmp_path: Path) -> None:
    odd = answered()
    odd.error = UpstreamFailed(f"no such {'0123456789abcdef' * 2} here")
    assert logged(tmp_path, odd)["error"]["message"] == "no such [redacted] here"
