"""Events as this format's stream: each frame with its `event` line, usage and stop reason in the last record."""

from collections.abc import Mapping
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

from .errors import event_of
from .safeguards import spoken_by_upstream
from .wire import final_record, message_head, to_json, write_block, write_usage

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
        match event:
            case Text():
                return _DELTA % (event.index, b"text_delta", b"text", to_json(event.text))
            case ToolInput():
                return _DELTA % (event.index, b"input_json_delta", b"partial_json", to_json(event.json))
            case Thinking():
                return _DELTA % (event.index, b"thinking_delta", b"thinking", to_json(event.text))
            case Signature():
                return _DELTA % (event.index, b"signature_delta", b"signature", to_json(event.signature))
            case Citation():
                return _DELTA % (event.index, b"citations_delta", b"citation", event.json.encode())
            case BlockStart():
                return _BLOCK_START % (event.index, write_block(event))
            case BlockStop():
                return _BLOCK_STOP % event.index
            case Start():
                return self._start(event)
            case Usage():
                self._usage = event
                return b""
            case Finish():
                return last_frames(final_record(self._exchange, event), self._usage)
            case Ping():
                return PING
            case Failed():
                return self.fail(event.error)
            case Opaque():
                return event.frame if spoken_by_upstream(self._exchange) else b""

    def ping(self) -> bytes:
        return PING

    def fail(self, error: GatewayError) -> bytes:
        return event_of(error, self._exchange.id)

    def _start(self, event: Start) -> bytes:
        self._usage = event.usage
        message: dict[str, Any] = message_head(self._exchange, event)
        message |= {"content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = msgspec.Raw(write_usage(event.usage))
        return sse.write("message_start", to_json({"type": "message_start", "message": message}))
