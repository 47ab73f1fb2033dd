"""How long documents are, from their base64 text, without a library."""

import re
import zlib
from binascii import a2b_base64
from collections.abc import Iterator

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_STREAMS = 1000  # packed streams of a PDF that are looked at, so many bytes of each, and unpacked of a whole prompt
_PACKED = 256 * 1024
_UNPACKED = 16 * 1024 * 1024


class Unpacking:
    """What may still be unpacked of a prompt: `left` bytes. A prompt may hold any number of documents."""

    def __init__(self) -> None:
        self.left = _UNPACKED


def pages(data: str, unpacking: Unpacking) -> int:
    """The pages of a PDF in base64, at least one."""
    document = decoded(data)
    return max(1, sum(len(_PAGE.findall(part)) for part in (document, *_unpacked(document, unpacking))))


def decoded(data: str) -> bytes:
    """The bytes of base64 text, or nothing if it is none. Cut text gives the bytes before the cut."""
    try:
        return a2b_base64(data[: len(data) // 4 * 4])
    except ValueError:
        return b""


def _unpacked(document: bytes, unpacking: Unpacking) -> Iterator[bytes]:
    """The objects that a PDF keeps in compressed streams (ISO 32000-1, section 7.5.7), often all of its pages.

    All steps are bounded: whoever sends the document may have made it to be expensive.
    """
    at = -1
    for _ in range(_STREAMS):
        at = document.find(b"/ObjStm", at + 1)
        start = document.find(b"stream", at, at + 500) + len(b"stream")
        if at < 0 or unpacking.left <= 0:
            return
        start += 2 if document[start : start + 2] == b"\r\n" else 1
        try:
            packed = memoryview(document)[start : start + _PACKED]
            objects = zlib.decompressobj().decompress(packed, unpacking.left)
        except zlib.error:  # encrypted, or packed in another way
            continue
        yield objects
        unpacking.left -= len(objects)
