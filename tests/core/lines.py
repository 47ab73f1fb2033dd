"""A wire protocol for the tests of the core: one event per line, so that a test reads what the client was sent.

`Lines` is spoken by clients and upstreams; `Strangers` is the same under another name, and so has to be translated.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from penstock import (
    Answer,
    ClientProtocol,
    Decoder,
    Encoder,
    Event,
    Exchange,
    GatewayError,
    InvalidRequest,
    ModelInfo,
    Overloaded,
    Piece,
    Prompt,
    RateLimited,
    Request,
    Route,
    Target,
    UpstreamFailed,
    UpstreamProtocol,
    UpstreamRequest,
)
from penstock.testing import Reply, event_stream, json_reply

_JSON = {"content-type": "application/json"}
_KINDS: dict[int, type[GatewayError]] = {400: InvalidRequest, 429: RateLimited, 503: Overloaded}


class NoQuirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing differs."""

    loud: bool = False


class LinesDecoder(Decoder):
    """Reads lines; those whose type nobody wants stay bytes."""

    def __init__(self, wanted: frozenset[type] | None) -> None:
        self._rest = b""
        self._wanted = wanted

    def feed(self, chunk: bytes) -> list[Piece]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [self._piece(line) for line in lines]

    def end(self) -> list[Piece]:
        if self._rest:
            raise UpstreamFailed("the upstream broke off in the middle of a line")
        return []

    def _piece(self, line: bytes) -> Piece:
        event = msgspec.json.decode(line, type=Event)
        skipped = self._wanted is not None and type(event) not in self._wanted and hasattr(event, "text")
        return Piece(() if skipped else (event,), line + b"\n")


class LinesEncoder(Encoder):
    """Writes lines; those of an unchanged relayed answer are the upstream's own, which have blanks in them."""

    def encode(self, event: Event) -> bytes:
        return line(event)

    def ping(self) -> bytes:
        return b'{"event":"ping"}\n'

    def fail(self, error: GatewayError) -> bytes:
        return b'{"failed":"%b","message":"%b"}\n' % (error.kind.encode(), error.message.encode())


class Lines(ClientProtocol, UpstreamProtocol):
    """Both sides."""

    name = "lines"
    routes = (Route("POST", "/ask", "generate"), Route("GET", "/models", "list_models"))
    quirks = NoQuirks
    counts_tokens = True

    def read(self, body: bytes, headers: Mapping[str, str]) -> Request:
        return Request(body, lambda _: Prompt())

    def encoder(self, exchange: Exchange) -> Encoder:
        return LinesEncoder()

    def fold(self, exchange: Exchange, events: Iterable[Event]) -> bytes:
        return msgspec.json.encode({"events": list(events)})

    def error(self, error: GatewayError, request_id: str) -> Answer:
        body = {"error": error.kind, "message": error.message, "id": request_id}
        return Answer(error.status, _JSON | {"request-id": request_id}, msgspec.json.encode(body))

    def models(self, models: Sequence[ModelInfo], headers: Mapping[str, str]) -> bytes:
        return msgspec.json.encode([model.id for model in models])

    def token_count(self, tokens: int) -> bytes:
        return b"%d" % tokens

    def render(self, exchange: Exchange, target: Target, quirks: Any) -> UpstreamRequest:
        return UpstreamRequest("/ask", exchange.request.body_with(model=target.model or exchange.request.model), {})

    def decoder(self, exchange: Exchange, wanted: frozenset[type] | None, quirks: Any) -> Decoder:
        return LinesDecoder(wanted)

    def read_answer(self, exchange: Exchange, body: bytes, quirks: Any) -> list[Event]:
        return msgspec.json.decode(body, type=dict[str, list[Event]])["events"]

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return _KINDS.get(status, UpstreamFailed)(f"the upstream said {status}: {body.decode()}")

    def read_token_count(self, body: bytes) -> int:
        return msgspec.json.decode(body, type=dict[str, int])["tokens"]


class Strangers(Lines):
    """The same words under another name."""

    name = "strangers"


def line(event: Event) -> bytes:
    """An event as these protocols write it."""
    return msgspec.json.encode(event) + b"\n"


def spaced(event: Event) -> bytes:
    """The same event as only an upstream writes it: relayed bytes can be told from encoded ones."""
    return line(event).replace(b'{"event":', b'{ "event" : ')


def stream(*events: Event) -> Reply:
    """An upstream's stream, each event in a write of its own."""
    return event_stream(*map(spaced, events))


def whole(*events: Event) -> Reply:
    """An upstream's answer in one body."""
    body = msgspec.json.encode({"events": events})
    return Reply(200, _JSON, (body.replace(b'{"events":', b'{ "events" : '),))


def error(status: int, message: str = "no") -> Reply:
    """An upstream's refusal."""
    return json_reply(message, status)
