"""Records on disk, on their way to the database: one file for each writer, which survives its writer's death.

A file is locked while its writer lives. Whoever can lock another's file may carry on with it: that writer is dead.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from .record import Record

BATCH = 500
"""Records that are read at once."""
LONGEST_LINE = 1 << 20

_SUFFIX = ".jsonl"
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


class Journal:
    """A file of records that is locked by us. Its methods block, may be called by several threads, raise OSError."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.broken = 0
        self._descriptor = descriptor
        self._lock = Lock()

    @classmethod
    def create(cls, folder: Path) -> "Journal":
        """A new file in a folder, which is made if need be; only its owner may read it."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            journal = cls._locked(path, os.open(path, flags, 0o600))
            if journal is not None:
                return journal

    @classmethod
    def left(cls, folder: Path) -> Iterator["Journal"]:
        """The files whose writers have died, oldest first. Each has to be closed before the next."""
        for path in sorted(folder.glob(f"*{_SUFFIX}"), key=_age):
            with suppress(FileNotFoundError):
                journal = cls._locked(path, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
                if journal is not None:
                    yield journal

    @classmethod
    def _locked(cls, path: Path, descriptor: int) -> "Journal | None":
        """The file as ours; None if it is another's, or has been carried away before it was locked."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return cls(path, descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def append(self, records: Sequence[Record]) -> None:
        """Write records behind the others, and wait for the disk: all of them or, if that fails, none."""
        lines = _ENCODER.encode_lines(records)
        with self._lock:
            before = os.fstat(self._descriptor).st_size
            try:
                while lines:  # all at once, except on a disk that is nearly full
                    lines = lines[os.write(self._descriptor, lines) :]
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, before)
                raise

    def read(self, offset: int) -> tuple[list[Record], int]:
        """The records from an offset on, a batch at most, and the offset behind them. What is no record is counted."""
        found: list[Record] = []
        with self._lock, os.fdopen(os.dup(self._descriptor), "rb", LONGEST_LINE) as file:
            file.seek(offset)
            while len(found) < BATCH and (line := file.readline(LONGEST_LINE)):
                if line.endswith(b"\n") or len(line) == LONGEST_LINE:
                    offset += len(line)
                    found += self._decoded(line)
                else:
                    break  # the writer died in the middle of it
        return found, offset

    def clear(self, carried: int) -> bool:
        """Empty the file if it has nothing beyond `carried`; whether it was."""
        with self._lock:
            clear = os.fstat(self._descriptor).st_size == carried
            if clear:
                os.ftruncate(self._descriptor, 0)
        return clear

    def close(self, *, remove: bool) -> None:
        """Let go of the file, for others to carry on with, or remove it if all of it is where it belongs."""
        with self._lock:
            if remove:
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1  # a thread that comes late finds no file, rather than somebody else's

    def _decoded(self, line: bytes) -> list[Record]:
        try:
            return [_DECODER.decode(line)]
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.broken += 1
            return []


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
