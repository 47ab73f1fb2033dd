"""The block-order state machine: what every encoder may rely on, checked and repaired event by event.

An answer that has passed is one Start, blocks that are opened, filled and closed one after the other with indexes
0, 1, 2 ..., usage that never falls, and one Finish whose reason fits the blocks. Repairs are counted by name:

missing_start    an event of the answer came before any Start: one was made
second_start     a further Start was dropped
block_index      a block got another index than it came with
missing_block    an increment had no block of its kind: one was opened
unclosed_block   a block was closed because another, or the end, came
stray_stop       a BlockStop without its open block was dropped
empty_delta      an increment of nothing was dropped
usage            a negative or falling count was mended
stop_reason      tool_use without a tool call, or end_turn with one
second_finish    a further Finish was dropped
after_finish     an event after Finish was dropped
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from penstock.errors import Internal, UpstreamFailed
from penstock.events import (
    BlockKind,
    BlockStart,
    BlockStop,
    Citation,
    Delta,
    Event,
    Failed,
    Finish,
    Opaque,
    Ping,
    Signature,
    Start,
    StopReason,
    Text,
    Thinking,
    ToolInput,
    Usage,
)

_CONTENTS: Mapping[BlockKind, frozenset[type]] = {
    "text": frozenset({Text, Citation}),
    "thinking": frozenset({Thinking, Signature}),
    "redacted_thinking": frozenset(),
    "tool_use": frozenset({ToolInput}),
    "server_tool_use": frozenset({ToolInput}),
    "other": frozenset({Text, Citation, Thinking, Signature, ToolInput}),
}
_CUT_SHORT: frozenset[StopReason] = frozenset({"max_tokens", "context_exceeded", "refusal"})
_PROMPT = ("input", "cache_read", "cache_write", "cache_write_1h")
_COMPLETION = ("output", "reasoning")

_MIXED = "a step added content to a relayed answer; for that it has to listen to BlockStart as well"
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Block:
    """A block that is open."""

    __slots__ = ("holds", "index", "input", "kind", "name", "stopped")

    def __init__(self, index: int, kind: BlockKind, name: str) -> None:
        self.index = index  # as it leaves
        self.kind = kind
        self.name = name
        self.holds = _CONTENTS[kind]
        self.input: list[str] = []
        self.stopped = False  # its stop came, but its input is half


class Validator:
    """Checks one answer. What needs no repair leaves as the very object that came."""

    def __init__(self, sees_deltas: bool = True, repairs: dict[str, int] | None = None) -> None:
        """`sees_deltas` is False when increments may be relayed as bytes, past this validator.

        Then indexes stay as they came, several blocks may be open at once, and tool input is not looked at. `repairs`
        may hold what others have mended.
        """
        self.repairs: dict[str, int] = {} if repairs is None else repairs
        self._sees_deltas = sees_deltas
        self._open: dict[int, _Block] = {}  # by the index they came with
        self._next = 0
        self._kinds: set[BlockKind] = set()
        self._usage = Usage()
        self._started = False
        self._finished = False
        self._made_block = False

    def check(self, event: Event) -> list[Event]:
        """The event as it may leave, with what must stand before it. Raises UpstreamFailed for half a tool call."""
        match event:
            case Text() | ToolInput() | Thinking() | Signature() | Citation():
                return self._fill_block(event)
            case BlockStart():
                return self._open_block(event)
            case BlockStop():
                return self._close_block(event)
            case Start():
                return self._start(event)
            case Usage():
                return [*self._begin(), self._settled(event)]
            case Finish():
                return self._finish(event)
            case Failed():
                self._finished = True
                return [event]
            case Ping() | Opaque():
                return self._dropped("after_finish") if self._finished else [event]

    def end(self) -> list[Event]:
        """The source has no more events. Raises UpstreamFailed if the answer is not complete."""
        if not self._finished:
            raise UpstreamFailed("the upstream broke off before the end of its answer")
        return []

    # ------------------------------------------------------------ the answer

    def _start(self, event: Start) -> list[Event]:
        if self._started:
            return self._dropped("second_start")
        self._started = True
        usage = self._settled(event.usage)
        return [event if usage is event.usage else replace(event, usage=usage)]

    def _finish(self, event: Finish) -> list[Event]:
        if self._finished:
            return self._dropped("second_finish")
        before = [*self._begin(), *self._close_all(cut_short=event.reason in _CUT_SHORT)]
        self._finished = True
        reason = self._fitting(event.reason)
        if reason != event.reason:
            self._repaired("stop_reason")
            event = replace(event, reason=reason)
        return [*before, event]

    # ------------------------------------------------------------ blocks

    def _open_block(self, event: BlockStart) -> list[Event]:
        if self._finished:
            return self._dropped("after_finish")
        before = self._begin()
        if self._sees_deltas:
            return [*before, *self._close_all(), self._opened(event, self._next)]
        if self._made_block:
            raise Internal(_MIXED)
        return [*before, self._opened(event, event.index)]

    def _fill_block(self, event: Delta) -> list[Event]:
        kind = type(event)
        block = self._open.get(event.index)
        if block is None or kind not in block.holds:
            return self._fill_new_block(event)
        if kind is ToolInput:
            block.input.append(event.json)  # type: ignore[union-attr]
        elif (kind is Text or kind is Thinking) and not event.text:  # type: ignore[union-attr]
            return self._dropped("empty_delta")
        return [event if event.index == block.index else replace(event, index=block.index)]

    def _fill_new_block(self, event: Delta) -> list[Event]:
        if self._finished:
            return self._dropped("after_finish")
        if isinstance(event, Text | Thinking) and not event.text:
            return self._dropped("empty_delta")
        if isinstance(event, ToolInput):
            raise UpstreamFailed("the upstream sent the input of a tool call without the call")
        if self._open and not self._sees_deltas:
            raise Internal(_MIXED)
        self._repaired("missing_block")
        self._made_block = True
        before = [*self._begin(), *self._close_all()]
        block = BlockStart(event.index, "text" if isinstance(event, Text | Citation) else "thinking")
        return [*before, self._opened(block, self._next), *self._fill_block(event)]

    def _close_block(self, event: BlockStop) -> list[Event]:
        block = self._open.get(event.index)
        if block is None or block.stopped:
            return self._dropped("stray_stop")
        if self._is_half(block):  # an answer cut short ends like this: what follows decides
            block.stopped = True
            return []
        del self._open[event.index]
        return [event if event.index == block.index else BlockStop(block.index)]

    def _opened(self, event: BlockStart, index: int) -> BlockStart:
        self._open[event.index] = _Block(index, event.kind, event.name)
        self._next = max(self._next, index + 1)
        self._kinds.add(event.kind)
        if event.index == index:
            return event
        self._repaired("block_index")
        return replace(event, index=index)

    def _close_all(self, cut_short: bool = False) -> list[Event]:
        blocks = list(self._open.values())
        self._open.clear()
        for block in blocks:
            if not cut_short and self._is_half(block):
                raise UpstreamFailed(f"the upstream sent half of a call of the tool {block.name!r}")
            if not block.stopped:
                self._repaired("unclosed_block")
        return [BlockStop(block.index) for block in blocks]

    def _is_half(self, block: _Block) -> bool:
        if block.kind != "tool_use" or not self._sees_deltas:
            return False
        text = "".join(block.input)
        try:
            _OBJECT.decode(text or "{}")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return True
        return False

    # ------------------------------------------------------------ small parts

    def _begin(self) -> list[Event]:
        if self._started:
            return []
        self._started = True
        self._repaired("missing_start")
        return [Start()]

    def _settled(self, usage: Usage) -> Usage:
        """The counts, never negative and never below the earlier ones; real numbers may correct an estimate."""
        fixes = {name: 0 for name in (*_PROMPT, *_COMPLETION) if getattr(usage, name) < 0}
        if not (self._usage.estimated and not usage.estimated):
            if usage.prompt < self._usage.prompt:
                fixes |= {name: getattr(self._usage, name) for name in _PROMPT}
            for name in _COMPLETION:
                if getattr(usage, name) < getattr(self._usage, name):
                    fixes[name] = getattr(self._usage, name)
        if fixes:
            self._repaired("usage")
            usage = replace(usage, **fixes)
        self._usage = usage
        return usage

    def _fitting(self, reason: StopReason) -> StopReason:
        if reason == "end_turn" and "tool_use" in self._kinds:
            return "tool_use"
        if reason == "tool_use" and not self._kinds & {"tool_use", "other"}:
            return "end_turn"
        return reason

    def _dropped(self, repair: str) -> list[Event]:
        self._repaired(repair)
        return []

    def _repaired(self, repair: str) -> None:
        self.repairs[repair] = self.repairs.get(repair, 0) + 1
