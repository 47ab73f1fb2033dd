"""The processes of the benchmark: servers with what they use of CPU and memory, and the load generator."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import msgspec

from benchmarks.answers import TEXTS
from benchmarks.load import Load, Seen
from benchmarks.traffic import KEY, SMALL, request

_PATIENCE = 30.0  # seconds for a server to start


class Server:
    """A server in a process of its own, which took it `started` seconds, `started_cpu` of CPU, to its first answer."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, started: float) -> None:
        self._proc = Path(f"/proc/{process.pid}")
        self.port = port
        self.started = started
        self.started_cpu = self.cpu()

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system, of all threads. (proc(5); /proc/PID/stat counts in 10 ms only.)"""
        return sum(int(file.read_text().split()[0]) for file in self._proc.glob("task/*/schedstat")) / 1e9

    def memory(self) -> float:
        """Resident memory in MB."""
        found = re.search(r"VmRSS:\s*(\d+) kB", (self._proc / "status").read_text())
        assert found is not None
        return int(found[1]) * 1024 / 1e6


@contextmanager
def running(port: int, *arguments: str, env: Mapping[str, str] | None = None, key: str = KEY) -> Iterator[Server]:
    """A Python program that serves at `port`, until the end of the block. Raises RuntimeError if it does not."""
    began = perf_counter()
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL) as process:
        try:
            while not _answers(port, key):
                if process.poll() is not None or perf_counter() - began > _PATIENCE:
                    raise RuntimeError(f"{' '.join(arguments)} does not answer")
                sleep(0.005)
            yield Server(process, port, perf_counter() - began)
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def load(load: Load) -> Seen:
    """Send requests and wait for the answers. Raises RuntimeError when they are wrong."""
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(load).decode()]
    ran = subprocess.run(command, stdout=subprocess.PIPE, timeout=300, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{load.model}: the load generator failed")
    seen = msgspec.json.decode(ran.stdout, type=Seen)
    if load.model != SMALL and seen.texts < TEXTS:
        raise RuntimeError(f"{load.model}: an answer had only {seen.texts} of {TEXTS} texts")
    return seen


def _answers(port: int, key: str) -> bool:
    """Whether somebody listens there and answers a small request. Raises RuntimeError for any answer but 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as sock:
            sock.sendall(request(SMALL, key))
            answer = sock.recv(4096)
    except ConnectionRefusedError:
        return False
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the first answer is {answer!r}")
    return True
