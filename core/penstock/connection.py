"""One HTTP request on Quart, brought to an end for certain when its client goes away.

Hypercorn 0.18 can swallow the CancelledError on its way to a handler: `TCPServer._close` catches it while the
handler is inside `send`. The handler runs on and a paid upstream keeps generating. Three things prevent that:

1. once the client is gone, `send` raises ClientGone;
2. the handler is cancelled again and again until it is done;
3. whatever must be closed is owned by the request and not by a generator that may never have started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import quart
from quart.asgi import ASGIHTTPConnection

CANCEL_AGAIN = 0.25  # seconds
TURN = 16  # sends after which others get their turn

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class ClientGone(ConnectionError):
    """The client has left; nothing more can be sent to it."""


class Request(quart.Request):
    """A request with `cleanup`, an exit stack that is closed when the request ends: answered, failed or left.

    Closing happens after the handler and its response body are done, last in first out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cleanup = AsyncExitStack()


class Connection(ASGIHTTPConnection):
    """Runs the handler of one request, and ends it when the client leaves.

    A handler that is still busy CANCEL_AGAIN seconds after the client left is cancelled once more: what must
    survive that (writing a record, say) belongs in a task that somebody else owns.
    """

    _gone = False
    _sent = 0

    async def __call__(self, receive: Receive, send: Send) -> None:
        async def checked_send(message: Any) -> None:
            self._check()
            await send(message)
            self._sent += 1
            if self._sent % TURN == 0:
                await asyncio.sleep(0)  # `send` need not suspend, and then nobody notices that the client left
            self._check()  # a cancellation may have been lost in `send`

        request = cast("Request", self._create_request_from_scope(checked_send))
        async with request.cleanup, asyncio.TaskGroup() as group:
            handler = group.create_task(self.handle_request(request, checked_send))
            watcher = group.create_task(self._watch_client(request, receive, handler))
            handler.add_done_callback(lambda _: watcher.cancel())

    async def handle_request(self, request: quart.Request, send: Send) -> None:
        with suppress(ClientGone):
            await super().handle_request(request, send)

    async def _watch_client(self, request: Request, receive: Receive, handler: asyncio.Task[None]) -> None:
        """Feed the request's body until the client leaves, the handler is done or the server gives up."""
        try:
            await self.handle_messages(request, receive)
        finally:
            self._gone = True
            while not handler.done():
                handler.cancel()
                await asyncio.wait({handler}, timeout=CANCEL_AGAIN)

    def _check(self) -> None:
        if self._gone:
            raise ClientGone("the client has left")


def install(app: quart.Quart) -> None:
    """Make an application use the two classes above, and let its answers take as long as they need."""
    app.asgi_http_class = Connection
    app.request_class = Request
    # Beyond cutting streams: on Python 3.11 it means a task of its own, which a second cancellation leaves behind.
    app.config["RESPONSE_TIMEOUT"] = None
