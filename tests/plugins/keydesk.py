"""How tests manage keys: `penstock keys`, as a process of its own or in this one, and the admin API of a gateway."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from penstock.cli import main
from penstock.testing import PATIENCE, clean_environment
from tests.integration.talk import Said, ask, prompt


class Ran(NamedTuple):
    """What a command did."""

    status: int
    output: str
    complaint: str

    def json(self) -> Any:
        assert self.status == 0, self.complaint
        return json.loads(self.output)


async def penstock(folder: Path, *arguments: str, **env: str) -> Ran:
    """`penstock ...` in the folder that holds `pipelines/`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", *arguments),
        cwd=folder,
        env=clean_environment(**env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Ran(process.returncode, out.decode(), err.decode())


async def penstock_here(folder: Path, *arguments: str, place: str = "pipelines", **env: str) -> Ran:
    """The same in a thread of this process, which saves the start of another. `place` is what `--pipeline` names."""
    given = [*arguments, "--pipeline", str(folder / place)]
    result = await asyncio.to_thread(CliRunner().invoke, main, given, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


async def made(folder: Path, *arguments: str, place: str = "pipelines", **env: str) -> dict[str, Any]:
    """A new key, as `penstock keys create --json` tells it."""
    ran = await penstock_here(folder, "keys", "create", *arguments, "--json", place=place, **env)
    told: dict[str, Any] = ran.json()
    return told


async def enter(url: str, key: str, model: str = "model-a", **more: str) -> Said:
    """A small request with a key."""
    return await ask(url, prompt(model=model), headers={"x-api-key": key, **more})


async def until_status(url: str, key: str, status: int) -> float:
    """Ask again and again until the answer has this status; the seconds it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(PATIENCE):
        while (await enter(url, key)).status != status:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # nobody announces it
    return loop.time() - started


async def until_known(url: str, key: str) -> None:
    """Wait until a gateway has heard of a key, without a request to an upstream."""
    async with asyncio.timeout(PATIENCE):
        while (await ask(url, path="/v1/models", method="GET", headers={"x-api-key": key})).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # nobody announces it


async def desk(url: str, key: str, path: str = "", body: Any = None, method: str = "") -> Said:
    """A request to the admin API."""
    method = method or ("GET" if body is None else "POST")
    return await ask(url, body, path=f"/-/keys{path}", method=method, headers={"x-api-key": key})
