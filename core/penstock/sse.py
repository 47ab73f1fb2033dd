"""Server-sent events without I/O: bytes in any pieces to frames, and frames to bytes.

Follows the event-stream format of the HTML standard (html.spec.whatwg.org, section 9.2): lines end with LF, CRLF
or CR, a BOM may lead, `data` lines join with LF, comments and unknown fields are skipped. `id` and `retry` are
not kept, since no model provider uses them.
"""

import re

import msgspec

_LINE_END = re.compile(rb"\r\n|\r|\n")
_PLAIN = re.compile(rb"(?m)^((?:event: (.*)\n)?data: (.*)\n\n)")  # as nearly all frames are; in linear time
_BOM = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (empty when there was none), its data, and its bytes, terminator included.

    A frame of comments alone has neither name nor data: it is a sign of life and may be worth relaying.
    """

    name: bytes
    data: bytes
    raw: bytes


class FrameTooLarge(ValueError):
    """A single frame exceeds the reader's limit."""


class Reader:
    """Collects bytes and hands out complete frames. The result does not depend on how the bytes were cut."""

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        """`limit` bounds the bytes of one frame."""
        self._pending: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._started = False
        self._return = False  # the last chunk ended in CR, which may be the first half of a CRLF

    @property
    def empty(self) -> bool:
        """Whether nothing is held back, so that the next chunk begins a frame."""
        return self._started and not self._pending and not self._return

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take bytes, return the frames that became complete. Raises FrameTooLarge."""
        if self._return or b"\r" in chunk:
            chunk = self._normalised(chunk)
        if not chunk:
            return []
        if self._started and not self._completes(chunk):  # one huge frame in small pieces stays linear
            self._hold(chunk)
            return []
        buffer = b"".join((*self._pending, chunk)) if self._pending else chunk
        self._pending, self._size = [], 0
        if not self._started:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._hold(buffer)
                return []
            self._started = True
            buffer = buffer.removeprefix(_BOM)
        complete, end, rest = buffer.rpartition(b"\n\n")
        if rest:
            self._hold(rest)
        return _frames(complete + end)

    def rest(self) -> list[Frame]:
        """The frame that the end of the stream cut off, if there is one."""
        text = b"".join(self._pending).removeprefix(_BOM)
        self._pending, self._size = [], 0
        frame = _frame(text)
        return [] if frame is None else [frame]

    def _normalised(self, chunk: bytes) -> bytes:
        if not chunk:
            return chunk
        if self._return:
            chunk = b"\r" + chunk
        self._return = chunk.endswith(b"\r")
        if self._return:
            chunk = chunk[:-1]
        return _LINE_END.sub(b"\n", chunk)

    def _completes(self, chunk: bytes) -> bool:
        if b"\n\n" in chunk:
            return True
        return chunk.startswith(b"\n") and bool(self._pending) and self._pending[-1].endswith(b"\n")

    def _hold(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)
        if self._size > self._limit:
            raise FrameTooLarge(f"a server-sent event is larger than {self._limit} bytes")


def _frames(text: bytes) -> list[Frame]:
    plain = _PLAIN.findall(text)
    if sum([len(raw) for raw, _, _ in plain]) == len(text):
        return [Frame(name, data, raw) for raw, name, data in plain]
    return [frame for part in text.split(b"\n\n") if (frame := _frame(part)) is not None]


def _frame(text: bytes) -> Frame | None:
    text = text.strip(b"\n")
    if not text:
        return None
    name = b""
    data: list[bytes] = []
    for line in text.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return Frame(name, b"\n".join(data), text + b"\n\n")


def write(name: str, data: bytes) -> bytes:
    """A frame with an event name. `data` must be one line, as compact JSON is."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
