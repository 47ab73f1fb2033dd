"""Sizes of pictures: those that a library has made, and whatever else may stand in their place."""

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penstock import picture_size


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("GIF", {}), ("JPEG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})]
)
def test_the_size_of_a_picture(kind: str, options: dict[str, Any]) -> None:
    out = io.BytesIO()
    Image.new("RGB", (321, 123)).save(out, kind, **options)
    assert picture_size(base64.b64encode(out.getvalue()).decode()) == (321, 123)


def test_the_size_of_pictures_with_a_profile() -> None:
    for kind in ("JPEG", "WEBP"):
        out = io.BytesIO()
        Image.new("RGB", (321, 123)).save(out, kind, icc_profile=bytes(100_000))
        assert picture_size(base64.b64encode(out.getvalue()).decode()) == (321, 123)


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X"]),
)
def test_any_bytes_have_a_size_or_none(more: bytes, start: bytes) -> None:
    for text in (base64.b64encode(start + more).decode(), more.decode("latin-1")):
        size = picture_size(text)
        assert size is None or min(size) > 0
