"""The upstream protocol `gemini`: Google's generateContent, as the Gemini API and Vertex AI serve it."""

from typing import ClassVar

import msgspec

from penstock import Exchange, Target
from penstock_translation.gemini.assembly import GeminiAssembly
from penstock_translation.gemini.quirks import GeminiQuirks
from penstock_translation.gemini.request import request_body, request_path
from penstock_translation.streaming import read_record
from penstock_translation.translated import Draft, Translated, streams

__all__ = ["Gemini", "GeminiQuirks"]


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: int


_COUNT = msgspec.json.Decoder(_Count)


class Gemini(Translated):
    """generateContent; the differences between servers and models are `GeminiQuirks`."""

    name: ClassVar[str] = "gemini"
    default_auth = "x-goog-api-key"
    quirks: ClassVar[type[msgspec.Struct]] = GeminiQuirks
    counts_tokens: ClassVar[bool] = True

    def draft(self, exchange: Exchange, target: Target, quirks: GeminiQuirks) -> Draft:
        streamed = streams(exchange, quirks.streaming)
        body, dropped = request_body(exchange, target, quirks)
        return Draft(request_path(exchange, target, streamed), body, streamed, dropped)

    def assembly(self, exchange: Exchange, quirks: GeminiQuirks) -> GeminiAssembly:
        return GeminiAssembly(exchange, quirks)

    def read_token_count(self, body: bytes) -> int:
        """The number in the upstream's own count. Raises UpstreamFailed on nonsense."""
        return read_record(_COUNT, body).total_tokens
