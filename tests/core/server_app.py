"""A small application in a process of its own, for the tests of the server.

    python server_app.py '{"bind": "127.0.0.1:0", "workers": 2}' [broken]

The first argument holds ServerOptions; a `broken` application does not start. What happens is told on stdout.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import cast

from quart import Quart, Response, request

from penstock import connection
from penstock.server import ServerError, ServerOptions, run


def tell(*words: object) -> None:
    """One line in one write: the workers share stdout."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def make_app() -> Quart:
    if "broken" in sys.argv:
        raise ServerError("nothing to serve")
    app = Quart(__name__)
    connection.install(app)
    app.before_serving(started)
    app.after_serving(stopped)
    app.add_url_rule("/pid", view_func=pid)
    app.add_url_rule("/echo", view_func=echo, methods=["POST"])
    app.add_url_rule("/flood", view_func=flood)
    app.add_url_rule("/silence", view_func=silence)
    return app


async def started() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, tell, "reload", os.getpid())
    tell("started", os.getpid())


async def stopped() -> None:
    tell("stopped", os.getpid())


async def pid() -> str:
    return str(os.getpid())


async def echo() -> Response:
    """Send back what comes in, piece by piece: so the client decides how long the stream goes on."""
    cast("connection.Request", request).cleanup.callback(tell, "closed", os.getpid())
    body = request.body

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece

    return Response(pieces(), headers={"x-pid": str(os.getpid())})


async def silence() -> Response:
    """Never answer."""
    cast("connection.Request", request).cleanup.callback(tell, "closed", os.getpid())
    tell("silent", os.getpid())
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def flood() -> Response:
    """Send without an end and without a pause."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    return Response(pieces(), headers={"x-pid": str(os.getpid())})


def main() -> None:
    options = ServerOptions(worker_command=(sys.executable, *sys.orig_argv[1:]), **json.loads(sys.argv[1]))
    try:
        run(options, make_app, lambda addresses: tell("ready", *addresses))
    except ServerError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
