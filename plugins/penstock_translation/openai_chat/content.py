"""Content blocks of a prompt as the text and parts of Chat Completions messages."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    OtherBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)

Part = dict[str, Any]


def text_part(text: str) -> Part:
    """A text part."""
    return {"type": "text", "text": text}


def media_part(block: Block) -> Part | None:
    """An image or a file as a part, None for a block that is words."""
    if isinstance(block, ImageBlock) and (block.url or block.data):
        url = block.url or f"data:{block.media_type or 'image/png'};base64,{block.data}"
        return {"type": "image_url", "image_url": {"url": url}}
    if isinstance(block, DocumentBlock) and block.data and not _is_text(block):
        data = f"data:{block.media_type or 'application/pdf'};base64,{block.data}"
        return {"type": "file", "file": {"filename": _filename(block), "file_data": data}}
    return None


def text_of(block: Block) -> str:
    """What a block says in words, possibly nothing."""
    if isinstance(block, TextBlock | OtherBlock):
        return block.text
    if isinstance(block, DocumentBlock):
        return _document_text(block)
    if isinstance(block, ImageBlock):
        return "[image]"
    if isinstance(block, ToolUseBlock):
        return f"[call of the tool {block.name}: {bytes(block.input).decode()}]"
    if isinstance(block, ToolResultBlock):
        return f"[result of the tool call {block.tool_use_id}]\n{joined(block.content)}"
    return ""  # thinking is for the model that made it


def joined(blocks: Iterable[Block], between: str = "\n\n") -> str:
    """The words of several blocks; blank ones count for nothing."""
    return between.join(text for block in blocks if (text := text_of(block)).strip())


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


def _document_text(block: DocumentBlock) -> str:
    text = block.text
    if block.data:
        try:
            text = base64.b64decode(block.data).decode() if _is_text(block) else "[file]"
        except (binascii.Error, UnicodeDecodeError):
            text = "[unreadable file]"
    heading = " ".join(filter(None, (block.title, block.url)))
    return "\n".join(filter(None, (f"[document: {heading}]" if heading else "", text)))


def _is_text(block: DocumentBlock) -> bool:
    return block.media_type.startswith("text/")


def _filename(block: DocumentBlock) -> str:
    name = block.title or "document"
    extension = block.media_type.partition("/")[2] or "pdf"
    return name if name.lower().endswith(f".{extension}") else f"{name}.{extension}"
