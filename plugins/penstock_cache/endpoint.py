"""The step's endpoint: what it has counted, and how to have it forget."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from penstock import Answer, EndpointRequest, Forbidden, Gateway, Handler, Overloaded, StoreUnavailable

Work = Callable[[], Awaitable[dict[str, object]]]


def serve(gateway: Gateway, step: str, see: Work, clear: Work) -> None:
    """Serve `see` and `clear` under the step's name."""
    with suppress(ValueError):  # served already, by a team's own instance of the step: its store is the same
        gateway.add_route(step, _handler(see), ("GET",))
        gateway.add_route(step, _handler(clear), ("DELETE",))


def _handler(work: Work) -> Handler:
    async def handle(request: EndpointRequest) -> Answer:
        who = request.principal
        if who is not None and (who.team or not who.admin):
            raise Forbidden("this is for admins who belong to no team: it is about the answers of all")
        try:
            said = await work()
        except StoreUnavailable as error:
            raise Overloaded(f"the store is away: {error}") from None
        return Answer(200, {"content-type": "application/json"}, msgspec.json.encode(said))

    return handle
