"""An upstream's answer from its bytes: a stream in any pieces, or a whole body, each possibly where the other was due.

For formats whose bytes never leave as they came. What the records mean is the business of a format's `Assembly`.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from penstock import Decoder, Event, Failed, GatewayError, Piece, UpstreamFailed, sse

from .bounds import Bound
from .complaint import read_complaint

T = TypeVar("T")

_BROKE_OFF = "the upstream's stream broke off before the answer was complete"
_NOTHING = "the upstream closed its stream without an answer"


class Assembly(ABC):
    """Puts the records of one answer together to events. All methods raise the errors that the records tell of."""

    done = False
    """Whether the answer is complete; what comes after that is not looked at."""

    @property
    @abstractmethod
    def begun(self) -> bool:
        """Whether the upstream said anything of its answer."""

    @abstractmethod
    def take(self, frame: sse.Frame) -> None:
        """A record of a stream; its data are not empty."""

    @abstractmethod
    def whole(self, body: bytes) -> None:
        """An answer in one JSON body."""

    @abstractmethod
    def ended(self) -> bool:
        """The stream is over: finish the answer if it can pass for complete, else say that it cannot."""

    @abstractmethod
    def ping(self) -> None:
        """A sign of life."""

    @abstractmethod
    def drain(self) -> list[Event]:
        """The events since the last call."""


class AnswerDecoder(Decoder):
    """Decodes one stream. Bytes never leave as they came, so pieces hold events only.

    An error in a read that also brought events is the last event, so that what came before it is not lost.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reader = sse.Reader()
        self._bound = Bound()
        self._whole: bytearray | None = None  # a JSON answer to a request for a stream
        self._sniffed = False
        self._over = False

    def feed(self, chunk: bytes) -> list[Piece]:
        """Bytes as they came. Raises UpstreamFailed, or the error that the upstream reports."""
        if not self._sniffed:
            chunk = self._sniff(chunk)
        if self._whole is not None:
            self._bound.count(len(chunk))
            self._whole += chunk
            return []
        if self._over or not chunk:
            return []
        try:
            frames = self._reader.feed(chunk)
        except sse.FrameTooLarge as error:
            raise UpstreamFailed(f"the upstream's stream cannot be read: {error}") from None
        self._bound.count(len(chunk), len(frames))
        return self._take(frames)

    def end(self) -> list[Piece]:
        """The stream is over. Raises UpstreamFailed if the answer is not complete."""
        if self._whole is not None:
            body, self._whole = bytes(self._whole), None
            with _bounded_depth():
                self._assembly.whole(body)
            return self._pieces()
        if self._over:
            return []
        self._last(self._reader.rest())
        with _bounded_depth():
            if not self._assembly.done and not self._assembly.ended():
                raise UpstreamFailed(_BROKE_OFF if self._assembly.begun else _NOTHING)
        return self._pieces()

    def _sniff(self, chunk: bytes) -> bytes:
        chunk = chunk.lstrip()
        if chunk:
            self._sniffed = True
            if chunk.startswith((b"{", b"[")):
                self._whole = bytearray()
        return chunk

    def _take(self, frames: list[sse.Frame]) -> list[Piece]:
        try:
            self._read(frames)
        except GatewayError as error:
            if not (pieces := self._pieces()):
                raise
            self._over = True
            return [*pieces, Piece((Failed(error),), b"")]
        return self._pieces()

    def _read(self, frames: list[sse.Frame]) -> None:
        assembly = self._assembly
        with _bounded_depth():
            for frame in frames:
                if assembly.done:
                    break
                if frame.data:
                    assembly.take(frame)
                elif frame.raw.startswith((b"{", b"[")):  # an error that does not come as an event, as Google has some
                    assembly.take(sse.Frame(b"", frame.raw, frame.raw))
                else:
                    assembly.ping()

    def _last(self, frames: list[sse.Frame]) -> None:
        """A frame that the end cut off: it may be whole but for its blank line; if not, it is no loss of its own."""
        try:
            self._read(frames)
        except UpstreamFailed:
            if not self._assembly.ended():
                raise UpstreamFailed(_BROKE_OFF) from None

    def _pieces(self) -> list[Piece]:
        events = self._assembly.drain()
        return [Piece(events, b"")] if events else []


def read_answer(assembly: Assembly, body: bytes) -> list[Event]:
    """The events of a JSON body, or of the stream that some servers send to whoever asks."""
    if body.lstrip()[:1] in (b"{", b"["):
        with _bounded_depth():
            assembly.whole(body)
        return assembly.drain()
    if b"data:" not in body:
        page = read_complaint(body).text
        raise UpstreamFailed(f"the upstream's answer is not JSON{f': {page}' if page else ''}")
    decoder = AnswerDecoder(assembly)
    pieces = decoder.feed(body)
    pieces += decoder.end()
    return [event for piece in pieces for event in piece.events]


@contextmanager
def _bounded_depth() -> Generator[None, None, None]:
    """What could just be read may be too deep to be written."""
    try:
        yield
    except RecursionError:
        raise UpstreamFailed("the upstream sent a record that is nested too deeply") from None


def read_record(decoder: msgspec.json.Decoder[T], record: bytes) -> T:
    """A record from its JSON. Raises UpstreamFailed on nonsense."""
    try:
        return decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = record[:300].decode(errors="replace")
        raise UpstreamFailed(f"the upstream sent a record that cannot be read: {error}", detail=shown) from None
