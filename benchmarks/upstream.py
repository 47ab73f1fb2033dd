"""The benchmark's upstream: `python -m benchmarks.upstream PORT` serves ready-made bytes over bare TCP."""

import asyncio
import re
import sys
from collections.abc import Mapping
from typing import cast

import uvloop

from benchmarks.answers import Answer, answers

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model": ?"([a-z-]+)"|/models/([a-z-]+):')


class Connection(asyncio.Protocol):
    """One keep-alive connection. The model that a request names chooses the answer."""

    def __init__(self, answers: Mapping[bytes, Answer]) -> None:
        self._received = b""
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        model = _MODEL.search(head) or _MODEL.search(body)
        assert model is not None
        self._write(self._answers[model[1] or model[2]], 0)

    def _write(self, answer: Answer, number: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(answer.writes[number])
        if number + 1 < len(answer.writes):
            asyncio.get_running_loop().call_later(answer.gap, self._write, answer, number + 1)


async def main(port: int) -> None:
    """Serve until killed."""
    ready = answers()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(ready), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
