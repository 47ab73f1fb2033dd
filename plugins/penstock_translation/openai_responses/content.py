"""Content blocks of a prompt as the parts of Responses input."""

from collections.abc import Callable, Iterable
from typing import Any

from penstock import Block, DocumentBlock, ImageBlock

from ..words import filename, is_text, text_of

Part = dict[str, Any]


def text_part(text: str) -> Part:
    """A text part."""
    return {"type": "input_text", "text": text}


def media_part(block: Block) -> Part | None:
    """An image or a file as a part, None for a block that is words."""
    if isinstance(block, ImageBlock) and (block.url or block.data):
        url = block.url or f"data:{block.media_type or 'image/png'};base64,{block.data}"
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if isinstance(block, DocumentBlock) and block.data and not is_text(block):
        data = f"data:{block.media_type or 'application/pdf'};base64,{block.data}"
        return {"type": "input_file", "filename": filename(block), "file_data": data}
    if isinstance(block, DocumentBlock) and block.url:
        return {"type": "input_file", "file_url": block.url}
    return None


def user_parts(blocks: Iterable[Block], media: Callable[[Block], Part | None]) -> list[Part]:
    """The content of a user message, what `media` makes no part of as words; blank words are left out."""
    parts: list[Part] = []
    for block in blocks:
        part = media(block)
        if part is None and (text := text_of(block)).strip():
            part = text_part(text)
        if part is not None:
            parts.append(part)
    return parts
