"""gateway.yaml, option by option: what it is without a word, what it can say, and where it is wrong."""

from pathlib import Path

import pytest

from penstock.config import load
from penstock.gatewayfile import GatewayFile
from tests.core.places import PLUGINS, mistakes, write

PIPELINE = {**PLUGINS, "pipelines/a.yaml": "plugins: [knobs]\n"}


def read(root: Path, text: str) -> GatewayFile:
    write(root, {**PIPELINE, "pipelines/gateway.yaml": text})
    files = load(root / "pipelines", {})
    assert not files.problems
    return files.gateway


def test_without_it_a_gateway_serves_this_machine_only(tmp_path: Path) -> None:
    write(tmp_path, PIPELINE)
    file = load(tmp_path / "pipelines", {}).gateway
    assert (file.bind, file.workers, file.store, file.debug) == ("127.0.0.1:4000", 1, "memory:", False)


def test_what_it_says_counts(tmp_path: Path) -> None:
    file = read(tmp_path, "bind: '[::1]:0'\nping: 500ms\nbody_limit: 10\ntrusted_proxies: [10.0.0.1]\ndebug: true\n")
    assert (file.bind, file.ping, file.body_limit) == ("[::1]:0", 0.5, 10)
    assert (file.trusted_proxies, file.debug) == (("10.0.0.1",), True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 0", "1:10: expected int >= 1"),
        ("workers: two", "1:10: expected int"),
        ("body_limit: -1", "1:13: expected int >= 1"),
        ("ping: soon", "1:7: expected a duration"),
        ("tls: {cert: a.pem}", "1:1: missing required option 'key'"),
        ("debug: maybe", "1:8: expected bool"),
        ("trusted_proxies: 10.0.0.1", "1:18: expected "),
    ],
)
def test_a_wrong_value_is_told_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    (told,) = mistakes(tmp_path, {**PIPELINE, "pipelines/gateway.yaml": f"{text}\n"})
    assert told.startswith(f"pipelines/gateway.yaml:{message}"), told
