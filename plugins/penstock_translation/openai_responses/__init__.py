"""The upstream protocol `openai-responses`: OpenAI's Responses, used without anything being kept at the server."""

from typing import Annotated, ClassVar

import msgspec

from penstock import Exchange, Target

from ..streaming import read_record
from ..translated import Draft, Translated, streams
from .assembly import ResponsesAssembly
from .quirks import ResponsesQuirks
from .request import request_body

__all__ = ["OpenAIResponses", "ResponsesQuirks"]


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_COUNT = msgspec.json.Decoder(_Count)


class OpenAIResponses(Translated):
    """Responses; the differences between servers are `ResponsesQuirks`."""

    name: ClassVar[str] = "openai-responses"
    quirks: ClassVar[type[msgspec.Struct]] = ResponsesQuirks
    counts_tokens: ClassVar[bool] = True

    def draft(self, exchange: Exchange, target: Target, quirks: ResponsesQuirks) -> Draft:
        body, dropped = request_body(exchange, target, quirks)
        path = "/responses/input_tokens" if exchange.operation == "count_tokens" else "/responses"
        return Draft(path, body, streams(exchange, quirks.streaming), dropped)

    def assembly(self, exchange: Exchange, quirks: ResponsesQuirks) -> ResponsesAssembly:
        return ResponsesAssembly(exchange, quirks)

    def read_token_count(self, body: bytes) -> int:
        """The number in the upstream's own count. Raises UpstreamFailed on nonsense."""
        return read_record(_COUNT, body).input_tokens
