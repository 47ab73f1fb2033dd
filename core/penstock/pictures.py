"""The width and height of a picture from the first bytes of its base64 text, without a library."""

from binascii import a2b_base64

_HEAD = 256 * 1024  # characters; in a JPEG the size may stand behind a preview
_SHORT = 64
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length


def picture_size(data: str) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, WebP or JPEG in base64; None if they cannot be read."""
    head = _decoded(data[:_SHORT])
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    elif head.startswith((b"GIF87a", b"GIF89a")):
        size = _little(head, 6, 2), _little(head, 8, 2)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        size = _webp(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg(_decoded(data[:_HEAD]))
    else:
        return None
    return size if all(size) else None


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


def _decoded(data: str) -> bytes:
    try:
        return a2b_base64(data[: len(data) // 4 * 4])
    except ValueError:
        return b""


def _little(head: bytes, at: int, length: int) -> int:
    return int.from_bytes(head[at : at + length], "little")
