"""The files a generation was made of: whether one of them has changed, and one fingerprint of them all."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

State = dict[Path, tuple[int, int]]
"""Modification time in nanoseconds and size in bytes of each file that exists."""


def yaml_files(folder: Path) -> list[Path]:
    """What lies in a folder of pipelines, sorted: `*.yaml` and `*.yml`."""
    return sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))


def state(files: Iterable[Path], place: Path) -> State:
    """The state of `files`, and of what else a pipeline file or folder is read with."""
    beside = yaml_files(place) if place.is_dir() else (place.parent / "gateway.yaml", place.parent / "gateway.yml")
    found: State = {}
    for file in _single({*files, *beside}):
        try:
            status = file.stat()
        except OSError:
            continue
        found[file] = (status.st_mtime_ns, status.st_size)
    return found


def fingerprint(files: Iterable[Path], contents: Mapping[Path, bytes]) -> str:
    """Twelve hexadecimal digits that change with any byte of `files`, wherever they lie.

    `contents` are those that have been read; a file that cannot be read counts as one that is not there.
    """
    digest = hashlib.sha256()
    for file in sorted(_single(files)):
        try:
            content = contents[file] if file in contents else file.read_bytes()
        except OSError:
            continue
        digest.update(f"{file.name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return digest.hexdigest()[:12]


def _single(paths: Iterable[Path]) -> set[Path]:
    """The files themselves, and the modules of the folders."""
    return {file for path in paths for file in (path.rglob("*.py") if path.is_dir() else (path,))}
