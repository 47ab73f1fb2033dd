"""A guard for trial runs: while it stands, this process writes to one folder only, connects nowhere, starts nothing."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {
    *("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "sqlite3.connect"),
}
_STARTING = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn"}
_CONNECTING = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}


class Aside:
    """What Python code does to the world outside `folder` fails with an OSError that says so.

    It rests on Python's audit events (PEP 578): what a library written in C does by itself is not seen.
    """

    def __init__(self, folder: Path) -> None:
        self._root = os.path.realpath(folder)
        self._standing = False

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Stand guard. An audit hook cannot be taken away again, but outside of this it lets all pass."""
        sys.addaudithook(self._audit)
        bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        self._standing = True
        try:
            yield
        finally:
            self._standing = False
            sys.dont_write_bytecode = bytecode

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._standing:
            return
        if event == "open":
            self._check_open(*arguments)
        elif event in _CHANGING:
            for path in arguments[1:] if event == "os.symlink" else arguments:
                self._check_path(path)
        elif event in _CONNECTING:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "a trial run connects to nothing")
        elif event in _STARTING:
            raise PermissionError(errno.EPERM, "a trial run starts no program")

    def _check_open(self, path: Any, mode: Any, flags: int) -> None:
        writes = set("wax+") & set(mode) if isinstance(mode, str) else flags & _WRITING
        if writes and not isinstance(path, int):
            self._check_path(path)

    def _check_path(self, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or path in (":memory:", ""):
            return
        real = os.path.realpath(os.fsdecode(path))
        if real not in (os.devnull, self._root) and not real.startswith(self._root + os.sep):
            raise PermissionError(errno.EPERM, "a trial run writes nothing", os.fsdecode(path))
