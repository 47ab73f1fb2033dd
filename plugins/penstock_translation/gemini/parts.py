"""Content blocks of a prompt as parts: words, and images and files as far as the model can see them."""

from collections.abc import Iterable
from typing import Any

from penstock import Block, DocumentBlock, ImageBlock

from ..words import is_text, text_of
from .quirks import GeminiQuirks

Part = dict[str, Any]

_FETCHED = ("http://", "https://", "gs://")
_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
}


class Parts:
    """Makes parts; `dropped` collects what the model cannot be shown."""

    def __init__(self, quirks: GeminiQuirks) -> None:
        self.dropped: dict[str, None] = {}
        self._quirks = quirks

    def media(self, block: Block) -> Part | None:
        """An image or a file as a part, None for what has to be put in words."""
        if not isinstance(block, ImageBlock | DocumentBlock) or (isinstance(block, DocumentBlock) and is_text(block)):
            return None
        kind = _media_type(block)
        if block.data:
            return {"inlineData": {"mimeType": kind, "data": block.data}} if self._takes(kind, block) else None
        if self._quirks.file_urls and block.url.lower().startswith(_FETCHED):
            return {"fileData": {"mimeType": kind, "fileUri": block.url}} if self._takes(kind, block) else None
        return None

    def all(self, blocks: Iterable[Block]) -> list[Part]:
        """The parts of a turn; blank words are left out."""
        parts: list[Part] = []
        for block in blocks:
            part = self.media(block)
            if part is None and (text := words_of(block)).strip():
                part = {"text": text}
            if part is not None:
                parts.append(part)
        return parts

    def _takes(self, kind: str, block: ImageBlock | DocumentBlock) -> bool:
        if kind in self._quirks.media_types:
            return True
        what = "an image" if isinstance(block, ImageBlock) else "a file"
        self.dropped[f"{what} of the type {kind[:100]}"] = None
        return False


def words_of(block: Block) -> str:
    """What a block says in words; an image that nobody fetches is its address."""
    return f"[image: {block.url}]" if isinstance(block, ImageBlock) and block.url else text_of(block)


def _media_type(block: ImageBlock | DocumentBlock) -> str:
    """The type that the client names, else what the address ends in, else the most usual one."""
    usual = "image/jpeg" if isinstance(block, ImageBlock) and block.url else "image/png"
    usual = "application/pdf" if isinstance(block, DocumentBlock) else usual
    return block.media_type or _TYPES.get(block.url.partition("?")[0].rpartition(".")[2].lower(), usual)
