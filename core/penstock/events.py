"""The vocabulary of an answer: content blocks that are opened, filled and closed.

Every answer, streamed or whole, live or replayed, is a sequence of these events: one Start, then blocks
(BlockStart, increments, BlockStop) one after the other, cumulative Usage, one Finish. A protocol without blocks
gets them from its decoder. All are frozen Structs with a tag, so that a cache can store and a test can write them.
"""

from typing import Literal

import msgspec

from penstock.errors import GatewayError

BlockKind = Literal["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "other"]
"""What a block holds; `other` is a block outside this vocabulary, whole in its `data`."""

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "context_exceeded"]
"""Why an answer ended: by itself, at a limit, to have a tool called, to be continued, or refused."""


class _Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    """Base of all events; not exported, the union `Event` is the type to name."""


class Usage(_Event, frozen=True):
    """Tokens so far, cumulative for the answer. `input` excludes cached tokens; `output` includes `reasoning`.

    `mode` is how the upstream says it has processed the request, in the vendors' words such as `priority`, `flex`,
    `batch` or `fast`; "" for the standard way. `searches` are those of the web that it has run.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    estimated: bool = False
    mode: str = ""
    searches: int = 0

    @property
    def prompt(self) -> int:
        """All tokens of the prompt: uncached, read from a cache and written to one."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h


class Start(_Event, frozen=True):
    """The answer begins: the model that answers, the upstream's message id, input usage as far as known."""

    model: str = ""
    id: str = ""
    usage: Usage = Usage()


class BlockStart(_Event, frozen=True):
    """A content block opens. `name` and `id` belong to tool calls; `data` to redacted thinking and other blocks."""

    index: int
    kind: BlockKind = "text"
    name: str = ""
    id: str = ""
    data: str = ""


class Text(_Event, frozen=True):
    """More text of the block."""

    index: int
    text: str


class Thinking(_Event, frozen=True):
    """More thinking of the block."""

    index: int
    text: str


class Signature(_Event, frozen=True):
    """The seal of a thinking block, opaque; comes just before the block closes."""

    index: int
    signature: str


class ToolInput(_Event, frozen=True):
    """More of a tool call's input: a fragment of one JSON object."""

    index: int
    json: str


class Citation(_Event, frozen=True):
    """A source of the text, as the JSON the upstream sent."""

    index: int
    json: str


class BlockStop(_Event, frozen=True):
    """The block is complete."""

    index: int


class Finish(_Event, frozen=True):
    """The answer is complete. `extra` holds further members of the final record, as JSON text by name."""

    reason: StopReason = "end_turn"
    stop_sequence: str | None = None
    extra: dict[str, str] = {}


class Ping(_Event, frozen=True):
    """Nothing happened; somebody is still there."""


class Failed(_Event, frozen=True):
    """The answer broke off after it had begun."""

    error: GatewayError


class Opaque(_Event, frozen=True):
    """An upstream frame outside this vocabulary: leaves as it came if the client speaks that protocol."""

    frame: bytes


Event = (
    Start
    | BlockStart
    | Text
    | Thinking
    | Signature
    | ToolInput
    | Citation
    | BlockStop
    | Usage
    | Finish
    | Ping
    | Failed
    | Opaque
)
"""Any event of an answer."""

Delta = Text | Thinking | Signature | ToolInput | Citation
"""An increment of an open block."""
