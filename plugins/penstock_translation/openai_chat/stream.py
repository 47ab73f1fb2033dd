"""A Chat Completions stream as events, whatever pieces its bytes come in."""

from penstock import Decoder, GatewayError, Piece, Ping, UpstreamFailed, sse
from penstock_translation.openai_chat.answer import read_whole
from penstock_translation.openai_chat.assembly import Assembly
from penstock_translation.openai_chat.errors import inband_error

_DONE = b"[DONE]"
_BROKE_OFF = "the upstream's stream broke off before the answer was complete"


class ChatDecoder(Decoder):
    """Decodes one stream. Bytes never leave as they came, so pieces hold events only.

    An error in a read that also brought events is raised by the next call, so that what came before it is not lost
    and the result does not depend on how the bytes were cut.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reader = sse.Reader()
        self._error: GatewayError | None = None
        self._done = False
        self._whole: bytearray | None = None  # a JSON answer to a request for a stream
        self._sniffed = False

    def feed(self, chunk: bytes) -> list[Piece]:
        """Bytes as they came. Raises UpstreamFailed, or the error that the upstream reports."""
        if self._error is not None:
            raise self._error
        if not self._sniffed:
            chunk = self._sniff(chunk)
        if self._whole is not None:
            self._whole += chunk
            return []
        if self._done or not chunk:
            return []
        try:
            return self._take(self._reader.feed(chunk))
        except sse.FrameTooLarge as error:
            raise UpstreamFailed(f"the upstream's stream cannot be read: {error}") from None

    def end(self) -> list[Piece]:
        """The stream is over. Raises UpstreamFailed if the answer is not complete."""
        if self._error is not None:
            raise self._error
        if self._whole is not None:
            body, self._whole = bytes(self._whole), None
            return [Piece(read_whole(self._assembly, body), b"")]
        pieces = [] if self._done else self._take(self._reader.rest(), last=True)
        if self._done or self._error is not None:
            return pieces
        if not self._assembly.reason:
            raise UpstreamFailed(_BROKE_OFF)
        return pieces + self._finished()

    def _sniff(self, chunk: bytes) -> bytes:
        chunk = chunk.lstrip()
        if chunk:
            self._sniffed = True
            if chunk.startswith(b"{"):
                self._whole = bytearray()
        return chunk
