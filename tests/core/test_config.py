"""The files of a gateway: the mistakes of all of them are told at once; what is shared is everybody's."""

from pathlib import Path

import pytest

from penstock.cli.describe import compiled
from penstock.config import load
from penstock.problems import ConfigError
from tests.core.places import PLUGINS, compiled_in, mistakes, told, write


def test_the_mistakes_of_all_files_and_of_all_kinds_are_told_at_once(tmp_path: Path) -> None:
    files = {
        "pipelines/a.yaml": "pth: /\nupstreams: {x: {preset: zia}}\n"
        "plugins: [meter, who, knob]\nteams: {t: {who: false}}\n",
        "pipelines/b.yaml": "plugins: [knobs: {ttl: soon}]\n",
        "pipelines/c.yaml": "plugins: [\n",
        "pipelines/gateway.yaml": "wrkers: 2\n",
    }
    assert mistakes(tmp_path, files) == [
        "pipelines/a.yaml:1:1: unknown key 'pth'; did you mean 'path'?",
        "pipelines/a.yaml:2:25: unknown preset 'zia'; did you mean 'zai'?",
        "pipelines/a.yaml:3:11: 'meter' needs the principal, which 'who' provides further down: move it up",
        "pipelines/a.yaml:3:23: unknown plugin 'knob'; did you mean 'knobs'?",
        "pipelines/a.yaml:4:13: a team cannot change 'who': it runs before 'who' has said which team it is",
        "pipelines/b.yaml:1:24: expected a duration such as 30s, 10m or 1h30m, got 'soon'",
        "pipelines/c.yaml:2:1: not valid YAML: did not find expected node content",
        "pipelines/gateway.yaml:1:1: unknown option 'wrkers'; did you mean 'workers'?",
    ]


def test_two_pipelines_cannot_have_the_same_path(tmp_path: Path) -> None:
    files = {
        "pipelines/a.yaml": "path: /\nplugins: [knobs]\n",
        "pipelines/b.yaml": "path: /\nplugins: [knobs]\n",
        "pipelines/c.yaml": "path: /d/\nplugins: [knobs]\n",
        "pipelines/d.yaml": "plugins: [knobs]\n",
    }
    assert mistakes(tmp_path, files) == [
        "pipelines/b.yaml:1:7: the path '/' is also that of pipelines/a.yaml; each pipeline needs its own",
        "pipelines/d.yaml:1:1: the path '/d' is also that of pipelines/c.yaml; each pipeline needs its own",
    ]


def test_wrong_paths_are_not_the_same_path(tmp_path: Path) -> None:
    files = {f"pipelines/{name}.yaml": "path: no\nplugins: [knobs]\n" for name in "ab"}
    assert [problem.partition(": ")[0] for problem in mistakes(tmp_path, files)] == [
        "pipelines/a.yaml:1:7",
        "pipelines/b.yaml:1:7",
    ]


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": b"path: /\xff\n", "pipelines/gateway.yaml": b"\xfe"}
    assert mistakes(tmp_path, files) == [
        "pipelines/a.yaml:1:1: is not UTF-8: invalid start byte at byte 7",
        "pipelines/gateway.yaml:1:1: is not UTF-8: invalid start byte at byte 0",
    ]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "pipelines/a.yaml").mkdir(parents=True)
    assert mistakes(tmp_path, {}) == ["pipelines/a.yaml:1:1: cannot be read: Is a directory"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere:1:1: no such file or folder"),
        ("pipelines/b.yaml", "pipelines/b.yaml:1:1: no such file or folder"),
        ("plugins", "plugins:1:1: the folder has no pipeline (a .yaml or .yml file)"),
    ],
)
def test_a_place_without_pipelines(tmp_path: Path, place: str, message: str) -> None:
    write(tmp_path, {**PLUGINS, "pipelines/a.yaml": "plugins: [knobs]\n", "plugins/gateway.yaml": ""})
    with pytest.raises(ConfigError) as caught:
        compiled(tmp_path / place, {})
    assert told(tmp_path, caught.value) == [message]


# ---------------------------------------------------------------- gateway.yaml

SHARED = """
upstreams:
  shared: {protocol: anthropic, url: "https://one.example"}
  other: {preset: zai}
ping: 1s
"""


def test_upstreams_of_gateway_yaml_are_everybodys_unless_replaced(tmp_path: Path) -> None:
    files = {
        "pipelines/gateway.yaml": SHARED,
        "pipelines/a.yaml": "plugins: [knobs: {to: [shared, other/glm]}]\n",
        "pipelines/b.yaml": 'upstreams: {shared: {protocol: openai-chat, url: "https://two.example"}}\n'
        "plugins: [knobs: {to: shared}]\n",
    }
    first, second = compiled_in(tmp_path, files)
    assert list(first.file.upstreams) == list(second.file.upstreams) == ["shared", "other"]
    assert first.file.upstreams["shared"].protocol.name == "anthropic"
    assert second.file.upstreams["shared"].protocol.name == "openai-chat"
    assert second.file.reaches["shared"].url == "https://two.example"
    assert first.file.gateway.ping == 1.0


def test_mistakes_in_gateway_yaml_stand_there_and_once(tmp_path: Path) -> None:
    files = {
        "pipelines/gateway.yaml": "bnd: x\nworkers: 0\nbody_limit: 1MB\ntls: {cert: a.pem}\nstore: reddis://somewhere\n"
        'upstreams:\n  shared: {preset: zia}\n  other: {protocol: anthropic, url: "one.example"}\n',
        "pipelines/a.yaml": "plugins: [knobs: {to: shared}]\n",
        "pipelines/b.yaml": "plugins: [knobs: {to: [other, shared]}]\n",
    }
    assert mistakes(tmp_path, files) == [
        "pipelines/gateway.yaml:1:1: unknown option 'bnd'; did you mean 'bind'?",
        "pipelines/gateway.yaml:2:10: expected int >= 1",
        "pipelines/gateway.yaml:3:13: expected int, got str",
        "pipelines/gateway.yaml:4:1: missing required option 'key'",
        "pipelines/gateway.yaml:7:20: unknown preset 'zia'; did you mean 'zai'?",
        "pipelines/gateway.yaml:8:37: url must be http(s)://host/path, got 'one.example'",
    ]


def test_a_store_that_is_not_installed(tmp_path: Path) -> None:
    files = {"pipelines/gateway.yaml": "store: reddis://host\n", "pipelines/a.yaml": "plugins: [knobs]\n"}
    assert mistakes(tmp_path, files) == [
        "pipelines/gateway.yaml:1:8: no store is installed for 'reddis'; did you mean 'redis'?"
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("reddis://:hunter2@host", "no store is installed for 'reddis'"),
        ("redis://:hunter2/3@host", "the store cannot be used: write redis://"),
        ("redis://:hunter2@host?tls=yes", "the store cannot be used: write redis://"),
        ("redis://:hunter2@host?timeout=-1", "the store cannot be used: the timeout"),
        ("sqlite://:hunter2@host", "the store cannot be used: write sqlite:PATH"),
    ],
)
def test_a_password_in_the_url_of_a_store_is_not_repeated(tmp_path: Path, url: str, message: str) -> None:
    write(tmp_path, {**PLUGINS, "pipelines/a.yaml": "plugins: [knobs]\n", "pipelines/gateway.yaml": f"store: {url}\n"})
    (problem,) = load(tmp_path / "pipelines", {}).problems
    assert problem.message.startswith(message)
    assert "hunter2" not in str(problem)


def test_an_address_that_is_none_is_found_where_it_stands(tmp_path: Path) -> None:
    files = {"pipelines/gateway.yaml": "ping: 1s\nbind: everywhere\n", "pipelines/a.yaml": "plugins: [knobs]\n"}
    (mistake,) = mistakes(tmp_path, files)
    assert mistake.startswith(
        "pipelines/gateway.yaml:2:7: 'everywhere' is not an address to listen on: write host:port"
    )


# ---------------------------------------------------------------- what is right


def test_one_file_of_a_folder_can_be_read_alone(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": "plugins: [knobs: {to: shared}]\n", "pipelines/b.yaml": "plugins: 5\n"}
    write(tmp_path, {**PLUGINS, **files, "pipelines/gateway.yaml": SHARED})
    files_read = load(tmp_path / "pipelines/a.yaml", {})
    assert [pipeline.name for pipeline in files_read.pipelines] == ["a"]
    assert {path.name for path in files_read.read} == {"a.yaml", "gateway.yaml"}
    assert files_read.problems == []


# ---------------------------------------------------------------- names of files


def test_a_pipeline_may_end_in_yml(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": "plugins: [knobs]\n", "pipelines/b.yml": "plugins: [knobs]\n"}
    assert [(pipeline.name, pipeline.path) for pipeline in compiled_in(tmp_path, files)] == [("a", "/a"), ("b", "/b")]


def test_two_pipelines_cannot_have_one_name(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": "plugins: [knobs]\n", "pipelines/a.yml": "path: /b\nplugins: [knobs]\n"}
    assert mistakes(tmp_path, files) == [
        "pipelines/a.yml:1:1: the name 'a' is also that of pipelines/a.yaml; each pipeline needs its own"
    ]


@pytest.mark.parametrize("place", ["pipelines", "pipelines/a.yaml"])
def test_the_shared_file_has_one_name_only(tmp_path: Path, place: str) -> None:
    write(tmp_path, {**PLUGINS, "pipelines/a.yaml": "plugins: [knobs]\n", "pipelines/gateway.yml": "ping: 1s\n"})
    files = load(tmp_path / place, {})
    assert [problem.message for problem in files.problems] == ["is not read: rename it to gateway.yaml"]
    assert [Path(problem.path).name for problem in files.problems] == ["gateway.yml"]
