"""The upstream protocol `openai-chat`: OpenAI's Chat Completions, as OpenAI and a great many others serve them."""

from typing import ClassVar

import msgspec

from penstock import Exchange, Target

from ..translated import Draft, Translated, streams
from .assembly import ChatAssembly
from .quirks import ChatQuirks
from .request import request_body

__all__ = ["ChatQuirks", "OpenAIChat"]


class OpenAIChat(Translated):
    """Chat Completions; the differences between vendors are `ChatQuirks`."""

    name: ClassVar[str] = "openai-chat"
    quirks: ClassVar[type[msgspec.Struct]] = ChatQuirks

    def draft(self, exchange: Exchange, target: Target, quirks: ChatQuirks) -> Draft:
        dropped: list[str] = []
        body = request_body(exchange, target, quirks, dropped)
        return Draft("/chat/completions", body, streams(exchange, quirks.streaming), tuple(dropped))

    def assembly(self, exchange: Exchange, quirks: ChatQuirks) -> ChatAssembly:
        return ChatAssembly(exchange, quirks)
