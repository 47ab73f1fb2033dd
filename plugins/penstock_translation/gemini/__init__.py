"""The upstream protocol `gemini`: Google's generateContent, as the Gemini API and Vertex AI serve it."""

from typing import Annotated, ClassVar

import msgspec

from penstock import Exchange, Target

from ..streaming import read_record
from ..translated import Draft, Translated, streams
from .assembly import GeminiAssembly
from .quirks import GeminiQuirks
from .request import request_body, request_path

__all__ = ["Gemini", "GeminiQuirks"]


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: Annotated[int, msgspec.Meta(ge=0)]


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
