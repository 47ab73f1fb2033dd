"""Pictures that are too large for a provider: found, made smaller and put in place."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from msgspec.structs import replace

from penstock import Block, ImageBlock, Message, TextBlock, ToolResultBlock, picture_size

from .scaling import scaled

_KEPT = 64 * 1024 * 1024  # bytes of pictures made smaller that are kept, since an agent sends each in every request


class Limits(NamedTuple):
    """What a provider accepts: bytes of base64, pixels of the longer edge, and these for more than `many` pictures."""

    bytes: int
    edge: int
    many: int
    many_edge: int


class Large(NamedTuple):
    """A picture that is too large, and what would not be."""

    picture: ImageBlock
    width: int
    height: int
    edge: int
    bytes: int


def too_large(messages: Iterable[Message], limits: Limits) -> list[Large]:
    """The pictures of a conversation that are too large, those in tools' results too."""
    pictures: list[ImageBlock] = []
    for message in messages:
        _pictures(message.content, pictures)
    edge = limits.many_edge if len(pictures) > limits.many else limits.edge
    found = [Large(picture, *(picture_size(picture.data) or (0, 0)), edge, limits.bytes) for picture in pictures]
    return [large for large in found if len(large.picture.data) > large.bytes or max(large[1:3]) > edge]


def with_pictures(messages: Sequence[Message], instead: Mapping[int, Block]) -> tuple[Message, ...]:
    """The messages with other blocks instead of pictures, by the identity of these."""
    return tuple(_with(message, instead) for message in messages)


class Album:
    """Makes pictures smaller, and remembers what became of the last ones."""

    def __init__(self) -> None:
        self._kept: dict[bytes, ImageBlock | TextBlock] = {}
        self._left = _KEPT

    def smaller(self, pictures: Iterable[Large]) -> dict[int, Block]:
        """What to send instead, by the identity of each picture. May take a second for each that is new."""
        return {id(large.picture): replace(self._smaller(large), cache=large.picture.cache) for large in pictures}

    def _smaller(self, large: Large) -> ImageBlock | TextBlock:
        name = blake2b(f"{large.edge} {large.bytes} {large.picture.data}".encode()).digest()
        block = self._kept.pop(name, None)
        if block is None:
            block = _made_smaller(large)
            self._left -= _weight(block)
        self._kept[name] = block
        while self._left < 0:
            self._left += _weight(self._kept.pop(next(iter(self._kept))))
        return block


def _made_smaller(large: Large) -> ImageBlock | TextBlock:
    made = scaled(large.picture.data, large.edge, large.bytes)
    if made is not None:
        return ImageBlock(*made)
    size = f" of {large.width} x {large.height} pixels" if large.width else ""
    return TextBlock(f"[A picture{size} was left out here: it is too large.]")


def _weight(block: ImageBlock | TextBlock) -> int:
    return 1000 + (len(block.data) if isinstance(block, ImageBlock) else 0)


def _pictures(blocks: Iterable[Block], found: list[ImageBlock]) -> None:
    for block in blocks:
        if isinstance(block, ImageBlock):
            found.append(block)
        elif isinstance(block, ToolResultBlock):
            found += [part for part in block.content if isinstance(part, ImageBlock)]


def _with(message: Message, instead: Mapping[int, Block]) -> Message:
    content = tuple(_replaced(block, instead) for block in message.content)
    return message if content == message.content else replace(message, content=content)


def _replaced(block: Block, instead: Mapping[int, Block]) -> Block:
    if isinstance(block, ToolResultBlock) and any(id(part) in instead for part in block.content):
        return replace(block, content=tuple(instead.get(id(part), part) for part in block.content))
    return instead.get(id(block), block)
