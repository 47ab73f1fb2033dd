"""What a scripted model says, in no provider's words: texts, thoughts and tool calls."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_WORDS = 3  # pieces of a text


@dataclass(frozen=True)
class Thought:
    """Thinking before the answer; formats without signatures leave it out."""

    text: str
    signature: str = "c2lnbmF0dXJl"


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; its input leaves in fragments of `size` characters when streamed."""

    name: str
    input: dict[str, Any] = field(default_factory=dict)
    id: str = "call_1"
    size: int = 7

    @property
    def json(self) -> str:
        """The input as JSON."""
        return json.dumps(self.input)

    def fragments(self) -> list[str]:
        """The input's JSON in pieces that fit no token's boundary."""
        text = self.json
        return [text[at : at + self.size] for at in range(0, len(text), self.size)]


Part = str | Thought | ToolCall
"""A text, a thought or a tool call."""


def pieces(text: str) -> Iterator[str]:
    """A text in a few pieces, as a model streams it."""
    size = max(1, -(-len(text) // _WORDS))
    yield from (text[at : at + size] for at in range(0, len(text), size))
