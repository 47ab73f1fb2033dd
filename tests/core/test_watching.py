"""Watched files: what counts as a change, and what a fingerprint is of."""

from pathlib import Path

import pytest

from penstock.watching import fingerprint, state, yaml_files
from tests.core.places import write

FILES = {"pipelines/a.yaml": "1", "pipelines/b.yml": "2", "pipelines/notes.txt": "3", "plugins/own/__init__.py": "4"}


def test_pipelines_end_in_either_of_two_ways(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    assert [file.name for file in yaml_files(tmp_path / "pipelines")] == ["a.yaml", "b.yml"]


def test_a_folder_of_pipelines_is_watched_with_all_that_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    seen = state([tmp_path / "plugins/own", tmp_path / "absent"], tmp_path / "pipelines")
    assert sorted(file.name for file in seen) == ["__init__.py", "a.yaml", "b.yml"]


@pytest.mark.parametrize("name", ["gateway.yaml", "gateway.yml"])
def test_a_single_pipeline_is_watched_with_what_may_stand_beside_it(tmp_path: Path, name: str) -> None:
    write(tmp_path, FILES)
    before = state([], tmp_path / "pipelines/a.yaml")
    write(tmp_path, {f"pipelines/{name}": "ping: 1s\n"})
    assert state([], tmp_path / "pipelines/a.yaml").keys() - before.keys() == {tmp_path / "pipelines" / name}


CHANGES = {
    "a file": {"pipelines/a.yaml": "other"},
    "a module of a package": {"plugins/own/part.py": ""},
    "a file that was not there": {"later.txt": ""},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_fingerprint_changes_with_every_file(tmp_path: Path, what: str) -> None:
    write(tmp_path, FILES)
    files = [tmp_path / name for name in ("pipelines/a.yaml", "plugins/own", "later.txt")]
    before = fingerprint(files, {})
    assert fingerprint(reversed(files), {}) == before
    write(tmp_path, CHANGES[what])
    assert fingerprint(files, {}) != before


def test_a_fingerprint_is_of_the_bytes_that_were_read(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    file = tmp_path / "pipelines/a.yaml"
    assert fingerprint([file], {file: b"1"}) == fingerprint([file], {})
    assert fingerprint([file], {file: b"other"}) != fingerprint([file], {})


def test_it_does_not_matter_where_the_files_lie(tmp_path: Path) -> None:
    write(tmp_path, {"here/a.yaml": "1", "there/a.yaml": "1"})
    assert fingerprint([tmp_path / "here/a.yaml"], {}) == fingerprint([tmp_path / "there/a.yaml"], {})
