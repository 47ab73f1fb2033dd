"""Events as this format's stream: each frame with its `event` line, usage and stop reason in the last record."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock import (
    BlockStart,
    BlockStop,
    Citation,
    Encoder,
    Event,
    Exchange,
    Failed,
    Finish,
    GatewayError,
    Opaque,
    Ping,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    Usage,
    sse,
)
from penstock_translation.anthropic.errors import event_of
from penstock_translation.anthropic.wire import (
    final_record,
    message_head,
    spoken_by_upstream,
    to_json,
    write_block,
    write_usage,
)

PING = sse.write("ping", b'{"type":"ping"}')
MESSAGE_STOP = sse.write("message_stop", b'{"type":"message_stop"}')

_BESIDE_DELTA = frozenset({"context_management"})  # stands next to `delta`, not in it

_BLOCK_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_BLOCK_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
)


def last_frames(record: Mapping[str, Any], usage: Usage) -> bytes:
    """The final record and the end of the message."""
    delta = {name: value for name, value in record.items() if name not in _BESIDE_DELTA}
    beside = {name: value for name, value in record.items() if name in _BESIDE_DELTA}
    counts = msgspec.Raw(write_usage(usage))
    payload = to_json({"type": "message_delta", "delta": delta, "usage": counts, **beside})
    return sse.write("message_delta", payload) + MESSAGE_STOP


class StreamEncoder(Encoder):
    """Writes one stream. Usage is remembered and leaves with the start and the finish."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._usage = Usage()

    def encode(self, event: Event) -> bytes:
        return _WRITERS[type(event)](self, event)

    def ping(self) -> bytes:
        return PING

    def fail(self, error: GatewayError) -> bytes:
        return event_of(error, self._exchange.id)

    def _start(self, event: Start) -> bytes:
        self._usage = event.usage
        message = message_head(self._exchange, event) | {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": msgspec.Raw(write_usage(event.usage)),
        }
        return sse.write("message_start", to_json({"type": "message_start", "message": message}))

    def _block_start(self, event: BlockStart) -> bytes:
        return _BLOCK_START % (event.index, write_block(event))

    def _text(self, event: Text) -> bytes:
        return _DELTA % (event.index, b"text_delta", b"text", to_json(event.text))

    def _thinking(self, event: Thinking) -> bytes:
        return _DELTA % (event.index, b"thinking_delta", b"thinking", to_json(event.text))

    def _signature(self, event: Signature) -> bytes:
        return _DELTA % (event.index, b"signature_delta", b"signature", to_json(event.signature))

    def _tool_input(self, event: ToolInput) -> bytes:
        return _DELTA % (event.index, b"input_json_delta", b"partial_json", to_json(event.json))

    def _citation(self, event: Citation) -> bytes:
        return _DELTA % (event.index, b"citations_delta", b"citation", event.json.encode())

    def _block_stop(self, event: BlockStop) -> bytes:
        return _BLOCK_STOP % event.index

    def _count(self, event: Usage) -> bytes:
        self._usage = event
        return b""

    def _finish(self, event: Finish) -> bytes:
        return last_frames(final_record(self._exchange, event), self._usage)

    def _ping(self, event: Ping) -> bytes:
        return PING

    def _fail(self, event: Failed) -> bytes:
        return self.fail(event.error)

    def _opaque(self, event: Opaque) -> bytes:
        return event.frame if spoken_by_upstream(self._exchange) else b""


_WRITERS: Mapping[type, Callable[[StreamEncoder, Any], bytes]] = {
    Start: StreamEncoder._start,
    BlockStart: StreamEncoder._block_start,
    Text: StreamEncoder._text,
    Thinking: StreamEncoder._thinking,
    Signature: StreamEncoder._signature,
    ToolInput: StreamEncoder._tool_input,
    Citation: StreamEncoder._citation,
    BlockStop: StreamEncoder._block_stop,
    Usage: StreamEncoder._count,
    Finish: StreamEncoder._finish,
    Ping: StreamEncoder._ping,
    Failed: StreamEncoder._fail,
    Opaque: StreamEncoder._opaque,
}
