"""A gateway on a real socket for a test: in this process, to look inside, or as the process a user would start."""

import asyncio
import os
import re
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.testing.answers import Answer
from penstock.testing.asking import Content
from penstock.testing.client import Client
from penstock.testing.upstream import PATIENCE
from penstock.testing.witness import Ledger, Witness

_ADDRESS = re.compile(r"https?://(?:127\.0\.0\.1|\[::1\]|localhost):\d+")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Place:
    """The folder a gateway reads: `pipelines/NAME.yaml`, gateway.yaml beside it, and what else a test puts there."""

    def __init__(self, root: Path, name: str, values: Mapping[str, str]) -> None:
        """`{word}` in any text becomes the value of that name."""
        self.folder = root / "pipelines"
        self.file = self.folder / f"{name}.yaml"
        self._values = values
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, text: str, name: str = "") -> Path:
        """Write the pipeline's file, or another one by its name within the folder."""
        path = self.folder / name if name else self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # of a project's plugin, which no test writes into
            path.unlink()
        path.write_text(self.filled(text))
        return path

    def filled(self, text: str) -> str:
        """A text with the values for their words."""
        for word, value in self._values.items():
            text = text.replace("{" + word + "}", value)
        return text


class RunningGateway:
    """A gateway in this process. `host` holds its generations; `place` its files.

    It serves from `start` on, which `ask` and clients call if nobody has. `finish` makes a text that is given to
    `reload` whole, as it made the first one.
    """

    def __init__(
        self,
        place: Place,
        env: Mapping[str, str],
        *,
        clock: Callable[[], float] | None = None,
        finish: Callable[[str], str] = str,
    ) -> None:
        from penstock.gateway import Host  # here and below: pytest loads this module in every run

        self.place = place
        self.url = ""
        self.ledger = Ledger()
        self.host: Host = Host(place.file, env)
        self.host.clock = clock or self.host.clock
        self._finish = finish
        self._starting = asyncio.Lock()
        self._serving: asyncio.Task[None] | None = None
        self._stop: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Load the files and serve on a free port, unless that is done. Raises ConfigError."""
        async with self._starting:
            if self._serving is None:
                await self._serve()

    def client(self, protocol: str = "") -> Client:
        """A client of one of the formats that the pipeline serves, by default the first."""
        return Client(self, protocol)

    async def ask(self, content: Content = "hi", /, **asked: Any) -> Answer:
        """Ask as a client of the first format that the pipeline serves: see `Client.ask`, which names the keywords."""
        return await self.client().ask(content, **asked)

    def watch(self) -> None:
        """For the client: have the witness of the current generation, if it has one, write into this ledger."""
        for pipeline in self.host.current.pipelines:
            for step in pipeline.instances:
                if isinstance(step.plugin, Witness):
                    step.plugin.ledger = self.ledger

    async def reload(self, text: str = "") -> bool:
        """Read the files again, the pipeline's from a new text if one is given; whether they are in use now."""
        if text:
            self.place.write(self._finish(text))
        return await self.host.reload()

    def drain(self) -> None:
        """Begin a graceful stop, as SIGTERM does."""
        self._stop()

    async def close(self) -> None:
        """Stop and wait for the end."""
        self.host.clock = time.monotonic  # patience with what is still open needs time that passes
        self.drain()
        if self._serving is not None:
            await self._serving

    async def _serve(self) -> None:
        from penstock.app import make_app
        from penstock.listen import listen, url
        from penstock.server import ServerOptions, Stop, serve

        await self.host.start()
        stop, ready = Stop(), asyncio.Event()
        listener = listen("127.0.0.1:0", 1024)
        self.url, self._stop = url(listener, tls=False), stop.drain.set
        work = serve(make_app(self.host), listener, ServerOptions(graceful_timeout=PATIENCE), ready.set, stop)
        self._serving = asyncio.get_running_loop().create_task(work)
        async with asyncio.timeout(PATIENCE):
            await ready.wait()


class GatewayProcess:
    """A gateway in a process of its own, with the files in `place`. `output` is what it has printed and was read."""

    def __init__(self, process: Process, place: Place) -> None:
        self.process = process
        self.place = place
        self.url = ""
        self.output = ""

    @classmethod
    async def start(cls, place: Place, arguments: tuple[str, ...], env: Mapping[str, str]) -> "GatewayProcess":
        """Start `python -m penstock serve` and wait until it says where. Raises EOFError if it ends before."""
        serve = (sys.executable, "-m", "penstock", "serve", os.fspath(place.file), "--bind", "127.0.0.1:0")
        process = await asyncio.create_subprocess_exec(
            *serve, *arguments, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=asyncio.subprocess.STDOUT
        )
        gateway = cls(process, place)
        try:
            gateway.url = (await gateway.says(_ADDRESS.pattern))[0]
        except BaseException:
            await gateway.close()
            raise
        return gateway

    async def says(self, pattern: str) -> re.Match[str]:
        """Read its output until a regular expression is found in it. Raises EOFError, TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while (found := re.search(pattern, self.output)) is None:
                if not await self._read():
                    raise EOFError(f"the gateway ended without saying {pattern!r}:\n{self.output}")
        return found

    async def ends(self) -> int:
        """Wait for its end; the exit status."""
        async with asyncio.timeout(PATIENCE):
            while await self._read():
                pass
            return await self.process.wait()

    async def close(self) -> None:
        """Stop it: gracefully, and if that takes too long, at once."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await self.ends()
        except TimeoutError:
            self.process.kill()
            await self.ends()

    async def _read(self) -> bool:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        self.output += line.decode(errors="replace")
        return bool(line)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without proxies and credentials, with `more`."""
    kept = {n: v for n, v in os.environ.items() if n.lower() not in _PROXIES and not n.endswith(("_KEY", "_TOKEN"))}
    return {**kept, **more}
