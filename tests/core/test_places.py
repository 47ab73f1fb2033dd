"""What a command finds of its plugin's steps, also where other parts of the files cannot be used."""

from pathlib import Path

import pytest

from penstock import ConfigError, find_steps
from penstock_auth import Auth
from tests.core.places import write

STAFF = "path: /staff\nplugins: [auth: {keys: staff.yaml}, models, translation]\n"
GUESTS = "path: /guests\nplugins: [{auth: {keys: guests.yaml}, id: door}, models, translation]\n"
OTHER = "path: /other\nupstreams: {main: {preset: anthropic, key: '${NOWHERE}'}}\nplugins: [auth: {keys: o.yaml}\n]\n"


def test_steps_come_with_their_options_and_their_place(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/staff.yaml": STAFF, "pipelines/guests.yaml": GUESTS})
    found = find_steps(tmp_path / "pipelines", {}, Auth)
    assert [(step.pipeline, step.plugin.keys, step.plugin.step) for step in found] == [
        ("guests", "guests.yaml", "door"),
        ("staff", "staff.yaml", "auth"),
    ]
    assert found[0].plugin.folder == tmp_path / "pipelines"
    assert [step.pipeline for step in find_steps(tmp_path / "pipelines/staff.yaml", {}, Auth)] == ["staff"]


def test_mistakes_elsewhere_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/a.yaml": STAFF, "pipelines/b.yaml": OTHER, "pipelines/c.yaml": "plugins: [nonsense]\n"})
    assert [step.plugin.keys for step in find_steps(tmp_path / "pipelines", {}, Auth)] == ["staff.yaml", "o.yaml"]


def test_where_the_step_itself_has_the_mistake_it_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/a.yaml": "plugins: [auth: {kees: staff.yaml}]\n"})
    with pytest.raises(ConfigError, match="unknown option 'kees'"):
        find_steps(tmp_path / "pipelines", {}, Auth)


def test_an_option_that_cannot_be_read_is_not_taken_as_it_stands(tmp_path: Path) -> None:
    pepper = STAFF.replace("staff.yaml", "staff.yaml, pepper: '${PEPPER}'")
    write(tmp_path, {"pipelines/a.yaml": STAFF.replace("/staff", "/a"), "pipelines/b.yaml": pepper})
    with pytest.raises(ConfigError, match="PEPPER"):
        find_steps(tmp_path / "pipelines", {}, Auth)
    found = find_steps(tmp_path / "pipelines", {"PEPPER": "sixteen letters or more"}, Auth)
    assert [bool(step.plugin.pepper) for step in found] == [False, True]


def test_no_such_step_is_no_mistake_but_no_files_are(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/a.yaml": "plugins: [models]\n"})
    assert find_steps(tmp_path / "pipelines", {}, Auth) == []
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_steps(tmp_path / "nowhere", {}, Auth)
