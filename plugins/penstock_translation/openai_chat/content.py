"""Content blocks of a prompt as the parts of Chat Completions messages."""

from collections.abc import Iterable
from typing import Any

from penstock import Block, DocumentBlock, ImageBlock
from penstock_translation.words import filename, is_text, text_of

Part = dict[str, Any]


def text_part(text: str) -> Part:
    """A text part."""
    return {"type": "text", "text": text}


def media_part(block: Block) -> Part | None:
    """An image or a file as a part, None for a block that is words."""
    if isinstance(block, ImageBlock) and (block.url or block.data):
        url = block.url or f"data:{block.media_type or 'image/png'};base64,{block.data}"
        return {"type": "image_url", "image_url": {"url": url}}
    if isinstance(block, DocumentBlock) and block.data and not is_text(block):
        data = f"data:{block.media_type or 'application/pdf'};base64,{block.data}"
        return {"type": "file", "file": {"filename": filename(block), "file_data": data}}
    return None


def user_content(blocks: Iterable[Block]) -> str | list[Part]:
    """The content of a user message: a string if it is words only, which the simplest servers understand."""
    parts: list[Part] = []
    for block in blocks:
        part = media_part(block)
        if part is None and (text := text_of(block)).strip():
            part = text_part(text)
        if part is not None:
            parts.append(part)
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts
