"""Acme Guard: say here in one line what the plugin is for."""

from typing import Annotated

from msgspec import Meta

from penstock import Exchange, Forbidden, Plugin, Response, hookimpl, texts_of

__all__ = ["AcmeGuard"]


class AcmeGuard(Plugin):
    """Refuse requests that say a refused word, and mark the answers to all others.

    Fields are options of the step. One instance serves many requests at once: what belongs to one goes into
    `exchange.stash`, never into `self`.
    """

    words: Annotated[tuple[str, ...], Meta(description="A request with one of these words is refused.")] = ()
    mark: Annotated[str, Meta(description="What the header of every answer says.")] = "passed"

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Called once for a request, before the steps below. Raising an error refuses it, a Response answers it."""
        texts = texts_of(exchange.request.prompt)
        for word in self.words:
            if any(word in text for text in texts):
                raise Forbidden(f"acme-guard: {word!r} must not leave the house")

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        """Called when an answer has begun and nothing of it is sent yet."""
        response.headers["x-acme-guard"] = self.mark
