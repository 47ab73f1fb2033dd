"""The nine hooks: the whole contract between the core and a plugin.

For all of them: `def` or `async def` as you like (`on_event` is always plain); name any subset of the arguments; no
default values and no ordering options, since the order of the pipeline file is the only order. Requests go down the
file, answers come up: what step k answers travels through the steps above k only.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from penstock.errors import GatewayError
    from penstock.events import Event
    from penstock.exchange import Attempt, Exchange, Response
    from penstock.plugin import Gateway

hookspec = pluggy.HookspecMarker("penstock")
hookimpl = pluggy.HookimplMarker("penstock")
"""Marks a method of a plugin as the implementation of the hook of that name."""


class Hooks:
    """The specifications; plugins implement methods of the same names."""

    @hookspec
    async def startup(self, gateway: "Gateway") -> None:
        """A new generation starts, in file order. Raising refuses the generation; the old one stays."""

    @hookspec
    async def shutdown(self, gateway: "Gateway") -> None:
        """The generation has served its last exchange, in reverse order."""

    @hookspec
    async def on_request(self, exchange: "Exchange") -> "Response | None":
        """A request comes down, once per exchange. Return a Response to answer now; raise a GatewayError to refuse."""

    @hookspec
    async def on_attempt(self, exchange: "Exchange", attempt: "Attempt") -> None:
        """A target is about to be tried: build `attempt.request`. A retryable error skips to the next target."""

    @hookspec
    async def on_failure(self, exchange: "Exchange", attempt: "Attempt", error: "GatewayError") -> None:
        """A try failed before its first event."""

    @hookspec
    async def on_response(self, exchange: "Exchange", response: "Response") -> "Response | None":
        """Status and headers are known and nothing is sent yet. Change the response, or return another."""

    @hookspec
    def on_event(self, exchange: "Exchange", event: "Event") -> "Event | Iterable[Event] | None":
        """An event comes up. Annotate `event` with the types to be called for.

        Return None to keep it, an event to replace it, several to expand it, () to drop it.
        """

    @hookspec
    async def on_error(self, exchange: "Exchange", error: "GatewayError") -> "GatewayError | Response | None":
        """The exchange failed before its answer began. Return a clearer error, or an answer instead.

        The answer goes up as any other does: through `on_response` and `on_event` of the steps above.
        """

    @hookspec
    async def on_complete(self, exchange: "Exchange") -> None:
        """After the last byte, an error or a disconnect; exactly once if the request reached this step."""
