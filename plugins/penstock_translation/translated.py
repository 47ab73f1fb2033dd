"""What the upstream protocols share whose requests and answers are written anew for the client."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from penstock import (
    Decoder,
    Event,
    Exchange,
    GatewayError,
    InvalidRequest,
    Target,
    UpstreamProtocol,
    UpstreamRequest,
)

from .failures import answer_error
from .streaming import AnswerDecoder, Assembly, read_answer

Streaming = Literal["as_asked", "always", "never"]


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differences of upstreams whose requests and answers are written anew."""

    tool_name_limit: Annotated[int, Meta(ge=16, description="The longest tool name.")] = 64
    streaming: Annotated[
        Streaming,
        Meta(
            description="Whether the upstream streams its answers: as the client asks, always, or never. The client "
            "gets a stream or a whole answer as it asks, whatever the upstream can do."
        ),
    ] = "as_asked"
    extra_body: Annotated[
        dict[str, Any], Meta(description="Members added to every request; they win over everything else.")
    ] = {}


def streams(exchange: Exchange, streaming: Streaming) -> bool:
    """Whether the upstream is asked for a stream."""
    asked = exchange.request.stream if streaming == "as_asked" else streaming == "always"
    return asked and exchange.operation == "generate"


class Draft(NamedTuple):
    """A request before it is written: `streamed` if a stream is asked for, `dropped` as in UpstreamRequest."""

    path: str
    body: Mapping[str, Any]
    streamed: bool
    dropped: tuple[str, ...] = ()


class Translated(UpstreamProtocol):
    """A protocol that no client speaks as yet: a request is drafted from the prompt, an answer assembled to events."""

    @abstractmethod
    def draft(self, exchange: Exchange, target: Target, quirks: Any) -> Draft:
        """The request for a target. Raises InvalidRequest if the client's document is not a prompt."""

    @abstractmethod
    def assembly(self, exchange: Exchange, quirks: Any) -> Assembly:
        """A new assembly for one answer."""

    def render(self, exchange: Exchange, target: Target, quirks: Any) -> UpstreamRequest:
        try:
            draft = self.draft(exchange, target, quirks)
            body = msgspec.json.encode(draft.body)
        except UnicodeDecodeError as error:  # parts of the client's document are looked at here for the first time
            raise InvalidRequest(f"the request body is not UTF-8: {error}") from None
        except RecursionError:
            raise InvalidRequest("the request body is nested too deeply") from None
        accept = "text/event-stream" if draft.streamed else "application/json"
        headers = {"content-type": "application/json", "accept": accept}
        return UpstreamRequest(draft.path, body, headers, dropped=draft.dropped)

    def decoder(self, exchange: Exchange, wanted: frozenset[type] | None, quirks: Any) -> Decoder:
        return AnswerDecoder(self.assembly(exchange, quirks))

    def read_answer(self, exchange: Exchange, body: bytes, quirks: Any) -> list[Event]:
        return read_answer(self.assembly(exchange, quirks), body)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return answer_error(self.name, status, headers, body)
