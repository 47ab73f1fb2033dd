"""A real PostgreSQL server for tests: on a free port, in a folder of its own, stopped and started at will."""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from penstock.testing import PATIENCE


def _binary(name: str) -> str | None:
    newest_first = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return shutil.which(name) or next(map(str, newest_first), None)


INITDB, POSTGRES = _binary("initdb"), _binary("postgres")
MISSING = "" if INITDB and POSTGRES else "needs the programs of a PostgreSQL server"
USER, PASSWORD = "penstock", "p@ss:word/1"


class PostgresServer:
    """Keeps its data while it is stopped; it is at the same port again when it is started again."""

    def __init__(self, folder: Path) -> None:
        """`folder` must be empty, in one that all may enter. PostgreSQL will not run as root: then `nobody` does."""
        self.folder = folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._login = _login()

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:p%40ss%3Aword%2F1@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make its files: a copy of those that were made for the first server of this run."""
        subprocess.run(["cp", "-a", "--reflink=auto", str(_files()), str(self.folder)], check=True)
        if self._login:
            os.chown(self.folder.parent, self._login["user"], self._login["group"])

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert POSTGRES is not None
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        command = [POSTGRES, "-D", str(self.folder), *(word for setting in settings for word in ("-c", setting))]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._login)  # type: ignore[call-overload]
        end = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, and with it all connections; no error if it does not run."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGINT)  # the fast way
            self._process.wait(PATIENCE)
            self._process = None

    def freeze(self) -> None:
        """Let all of it hear but not answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for process in (self._process.pid, *map(int, children.read_text().split())):
            with suppress(ProcessLookupError):  # one of its helpers has just ended
                os.kill(process, number)

    def _is_ready(self) -> bool:
        """Whether it answers at all: the status file says more than a connection, which the kernel may take."""
        status = self.folder / "postmaster.pid"
        return status.exists() and "ready" in status.read_text()


@cache
def _login() -> dict[str, int]:
    """Who may run a server."""
    if os.getuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


@cache
def _files() -> Path:
    """The files of a server that has never run. To make them takes a second, to copy them a quarter of that."""
    assert INITDB is not None
    base = Path(tempfile.mkdtemp(prefix="penstock-postgres-files-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    folder, password, login = base / "data", base / "password", _login()
    folder.mkdir(mode=0o700)
    password.write_text(PASSWORD)
    for path in (base, folder, password) if login else ():
        os.chown(path, login["user"], login["group"])
    options = ("--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}", "--encoding=UTF8", "-N")
    command = [INITDB, "-D", str(folder), "--wal-segsize=1", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **login)  # type: ignore[call-overload]
    return folder


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that runs until the block ends, if it was not stopped before."""
    with tempfile.TemporaryDirectory(prefix="penstock-postgres-") as folder:
        server = PostgresServer(Path(folder))
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
