"""`penstock serve`: check the files, start the server, greet the newcomer."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click

from penstock.app import make_app
from penstock.bind import is_loopback
from penstock.cli.banner import banner, brief
from penstock.cli.describe import compiled, doubts
from penstock.gateway import Host, open_to_all
from penstock.listen import ServerError
from penstock.problems import ConfigError
from penstock.server import Application, ServerOptions, run

ServeError = ServerError

log = logging.getLogger("penstock")


def serve_forever(
    place: Path,
    env: Mapping[str, str],
    bind: str | None,
    workers: int | None,
    cert: str | None,
    key: str | None,
    graceful_timeout: float | None,
    debug: bool,
) -> None:
    """Serve until told to stop. Raises ConfigError before anything is opened, ServerError."""
    pipelines = compiled(place, env)
    shared = pipelines[0].file.gateway
    options = ServerOptions(
        bind=bind or shared.bind,
        workers=workers or shared.workers,
        certfile=cert or _beside(place, shared.tls.cert if shared.tls else None),
        keyfile=key or _beside(place, shared.tls.key if shared.tls else None),
        graceful_timeout=shared.graceful_timeout if graceful_timeout is None else graceful_timeout,
        worker_command=(sys.executable, "-m", "penstock", *sys.argv[1:]),
    )
    public = not is_loopback(options.bind)
    if public and (problems := open_to_all(pipelines)):
        raise ConfigError(problems)
    host = Host(place, env, public=public, debug=debug)

    async def application() -> Application:
        await host.start()
        with suppress(NotImplementedError):  # a platform without SIGHUP still has the watcher
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, host)
        return make_app(host)

    def ready(addresses: list[str]) -> None:
        if host.started:
            host.spawn(_greet(host, addresses[0]), "banner")
        else:
            click.echo("\n".join(brief(pipelines, addresses[0], options.workers)))
            for doubt in doubts(pipelines, options.workers):
                log.warning("%s", doubt)

    run(options, application, ready)


def _reload(host: Host) -> None:
    host.spawn(host.reload(), "reload")


async def _greet(host: Host, address: str) -> None:
    for line in await banner(host, address):
        click.echo(line)
    sys.stdout.flush()


def _beside(place: Path, file: str | None) -> str | None:
    folder = place if place.is_dir() else place.parent
    return None if file is None else os.fspath(folder / file)
