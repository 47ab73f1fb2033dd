"""What a prompt's content blocks say in words, for upstreams that can take nothing else of them."""

import base64
from collections.abc import Iterable

from penstock import Block, DocumentBlock, ImageBlock, OtherBlock, TextBlock, ToolResultBlock, ToolUseBlock


def text_of(block: Block) -> str:
    """What a block says in words, possibly nothing."""
    if isinstance(block, TextBlock | OtherBlock):
        return block.text
    if isinstance(block, DocumentBlock):
        return _document(block)
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


def is_text(document: DocumentBlock) -> bool:
    """Whether a document's data are words."""
    return document.media_type.startswith("text/")


def filename(document: DocumentBlock) -> str:
    """A name for a document that has none of its own."""
    name = document.title or "document"
    extension = document.media_type.partition("/")[2] or "pdf"
    return name if name.lower().endswith(f".{extension}") else f"{name}.{extension}"


def _document(block: DocumentBlock) -> str:
    text = block.text
    if block.data:
        try:
            text = base64.b64decode(block.data).decode() if is_text(block) else "[file]"
        except ValueError:  # no base64, or no UTF-8
            text = "[unreadable file]"
    heading = " ".join(filter(None, (block.title, block.url)))
    return "\n".join(filter(None, (f"[document: {heading}]" if heading else "", text)))
