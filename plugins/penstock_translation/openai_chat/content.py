"""Content blocks of a prompt as the parts of Chat Completions messages."""

from collections.abc import Iterable

from penstock import Block, DocumentBlock, ImageBlock

from ..turns import last_mark
from ..words import filename, is_text, text_of
from .marks import Marks, Part


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


def content_of(blocks: Iterable[Block], marks: Marks) -> str | list[Part]:
    """The content of a message: a string if it is words without marks, which the simplest servers understand."""
    parts: list[Part] = []
    for block in blocks:
        part = media_part(block)
        if part is None and (text := text_of(block)).strip():
            part = text_part(text)
        if part is not None:
            parts.append(marks.put(part, last_mark([block])))
    if any(part["type"] != "text" for part in parts):
        return parts
    return _joined(parts)


def _joined(parts: list[Part]) -> str | list[Part]:
    """Words joined up to each mark, so that what is in front of one stays the same when the mark has moved on."""
    runs: list[Part] = []
    texts: list[str] = []
    for part in parts:
        texts.append(part["text"])
        if "cache_control" in part:
            part["text"] = "\n\n".join(texts)
            runs.append(part)
            texts = []
    rest = "\n\n".join(texts)
    return [*runs, *([text_part(rest)] if rest else [])] if runs else rest
