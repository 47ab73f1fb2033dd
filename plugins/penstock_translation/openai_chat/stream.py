"""A Chat Completions stream as events, whatever pieces its bytes come in."""

from penstock import Decoder, Failed, GatewayError, Piece, UpstreamFailed, sse
from penstock_translation.failures import inband_error
from penstock_translation.openai_chat.answer import read_whole
from penstock_translation.openai_chat.assembly import Assembly

_DONE = b"[DONE]"
_BROKE_OFF = "the upstream's stream broke off before the answer was complete"
_NOTHING = "the upstream closed its stream without an answer"


class ChatDecoder(Decoder):
    """Decodes one stream. Bytes never leave as they came, so pieces hold events only.

    An error in a read that also brought events is the last event, so that what came before it is not lost.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reader = sse.Reader()
        self._done = False
        self._whole: bytearray | None = None  # a JSON answer to a request for a stream
        self._sniffed = False

    def feed(self, chunk: bytes) -> list[Piece]:
        """Bytes as they came. Raises UpstreamFailed, or the error that the upstream reports."""
        if not self._sniffed:
            chunk = self._sniff(chunk)
        if self._whole is not None:
            self._whole += chunk
            return []
        if self._done or not chunk:
            return []
        try:
            frames = self._reader.feed(chunk)
        except sse.FrameTooLarge as error:
            raise UpstreamFailed(f"the upstream's stream cannot be read: {error}") from None
        return self._take(frames)

    def end(self) -> list[Piece]:
        """The stream is over. Raises UpstreamFailed if the answer is not complete."""
        if self._whole is not None:
            body, self._whole = bytes(self._whole), None
            self._done = True
            return [Piece(read_whole(self._assembly, body), b"")]
        if self._done:
            return []
        for frame in self._reader.rest():
            self._last(frame)
        if not self._assembly.reason:
            raise UpstreamFailed(_BROKE_OFF if self._assembly.begun else _NOTHING)
        self._finish()
        return self._piece()

    def _sniff(self, chunk: bytes) -> bytes:
        chunk = chunk.lstrip()
        if chunk:
            self._sniffed = True
            if chunk.startswith((b"{", b"[")):
                self._whole = bytearray()
        return chunk

    def _take(self, frames: list[sse.Frame]) -> list[Piece]:
        try:
            for frame in frames:
                self._frame(frame)
        except GatewayError as error:
            if not (pieces := self._piece()):
                raise
            self._done = True
            return [*pieces, Piece((Failed(error),), b"")]
        return self._piece()

    def _frame(self, frame: sse.Frame) -> None:
        data = frame.data
        if self._done:
            return
        if not data:
            self._assembly.ping()
        elif data.startswith(_DONE):
            if not self._assembly.begun:
                raise UpstreamFailed(_NOTHING)
            self._finish()
        elif frame.name == b"error":
            raise inband_error(data)
        else:
            self._assembly.take(data)

    def _last(self, frame: sse.Frame) -> None:
        """A frame that the end cut off: it may be whole but for its blank line; if not, it is no loss of its own."""
        try:
            self._frame(frame)
        except UpstreamFailed:
            if not self._assembly.reason:
                raise UpstreamFailed(_BROKE_OFF) from None

    def _finish(self) -> None:
        if not self._done:
            self._assembly.finish()
            self._done = True

    def _piece(self) -> list[Piece]:
        events = self._assembly.drain()
        return [Piece(events, b"")] if events else []
