"""A picture scaled down, with the library Pillow if it is installed."""

import importlib
from binascii import a2b_base64, b2a_base64
from io import BytesIO
from typing import Any

_MOST_PIXELS = 64_000_000  # a picture with more is not unpacked: this many take 256 MB
_USEFUL = 2576  # pixels of the longer edge; Anthropic itself scales down what is larger (its page on vision)
_SMALLEST = 200  # below that nothing can be seen
_LOSSLESS = ("PNG", "GIF")
_FORMATS = (*_LOSSLESS, "JPEG", "WEBP")


def scaled(data: str, edge: int, most: int) -> tuple[str, str] | None:
    """The media type and base64 of a picture within `edge` pixels and `most` characters.

    None without the library, for what it cannot open, and for a picture of too many pixels, whatever others take its
    size for.
    """
    library = _library()
    if library is None:
        return None
    try:
        with library.open(BytesIO(a2b_base64(data)), formats=_FORMATS) as picture:
            too_many = picture.width * picture.height > _MOST_PIXELS
            return None if too_many else _scaled(library, picture, min(edge, _USEFUL), most)
    except Exception:  # foreign files have the library raise whatever there is
        return None


def _scaled(library: Any, picture: Any, edge: int, most: int) -> tuple[str, str] | None:
    kinds = ("PNG", "JPEG") if picture.format in _LOSSLESS else ("JPEG",)
    exif: bytes = picture.info.get("exif", b"")  # says which side is up
    picture.draft("RGB", (edge, edge))
    clear = "A" in picture.getbands() or "transparency" in picture.info
    small = picture.convert("RGBA" if clear else "RGB")
    while True:
        small.thumbnail((edge, edge))
        for kind in kinds:
            data = _encoded(library, small, kind, exif)
            if len(data) <= most:
                return f"image/{kind.lower()}", data
        edge = edge * 3 // 4
        if edge < _SMALLEST:
            return None


def _encoded(library: Any, picture: Any, kind: str, exif: bytes) -> str:
    if kind == "JPEG" and picture.mode == "RGBA":
        paper = library.new("RGB", picture.size, "white")
        paper.paste(picture, mask=picture.getchannel("A"))
        picture = paper
    out = BytesIO()
    picture.save(out, kind, exif=exif)
    return b2a_base64(out.getvalue(), newline=False).decode()


def _library() -> Any:
    """The library of the extra [images], None without it."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        return None
