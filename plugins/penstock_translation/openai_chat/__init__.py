"""The upstream protocol `openai-chat`: OpenAI's Chat Completions, as OpenAI and a great many others serve them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from penstock import Decoder, Event, Exchange, GatewayError, Target, UpstreamFailed, UpstreamProtocol, UpstreamRequest
from penstock_translation.complaint import read_complaint
from penstock_translation.failures import answer_error
from penstock_translation.openai_chat.answer import read_whole
from penstock_translation.openai_chat.assembly import Assembly
from penstock_translation.openai_chat.quirks import ChatQuirks
from penstock_translation.openai_chat.request import render_body
from penstock_translation.openai_chat.stream import ChatDecoder

__all__ = ["ChatQuirks", "OpenAIChat"]


class OpenAIChat(UpstreamProtocol):
    """Chat Completions; the differences between vendors are `ChatQuirks`."""

    name: ClassVar[str] = "openai-chat"
    quirks: ClassVar[type[msgspec.Struct]] = ChatQuirks

    def render(self, exchange: Exchange, target: Target, quirks: Any) -> UpstreamRequest:
        """The request for a target. Raises InvalidRequest if the client's document is not a prompt."""
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if exchange.request.stream else "application/json",
        }
        return UpstreamRequest("/chat/completions", render_body(exchange, target, quirks), headers)

    def decoder(self, exchange: Exchange, wanted: frozenset[type] | None, quirks: Any) -> Decoder:
        """A decoder of every event: no client speaks this format, so no bytes are relayed."""
        return ChatDecoder(Assembly(exchange, quirks))

    def read_answer(self, exchange: Exchange, body: bytes, quirks: Any) -> list[Event]:
        """The events of a JSON body, or of the stream that some servers send to whoever asks."""
        start = body.lstrip()[:1]
        if start in (b"{", b"["):
            return read_whole(Assembly(exchange, quirks), body)
        if b"data:" not in body:
            page = read_complaint(body).text
            raise UpstreamFailed(f"the upstream's answer is not JSON{f': {page}' if page else ''}")
        decoder = ChatDecoder(Assembly(exchange, quirks))
        pieces = decoder.feed(body)
        pieces += decoder.end()
        return [event for piece in pieces for event in piece.events]

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """An error answer as a kind."""
        return answer_error(self.name, status, headers, body)
