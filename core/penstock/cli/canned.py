"""An upstream for trial runs: it is asked in its own format, and answers at once, without a network."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from penstock.errors import GatewayError, UpstreamFailed
from penstock.events import BlockStart, BlockStop, Event, Finish, Start, Text, Usage
from penstock.exchange import Exchange, Target, Upstream
from penstock.protocol import Decoder, Piece, UpstreamProtocol, UpstreamRequest
from penstock.reach import Reach
from penstock.upstream import Pool, UpstreamAnswer

_WORDS = 96
_USAGE = Usage(input=500, output=_WORDS)

EVENTS: tuple[Event, ...] = (
    Start(model="canned", id="msg_canned", usage=_USAGE),
    BlockStart(0),
    *(Text(0, f"word {number} ") for number in range(_WORDS)),
    BlockStop(0),
    _USAGE,
    Finish(),
)
"""The answer."""


class CannedProtocol(UpstreamProtocol):
    """Renders requests as another protocol does. Its answers are already events: a byte of the stream is the next."""

    def __init__(self, protocol: UpstreamProtocol) -> None:
        self._protocol = protocol
        self.name = f"canned {protocol.name}"  # type: ignore[misc]  # unlike the client's, so that nothing is relayed
        self.quirks = protocol.quirks  # type: ignore[misc]

    def render(self, exchange: Exchange, target: Target, quirks: Any) -> UpstreamRequest:
        return self._protocol.render(exchange, target, quirks)

    def decoder(self, exchange: Exchange, wanted: frozenset[type] | None, quirks: Any) -> Decoder:
        return _CannedDecoder()

    def read_answer(self, exchange: Exchange, body: bytes, quirks: Any) -> list[Event]:
        return list(EVENTS)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return UpstreamFailed(f"a canned upstream has answered {status}")


class _CannedDecoder(Decoder):
    def __init__(self) -> None:
        self._events = iter(EVENTS)

    def feed(self, chunk: bytes) -> list[Piece]:
        return [Piece((next(self._events),), b"") for _ in chunk]

    def end(self) -> list[Piece]:
        return []


class _CannedAnswer:
    """What the engine reads of an upstream's answer: an event a time, or one JSON body."""

    def __init__(self, *, stream: bool) -> None:
        self.status = 200
        self.headers = {"content-type": "text/event-stream" if stream else "application/json"}
        self._left = len(EVENTS)

    async def read(self, seconds: float) -> bytes:
        self._left -= 1
        return b"." if self._left >= 0 else b""

    async def read_all(self, seconds: float, idle: float) -> bytes:
        return b"{}"

    def close(self) -> None:
        """There is nothing to close."""


class CannedPool(Pool):
    """Answers every request, without a connection. `stream` says how."""

    stream = True

    def __init__(self, upstream: Upstream, reach: Reach) -> None:
        super().__init__(upstream, reach)
        self.by_client = False

    async def send(
        self,
        request: UpstreamRequest,
        credential: Mapping[str, str] | None = None,
        leaves: Callable[[], None] = lambda: None,
    ) -> UpstreamAnswer:
        leaves()
        return cast("UpstreamAnswer", _CannedAnswer(stream=self.stream))


def canned(upstream: Upstream) -> Upstream:
    """The same upstream, usable without a key, with canned answers."""
    return msgspec.structs.replace(upstream, protocol=CannedProtocol(upstream.protocol), missing="")
