"""Write one line of JSON about each exchange."""

import json
from datetime import UTC, datetime

import msgspec

from penstock import Exchange, Gateway, Plugin, hookimpl

from .record import Line, record
from .sink import FileSink, Sink, StreamSink

STREAMS = {"stdout": 1, "stderr": 2}


class Logging(Plugin):
    """Write one line of JSON about each exchange, when it is over; never what was asked or answered.

    `to` is `stdout`, `stderr` or a file, relative to the pipeline file. Several workers may share a file, and it may
    be moved away at any time. Put this step first to see everything, refused requests included.
    """

    if_broken = "skip"

    to: str = "stderr"

    def __post_init__(self) -> None:
        if not self.to:
            raise ValueError("`to` must be stdout, stderr or a file")

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self._failing: bool = False
        self._sink: Sink = self._open()

    @hookimpl
    def shutdown(self, gateway: Gateway) -> None:
        self._sink.close()

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None:
        line = _encoded(record(exchange, datetime.now(UTC)))
        try:
            self._sink.write(line + b"\n")
        except OSError as error:
            self._report(error)
        else:
            self._failing = False

    def _open(self) -> Sink:
        if self.to in STREAMS:
            return StreamSink(STREAMS[self.to])
        path = self.folder / self.to
        try:
            return FileSink(path, self.clock)
        except OSError as error:
            raise ValueError(f"`to`: cannot write {path}: {error.strerror}") from None

    def _report(self, error: OSError) -> None:
        """Once for each time that writing stops working: a full disk must not fill another one."""
        if not self._failing:
            self._failing = True
            self.log.error("request log %s cannot be written, lines are being lost: %s", self.to, error.strerror)


def _encoded(line: Line) -> bytes:
    """The line in plain ASCII, in which no byte can confuse a terminal or a parser."""
    try:
        encoded = msgspec.json.encode(line)
    except (ValueError, OverflowError):  # half a surrogate pair, or a number beyond 64 bits: the slow way knows them
        encoded = b""
    if encoded and encoded.isascii():
        return encoded
    return json.dumps(msgspec.to_builtins(line), separators=(",", ":")).encode()
