"""The width and height of a picture from its first bytes, without a library."""

from binascii import a2b_base64

_HEAD = 256 * 1024  # characters of base64; in a JPEG the size may stand behind a preview
_SHORT = 64
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def size_of(data: str) -> tuple[int, int]:
    """Width and height in pixels of a PNG, GIF, WebP or JPEG in base64; zeros if they cannot be read."""
    head = _decoded(data[:_SHORT])
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _little(head[6:8]), _little(head[8:10])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    return _jpeg(_decoded(data[:_HEAD])) if head.startswith(b"\xff\xd8") else (0, 0)


def _webp(head: bytes) -> tuple[int, int]:
    if head[12:16] == b"VP8X":  # RFC 9649, section 2.7
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if head[12:16] == b"VP8L":  # section 3.4
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF  # RFC 6386, section 9.1


def _jpeg(head: bytes) -> tuple[int, int]:
    """From the frame header, behind segments that each say how long they are (ITU-T T.81, annex B)."""
    at = 2
    while head[at : at + 1] == b"\xff":
        marker = head[at + 1 : at + 2]
        if marker and marker[0] in _FRAMES:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0, 0


def _decoded(data: str) -> bytes:
    try:
        return a2b_base64(data[: len(data) // 4 * 4])
    except ValueError:
        return b""


def _little(number: bytes) -> int:
    return int.from_bytes(number, "little")
