"""Upstreams in a file: what is wrong with one, and what a preset and the environment make of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.catalogue import Catalogue
from penstock.document import Document
from penstock.reach import Made, read_upstream

HOME = "protocol: anthropic, url: 'http://h'"


def read(text: str, env: Mapping[str, str] | None = None, folder: Path | None = None) -> tuple[Made | None, list[str]]:
    """The upstream that is written as `text`, and its problems with their columns in `text`."""
    before = "upstreams: {x: "
    document = Document.parse(f"{before}{text}}}", str((folder or Path("pipelines")) / "a.yaml"), env or {})
    made, problems = read_upstream(document, "x", Catalogue(None), env or {})
    return made, [f"{problem.column - len(before)}: {problem.message}" for problem in problems]


def made(text: str, **env: str) -> Made:
    upstream, problems = read(text, env)
    assert problems == []
    assert upstream is not None
    return upstream


MISTAKES = {
    "5": ["1: expected mapping, got int"],
    "{}": ["1: an upstream needs a `preset`, or a `protocol` and a `url`"],
    "{url: 'http://h'}": ["1: an upstream needs a `preset`, or a `protocol` and a `url`"],
    "{protocol: anthropic}": ["1: an upstream needs a `preset`, or a `protocol` and a `url`"],
    "{protocol: antropic, url: ftp}": [
        "12: unknown protocol 'antropic'; did you mean 'anthropic'?",
        "27: url must be http(s)://host/path, got 'ftp'",
    ],
    "{protocol: anthropic, url: 'http://h/v1?beta=1'}": [
        "28: url must be http(s)://host/path, got 'http://h/v1?beta=1'"
    ],
    "{preset: zia}": ["10: unknown preset 'zia'; did you mean 'zai'?"],
    "{preset: iflow}": ["10: preset 'iflow': "],
    "{preset: bedrock}": ["10: preset 'bedrock' needs `parameters: {region: ...}`"],
    "{preset: vertex, parameters: {location: eu}}": ["10: preset 'vertex' needs `parameters: {project: ...}`"],
    "{preset: bedrock, parameters: {regoin: eu}}": [
        "32: unknown parameter 'regoin'; did you mean 'region'?",
        "10: preset 'bedrock' needs `parameters: {region: ...}`",
    ],
    "{preset: zai, parameters: {region: eu}}": ["28: unknown parameter 'region'; there are: none"],
    f"{{{HOME}, key: 5}}": ["45: expected text, got int; quote it"],
    f"{{{HOME}, tiemout: 3, auth: basic, idle_timeout: soon}}": [
        "58: 'basic' is not one of bearer, x-api-key, api-key, x-goog-api-key, none",
        "79: expected a duration such as 30s, 10m or 1h30m, got 'soon'",
        "40: unknown option 'tiemout'; did you mean 'timeout'?",
    ],
    f"{{{HOME}, quirks: {{count_token: true}}}}": ["49: unknown quirk 'count_token'; did you mean 'count_tokens'?"],
    f"{{{HOME}, quirks: {{count_tokens: 5}}}}": ["63: expected bool, got int"],
    f"{{{HOME}, model_quirks: {{m: {{novel: 1}}}}}}": ["59: unknown quirk 'novel'; allowed: "],
    f"{{{HOME}, models: [{{nme: m}}]}}": [
        "49: missing required option 'id'",
        "50: unknown option 'nme'; did you mean 'name'?",
    ],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_every_mistake_is_told_where_it_stands(text: str) -> None:
    upstream, problems = read(text)
    assert upstream is None
    expected = MISTAKES[text]
    assert len(problems) == len(expected)
    assert all(map(str.startswith, sorted(problems), sorted(expected)))


def test_a_preset_that_is_gone_says_what_to_use_instead() -> None:
    (problem,) = read("{preset: github-models}")[1]
    assert len(problem) > len("10: preset 'github-models': ") + 20


def test_a_name_that_could_not_be_part_of_a_target() -> None:
    document = Document.parse(f"upstreams: {{'a/b': {{{HOME}}}}}", "a.yaml", {})
    upstream, problems = read_upstream(document, "a/b", Catalogue(None), {})
    assert upstream is None
    assert [str(problem).splitlines()[0] for problem in problems] == [
        "a.yaml:1:13: an upstream's name holds letters, digits, '-', '_' and '.'"
    ]


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"", ""), (b"not a certificate", "")]
)
def test_a_ca_file_is_read_at_once(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    upstream, (problem,) = read(f"{{{HOME}, ca_file: ca.pem}}", folder=tmp_path)
    assert upstream is None
    assert problem.startswith(f"49: no PEM certificates can be read from {tmp_path}/ca.pem: {reason}")
    assert not problem.endswith((": ", "None"))


# ---------------------------------------------------------------- what comes of it


def test_a_preset_brings_everything_but_the_key() -> None:
    upstream, reach = made("{preset: zai}", ZAI_API_KEY="zai-secret")
    assert (upstream.name, upstream.protocol.name) == ("x", "anthropic")
    assert (upstream.credential, upstream.missing) == ("ZAI_API_KEY", "")
    assert [model.upstream for model in upstream.models] == ["x"] * len(upstream.models) != []
    assert reach.url.startswith("https://")
    assert reach.key.reveal() == "zai-secret"
    assert "zai-secret" not in f"{upstream} {reach}"


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("{preset: zai}", ("ZAI_API_KEY", "Z_AI_API_KEY")),
        ("{preset: zai, key: mine}", ()),
        ("{preset: zai, auth: none}", ()),
        (f"{{{HOME}}}", ()),
    ],
)
def test_in_which_variables_a_key_is_looked_for(text: str, variables: tuple[str, ...]) -> None:
    assert made(text)[0].variables == variables


@pytest.mark.parametrize(
    ("text", "env", "credential", "missing"),
    [
        ("{preset: zai}", {}, "", "set ZAI_API_KEY or Z_AI_API_KEY"),
        ("{preset: zai}", {"ZAI_API_KEY": "", "Z_AI_API_KEY": "k"}, "Z_AI_API_KEY", ""),
        ("{preset: zai, key: mine}", {"ZAI_API_KEY": "k"}, "key in the file", ""),
        ("{preset: zai, key: '${K}'}", {"K": "", "ZAI_API_KEY": "k"}, "key in the file", "its key is empty"),
        ("{preset: zai, auth: none}", {}, "", ""),
        ("{preset: ollama}", {}, "", ""),
        (f"{{{HOME}}}", {}, "", ""),
        (f"{{{HOME}, key: ''}}", {}, "key in the file", "its key is empty"),
    ],
)
def test_where_the_key_comes_from(text: str, env: dict[str, str], credential: str, missing: str) -> None:
    upstream, _ = made(text, **env)
    assert (upstream.credential, upstream.missing) == (credential, missing)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{preset: zai, key: '${K}'}", "20: key in the file: a line break, or"),
        ("{preset: zai}", "1: ZAI_API_KEY: a line break, or"),
    ],
)
def test_a_key_that_no_header_can_hold(text: str, problem: str) -> None:
    found = read(text, {"K": "secret-key\n", "ZAI_API_KEY": "secret-key\n"})[1]
    assert len(found) == 1
    assert found[0].startswith(problem)
    assert "secret" not in found[0]


def test_parameters_fill_in_a_presets_address() -> None:
    _, reach = made("{preset: vertex, parameters: {location: eu, project: p-1}, key: k}")
    assert reach.url == "https://eu-aiplatform.googleapis.com/v1/projects/p-1/locations/eu/publishers/google"


def test_whoever_gives_the_address_need_not_give_what_is_in_it() -> None:
    _, reach = made("{preset: bedrock, url: 'http://proxy/bedrock', key: k}")
    assert reach.url == "http://proxy/bedrock"


def test_a_file_may_override_what_a_preset_says() -> None:
    text = "{preset: zai, url: 'http://h', auth: api-key, headers: {X-Team: t}, models: [one, {id: two, name: Two}]}"
    upstream, reach = made(text)
    assert (reach.url, reach.auth, reach.headers["x-team"]) == ("http://h", "api-key", "t")
    assert [(model.id, model.name) for model in upstream.models] == [("one", "one"), ("two", "Two")]


def test_the_protocol_says_how_to_send_the_key_unless_told_otherwise() -> None:
    assert made(f"{{{HOME}}}").reach.auth == "x-api-key"
    assert made("{protocol: openai-chat, url: 'http://h'}").reach.auth == "bearer"


def test_quirks_of_a_model_go_over_those_of_its_upstream() -> None:
    text = f"{{{HOME}, quirks: {{count_tokens: false}}, model_quirks: {{odd*: {{count_tokens: true}}}}}}"
    upstream = made(text).upstream
    assert (upstream.quirks_of("odd-1").count_tokens, upstream.quirks_of("even").count_tokens) == (True, False)


def test_time_limits_are_seconds() -> None:
    limits = made(
        f"{{{HOME}, connect_timeout: 250ms, first_byte_timeout: 5, timeout: 1h, max_connections: 7}}"
    ).reach.limits
    assert (limits.connect, limits.first_byte, limits.total, limits.connections) == (0.25, 5.0, 3600.0, 7)
    assert limits.idle == 300.0
