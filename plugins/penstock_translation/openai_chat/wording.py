"""What an upstream cannot take as it is, told in words: pictures, files, and calls of tools that are not on offer."""

from collections.abc import Iterator
from typing import Literal

from msgspec.structs import replace

from penstock import Block, ImageBlock, Message, Prompt, TextBlock, ToolResultBlock, ToolUseBlock

from ..words import text_of
from .content import media_part
from .quirks import ChatQuirks

_UNSEEN = "[an image, which this model cannot see]"


def in_words(prompt: Prompt, quirks: ChatQuirks, dropped: list[str]) -> Prompt:
    """The prompt with what the upstream cannot take told in words. What is lost by that is added to `dropped`."""
    refused = {"image", "file"}.difference(quirks.media)
    calls = quirks.tool_history_needs_tools and not prompt.tools
    if not refused and not calls:
        return prompt
    teller = _Teller(refused, calls)
    messages = tuple(Message(message.role, tuple(teller.tell(message.content))) for message in prompt.messages)
    dropped += sorted(f"{kind}s" for kind in teller.lost)
    return replace(prompt, messages=messages)


class _Teller:
    """Puts blocks in words. `lost` collects the kinds of media that were."""

    def __init__(self, refused: set[str], calls: bool) -> None:
        self.lost: set[str] = set()
        self._refused = refused
        self._calls = calls

    def tell(self, blocks: tuple[Block, ...]) -> Iterator[Block]:
        for block in blocks:
            if isinstance(block, ToolResultBlock):
                block = replace(block, content=tuple(self.tell(block.content)))
            kind = _media(block)
            if kind in self._refused:
                self.lost.add(kind)
                yield _text(block)
            elif self._calls and isinstance(block, ToolUseBlock | ToolResultBlock):
                yield _text(block)
            else:
                yield block


def _media(block: Block) -> Literal["image", "file", ""]:
    if media_part(block) is None:
        return ""
    return "image" if isinstance(block, ImageBlock) else "file"


def _text(block: Block) -> TextBlock:
    text = _UNSEEN if isinstance(block, ImageBlock) else text_of(block)
    return TextBlock(text, getattr(block, "cache", ""))
