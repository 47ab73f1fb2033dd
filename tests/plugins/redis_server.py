"""A real Redis server for tests: on a free port, in a folder of its own, stopped and started at will."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from penstock.testing import PATIENCE

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """Keeps nothing on disk; whoever starts it again finds it empty, at the same port."""

    def __init__(self, folder: Path, *options: str, tls: bool = False) -> None:
        self.folder = folder
        self.port = _free_port()
        self._ports = ("--port", "0", "--tls-port", str(self.port)) if tls else ("--port", str(self.port))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert BINARY is not None
        fixed = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder))
        self._process = subprocess.Popen([BINARY, *self._ports, *fixed, *self._options], stdout=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while not self._listens():
            assert self._process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hear but not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def talk(self, words: str) -> str:
        """What it says to an inline command."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(f"{words}\r\n".encode())
            return connection.recv(4096).decode().strip()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
