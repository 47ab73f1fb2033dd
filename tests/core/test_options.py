"""How option values in YAML become durations, secrets and targets."""

from typing import Any

import msgspec
import pytest

from penstock import Duration, Plugin, Secret, Target, Targets
from penstock.options import decode_hook, parse_duration, schema_hook

UPSTREAMS = {"zai": object(), "openrouter": object()}


class Options(Plugin):
    """Everything at once."""

    wait: Duration = 1.0
    password: Secret | None = None
    to: Targets = Targets()


def read(**options: Any) -> Options:
    return msgspec.convert(options, Options, dec_hook=decode_hook(UPSTREAMS))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("7d", 604800),
    ],
)
def test_durations_are_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds
    assert read(wait=written).wait == seconds


@pytest.mark.parametrize(
    "written", ["", "fast", "10 minutes", "10m later", "-1s", -1, True, float("inf"), float("nan")]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


def test_a_secret_never_prints() -> None:
    options = read(password="hunter2-hunter2")
    assert options.password is not None
    assert options.password.reveal() == "hunter2-hunter2"
    for text in (repr(options), str(options), f"{options.password}", f"{options.password!r}"):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("written", "targets"),
    [
        ("zai", [Target("zai")]),
        ("openrouter/qwen/qwen3", [Target("openrouter", "qwen/qwen3")]),
        ("openrouter,qwen/qwen3", [Target("openrouter", "qwen/qwen3")]),
        (["zai/glm", "openrouter"], [Target("zai", "glm"), Target("openrouter")]),
    ],
)
def test_targets_name_an_upstream_and_perhaps_a_model(written: object, targets: list[Target]) -> None:
    assert list(read(to=written).to) == targets


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("zia/x", "unknown upstream 'zia'; did you mean 'zai'?"),
        ("other", "there are: openrouter, zai"),
        ([], "list"),
        (5, "list"),
    ],
)
def test_wrong_targets_are_refused_with_a_way_out(written: object, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        read(to=written)
    assert message in str(caught.value)


def test_editors_get_a_schema() -> None:
    (schema,), _ = msgspec.json.schema_components([Options], schema_hook=schema_hook)
    assert schema
