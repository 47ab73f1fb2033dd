"""How large pictures and documents are, from the first bytes of their base64 text, without a library."""

import re
import zlib
from binascii import a2b_base64
from collections.abc import Iterator

HEAD = 256 * 1024
"""Characters of base64 in which the size of a picture is looked for; it may stand behind a preview."""

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_STREAMS = 1000  # packed streams of a PDF that are looked at, so many bytes of each, and unpacked of a whole prompt
_PACKED = 256 * 1024
_UNPACKED = 16 * 1024 * 1024
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length


class Unpacking:
    """What may still be unpacked of a prompt: `left` bytes. A prompt may hold any number of documents."""

    def __init__(self) -> None:
        self.left = _UNPACKED


def picture_size(data: str) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, WebP or JPEG in base64; None if they cannot be read."""
    head = decoded(data[:HEAD])
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    elif head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        size = _little(head, 6, 2), _little(head, 8, 2)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        size = _webp(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg(head)
    else:
        return None
    return size if all(size) else None


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


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":  # RFC 9649, section 2.7
        return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
    if kind == b"VP8L":  # section 3.4: 14 bits each
        bits = _little(head, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF  # RFC 6386, section 9.1


def _jpeg(head: bytes) -> tuple[int, int]:
    """From the frame header (ITU-T T.81, annex B), which stands behind segments of any length."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        if marker == 0xFF:  # filling
            at += 1
        else:
            at += 2 if marker in _BARE else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0, 0


def _little(head: bytes, at: int, length: int) -> int:
    return int.from_bytes(head[at : at + length], "little")
