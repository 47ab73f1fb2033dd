"""The floor: the least that Quart, Hypercorn and aiohttp can do, `python -m benchmarks.floor PORT UPSTREAM_URL`.

It relays bytes and looks at nothing. What a gateway costs beyond this is its own doing.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator

import aiohttp
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request


def make_app(upstream: str) -> Quart:
    """An application that relays every POST to `upstream`."""
    app = Quart("floor", static_folder=None)

    @app.while_serving
    async def session() -> AsyncGenerator[None, None]:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as client:
            app.extensions["client"] = client
            yield

    @app.post("/<path:path>")
    async def relay(path: str) -> Response:
        client: aiohttp.ClientSession = app.extensions["client"]
        headers = {"content-type": request.headers["content-type"]}
        answer = await client.post(f"{upstream}/{path}", data=await request.get_data(), headers=headers)
        kind = answer.headers["content-type"]
        body = answer.content.iter_any() if kind == "text/event-stream" else await answer.read()
        response = Response(body, answer.status, {"content-type": kind})
        response.timeout = None
        return response

    return app


def main(port: int, upstream: str) -> None:
    """Serve until killed."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    config.keep_alive_max_requests = sys.maxsize
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(make_app(upstream), config))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
