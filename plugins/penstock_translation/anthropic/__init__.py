"""The Anthropic Messages format, for the agents that speak it and the upstreams that serve it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from penstock import (
    Answer,
    ClientProtocol,
    Decoder,
    Encoder,
    Event,
    Exchange,
    GatewayError,
    Internal,
    Kind,
    ModelInfo,
    Request,
    Route,
    Target,
    UpstreamProtocol,
    UpstreamRequest,
)

from ..seals import maker_of
from .answer import fold, read_message
from .decoder import StreamDecoder
from .encoder import StreamEncoder
from .errors import NAME, answer_of, read_error
from .fingerprint import fingerprint
from .kinds import kind_of
from .mistakes import BROKEN, read_upstream
from .models import models_body
from .others import other_models
from .prompt import read_prompt
from .quirks import Quirks
from .request import betas, render_body
from .sealing import Sealer
from .wire import portable
from .writing import write_prompt

__all__ = ["Anthropic", "Quirks"]

_PASSED = frozenset({"accept", "user-agent", "x-app"})
_PASSED_PREFIXES = ("anthropic-", "x-stainless-")
_SECRETS = ("auth", "token", "key", "secret")  # what the name of a header with a credential contains
_VERSION = "2023-06-01"
_BETA = "anthropic-beta"


class _Metadata(msgspec.Struct):
    user_id: str = ""


class _User(msgspec.Struct):
    session_id: str = ""


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_METADATA = msgspec.json.Decoder(_Metadata)
_USER = msgspec.json.Decoder(_User)
_COUNT = msgspec.json.Decoder(_Count)


class Anthropic(ClientProtocol, UpstreamProtocol):
    """The Messages format, both ways."""

    name = NAME
    default_auth = "x-api-key"
    quirks = Quirks
    counts_tokens = True
    routes = (
        Route("POST", "/v1/messages", "generate"),
        Route("POST", "/v1/messages/count_tokens", "count_tokens"),
        Route("GET", "/v1/models", "list_models"),
        Route("HEAD", "/", "probe"),
        Route("GET", "/", "probe"),
        Route("HEAD", "/api/hello", "probe"),
        Route("GET", "/api/hello", "probe"),
    )

    # ------------------------------------------------------------ for clients

    def read(self, body: bytes, headers: Mapping[str, str]) -> Request:
        request = Request(body, read_prompt, write_prompt=write_prompt)
        request.session = (
            headers.get("x-claude-code-session-id")
            or _session(request.fields.get("metadata"))
            or headers.get("x-session-id", "")
        )
        return request

    def encoder(self, exchange: Exchange) -> Encoder:
        return StreamEncoder(exchange)

    def fold(self, exchange: Exchange, events: Iterable[Event]) -> bytes:
        return fold(exchange, events)

    def error(self, error: GatewayError, request_id: str) -> Answer:
        return answer_of(error, request_id)

    def models(self, models: Sequence[ModelInfo], headers: Mapping[str, str]) -> bytes:
        return models_body(models)

    def token_count(self, tokens: int) -> bytes:
        return b'{"input_tokens":%d}' % tokens

    def kind(self, request: Request, headers: Mapping[str, str]) -> Kind:
        return kind_of(request, headers)

    def fingerprint(self, request: Request, headers: Mapping[str, str]) -> bytes | None:
        return fingerprint(request, headers)

    def other_models(self, request: Request) -> tuple[str, ...]:
        return other_models(request.current)

    def portable(self, exchange: Exchange, events: Iterable[Event]) -> list[Event]:
        return portable(exchange, events)

    def how_to_connect(self, url: str, credential: str = "local") -> list[str]:
        return [
            f"export ANTHROPIC_BASE_URL={url}",
            f"export ANTHROPIC_AUTH_TOKEN={credential}",
            "export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1",
            "claude",
        ]

    # ------------------------------------------------------------ for upstreams

    def render(self, exchange: Exchange, target: Target, quirks: Quirks) -> UpstreamRequest:
        """The client's own bytes, but for what the target needs otherwise, and the headers of this format."""
        if exchange.protocol.name != self.name:
            raise Internal(f"a request in the format {exchange.protocol.name!r} cannot go to an Anthropic upstream")
        path = "/v1/messages/count_tokens" if exchange.operation == "count_tokens" else "/v1/messages"
        body, dropped = render_body(exchange, target, quirks)
        return UpstreamRequest(
            path=f"{path}?{exchange.query}" if exchange.query else path,
            body=body,
            headers=_headers(exchange.headers, quirks),
            dropped=dropped,
        )

    def decoder(self, exchange: Exchange, wanted: frozenset[type] | None, quirks: Quirks) -> Decoder:
        return StreamDecoder(wanted, None if quirks.claude else Sealer(maker_of(exchange)))

    def read_answer(self, exchange: Exchange, body: bytes, quirks: Quirks) -> list[Event]:
        if quirks.claude:
            return read_message(body)
        sealer = Sealer(maker_of(exchange))
        events = read_message(body, sealer)
        sealer.note(exchange)
        return events

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return read_error(status, headers, body)

    def read_token_count(self, body: bytes) -> int:
        return read_upstream(_COUNT, body, "token count").input_tokens


def _headers(given: Mapping[str, str], quirks: Quirks) -> dict[str, str]:
    wanted = betas(given.get(_BETA, ""), quirks)
    return {
        "anthropic-version": _VERSION,
        **{name: value for name, value in given.items() if _is_passed(name) and name != _BETA},
        **({_BETA: wanted} if wanted else {}),
        "content-type": "application/json",
    }


def _is_passed(name: str) -> bool:
    if name.startswith("anthropic-") and any(word in name for word in _SECRETS):
        return False
    return name in _PASSED or name.startswith(_PASSED_PREFIXES)


def _session(metadata: msgspec.Raw | None) -> str:
    """The session that an agent wrote as JSON into `metadata.user_id`, "" when there is none."""
    try:
        return _USER.decode(_METADATA.decode(metadata).user_id).session_id if metadata else ""
    except BROKEN:
        return ""
