"""This format's stream as events.

The final record is held until `message_stop`, or the end of the stream, so that it leaves in one piece with all that
belongs to it: usage, stop reason, and what further `message_delta` frames add.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

import msgspec

from penstock import (
    BlockStop,
    Citation,
    Decoder,
    Delta,
    Event,
    Failed,
    GatewayError,
    Opaque,
    Piece,
    Ping,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    UpstreamFailed,
    Usage,
    sse,
)

from ..bounds import Bound
from .encoder import MESSAGE_STOP, last_frames
from .errors import read_event
from .mistakes import read_upstream
from .sealing import Sealer
from .wire import WireUsage, one_line, read_block, read_finish, read_usage, text_of

_ALIVE = (Ping(),)
_DELTAS = frozenset(get_args(Delta))


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None


class _Start(msgspec.Struct):
    message: _Message | None = None


class _BlockStart(msgspec.Struct):
    content_block: msgspec.Raw
    index: int = 0


class _Increment(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: msgspec.Raw = msgspec.Raw(b"null")


class _BlockDelta(msgspec.Struct):
    delta: _Increment
    index: int = 0


class _BlockStop(msgspec.Struct):
    index: int = 0


class _Unnamed(msgspec.Struct):
    type: str = ""
    error: msgspec.Raw = msgspec.Raw(b"null")


_START = msgspec.json.Decoder(_Start)
_BLOCK_START = msgspec.json.Decoder(_BlockStart)
_BLOCK_DELTA = msgspec.json.Decoder(_BlockDelta)
_BLOCK_STOP = msgspec.json.Decoder(_BlockStop)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPTIONAL_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_USAGE = msgspec.json.Decoder(WireUsage | None)
_UNNAMED = msgspec.json.Decoder(_Unnamed)
_NULL = msgspec.Raw(b"null")
_DELTA_LINE = b"event: content_block_delta\n"
_NO_NAMES = frozenset({b"", b"message"})  # how servers that do not name their events call them


class StreamDecoder(Decoder):
    """Reads one stream."""

    def __init__(self, wanted: frozenset[type] | None, sealer: Sealer | None = None) -> None:
        self._sealer = sealer
        self._reader = sse.Reader()
        self._skipped = b"content_block_delta" if wanted is not None and not wanted & _DELTAS else None
        self._usage = Usage()
        self._record: dict[str, msgspec.Raw] = {}
        self._bound = Bound()  # of the final record
        self._held: list[bytes] = []
        self._held_events: list[Event] = []
        self._begun = False
        self._stopped = False

    def feed(self, chunk: bytes) -> list[Piece]:
        if self._skipped and not self._held and self._reader.empty and self._is_relayed(chunk):
            return [Piece((), chunk)]
        try:
            frames = self._reader.feed(chunk)
        except sse.FrameTooLarge as error:
            raise UpstreamFailed(f"the upstream sent nonsense: {error}") from None
        return list(self._pieces(frames))

    def end(self) -> list[Piece]:
        pieces = [] if self._held else list(self._pieces(self._reader.rest()))
        if self._stopped:
            return pieces
        if not self._held:
            raise UpstreamFailed("the upstream's stream broke off before the answer was complete")
        self._held.append(MESSAGE_STOP)  # the one frame that may be missing
        return [*pieces, self._last()]

    def _is_relayed(self, chunk: bytes) -> bool:
        return _only_deltas(chunk) and not (self._sealer is not None and self._sealer.concerns(chunk))

    def _pieces(self, frames: Iterable[sse.Frame]) -> Iterator[Piece]:
        skipped: list[bytes] = []
        for frame in map(self._sealer.frame, frames) if self._sealer else frames:
            if frame.name == self._skipped and not self._held and not self._stopped:
                skipped.append(frame.raw)
            elif (piece := self._read_or_fail(frame)) is not None:
                if skipped:
                    yield Piece((), b"".join(skipped))
                    skipped = []
                yield piece
        if skipped:
            yield Piece((), b"".join(skipped))

    def _read_or_fail(self, frame: sse.Frame) -> Piece | None:
        """As `_read`; once the answer has begun an error is its last event, so that nothing before it is lost."""
        try:
            return self._read(frame)
        except GatewayError as error:
            if not self._begun:
                raise
            self._stopped = True
            return Piece((Failed(error),), b"")

    def _read(self, frame: sse.Frame) -> Piece | None:
        """The frame's piece, None while the final record is held and once the answer is over."""
        if self._stopped or frame.data == b"[DONE]":
            return None
        if frame.name in _NO_NAMES:
            frame = _named(frame)
        name, data, raw = frame.name, frame.data, frame.raw
        events = self._events(name, data) if data else _ALIVE
        if events is None:
            events = (Opaque(raw),)
        ends = name == b"message_stop"
        if not ends and "stop_reason" not in self._record:
            return Piece(events, raw)
        self._bound.count(len(raw))
        self._held.append(raw)
        self._held_events += events
        return self._last() if ends else None

    def _last(self) -> Piece:
        self._stopped = True
        finish = read_finish(self._record)
        raw = b"".join(self._held)
        if "stop_reason" not in self._record:
            raw = last_frames({"stop_reason": "end_turn", "stop_sequence": None}, self._usage)
        return Piece((*self._held_events, self._usage, finish), raw)

    # ------------------------------------------------------------ the frames, by name

    def _events(self, name: bytes, data: bytes) -> Sequence[Event] | None:
        """A frame's events, None when the vocabulary has no word for it."""
        match name:
            case b"content_block_delta":
                return self._block_delta(data)
            case b"content_block_start":
                return self._block_start(data)
            case b"content_block_stop":
                return (BlockStop(read_upstream(_BLOCK_STOP, data, "content_block_stop event").index),)
            case b"message_start":
                return self._message_start(data)
            case b"message_delta":
                return self._message_delta(data)
            case b"message_stop":
                return ()
            case b"ping":
                return _ALIVE
            case b"error":
                raise read_event(data)
            case _:
                return None

    def _message_start(self, data: bytes) -> Sequence[Event]:
        message = read_upstream(_START, data, "message_start event").message or _Message()
        self._usage = read_usage(message.usage, self._usage)
        return (Start(message.model or "", message.id or "", self._usage),)

    def _block_start(self, data: bytes) -> Sequence[Event]:
        frame = read_upstream(_BLOCK_START, data, "content_block_start event")
        self._begun = True
        return read_block(frame.index, frame.content_block)

    def _block_delta(self, data: bytes) -> Sequence[Event] | None:
        frame = read_upstream(_BLOCK_DELTA, data, "content_block_delta event")
        self._begun = True
        delta = frame.delta
        match delta.type:
            case "text_delta":
                return (Text(frame.index, delta.text or ""),)
            case "input_json_delta":
                return (ToolInput(frame.index, delta.partial_json or ""),)
            case "thinking_delta":
                return (Thinking(frame.index, delta.thinking or ""),)
            case "signature_delta":
                return (Signature(frame.index, delta.signature or ""),)
            case "citations_delta":
                return (Citation(frame.index, text_of(bytes(delta.citation))),)
            case _:
                return None

    def _message_delta(self, data: bytes) -> Sequence[Event]:
        what = "message_delta event"
        self._bound.count(len(data))
        members = read_upstream(_MEMBERS, data, what)
        members.pop("type", None)
        usage = read_upstream(_USAGE, members.pop("usage", _NULL), what)
        delta: dict[str, msgspec.Raw] | None = read_upstream(_OPTIONAL_MEMBERS, members.pop("delta", _NULL), what)
        self._usage = read_usage(usage, self._usage)
        self._record |= {name: raw for name, raw in {**members, **(delta or {})}.items() if bytes(raw) != b"null"}
        return () if "stop_reason" in self._record else (self._usage,)


def _only_deltas(chunk: bytes) -> bool:
    """Whether a chunk is whole frames of increments, told without splitting it: lines never begin inside of JSON."""
    return (
        chunk.startswith(_DELTA_LINE)
        and chunk.endswith(b"\n\n")
        and b"\r" not in chunk
        and chunk.count(b"\nevent:") == chunk.count(b"\n\n" + _DELTA_LINE)
    )


def _named(frame: sse.Frame) -> sse.Frame:
    """A frame without a name gets it, and its `event` line, from the JSON: agents do not read it otherwise."""
    if not frame.data:
        return frame
    found = read_upstream(_UNNAMED, frame.data, "event")
    name = found.type or ("error" if found.error != _NULL else "")
    if not name:
        return frame
    return sse.Frame(name.encode(), frame.data, sse.write(name, one_line(frame.data)))
