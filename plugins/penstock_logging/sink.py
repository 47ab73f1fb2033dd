"""Where log lines go: a standard stream, or a file that other workers append to and that may be rotated."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY = 1.0
"""Seconds between two looks at whether a file was moved away."""


class Sink(ABC):
    """Takes whole lines, each in one write, so that lines of several processes do not mix."""

    @abstractmethod
    def write(self, line: bytes) -> None:
        """Append a line, which ends in a newline. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


class StreamSink(Sink):
    """Standard output (1) or standard error (2), which stay open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        _write(self._descriptor, line)

    def close(self) -> None:
        pass


class FileSink(Sink):
    """A file, made with its folder if need be, and made again when a log rotation moved it away."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """`clock` gives seconds. Raises OSError if the file cannot be written."""
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._descriptor = _open(path)

    def write(self, line: bytes) -> None:
        if self._clock() - self._looked >= LOOK_EVERY:
            self._looked = self._clock()
            self._follow()
        _write(self._descriptor, line)

    def close(self) -> None:
        os.close(self._descriptor)

    def _follow(self) -> None:
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            there = False
        if not there:
            fresh = _open(self._path)
            os.close(self._descriptor)
            self._descriptor = fresh


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _write(descriptor: int, line: bytes) -> None:
    while line:  # all of it at once, except on a disk that is nearly full
        line = line[os.write(descriptor, line) :]
