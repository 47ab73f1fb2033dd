"""The items of an answer in the order in which they began, whatever order their records come in.

The first of the line writes. What belongs to the others waits until it is their turn, so that blocks come out one
after the other. An item is known by its index in the answer, else by its id: some servers change ids as they go.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ..untyped import members, words
from .outputs import (
    FINISHED,
    Call,
    Foreign,
    Message,
    Output,
    Reasoning,
    Search,
)
from .shapes import Record
from .writer import Writer

_OUTPUTS: Mapping[object, type[Output]] = {
    "message": Message,
    "reasoning": Reasoning,
    "function_call": Call,
    "web_search_call": Search,
}


class Lineup:
    """Takes the records of items."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._line: deque[Output] = deque()
        self._known: dict[float | str, Output] = {}
        self._last: Output | None = None

    @property
    def begun(self) -> bool:
        """Whether there was any item."""
        return self._last is not None

    @property
    def complete(self) -> bool:
        """Whether there were items, all of which have ended."""
        return self.begun and all(output.ended for output in self._line)

    def announce(self, record: Record) -> None:
        """An item begins."""
        head = members(record.item)
        kind, known = self._kind(head), self._find(record)
        if known is None or not _repeats(known, kind, head):
            self._add(kind, record)

    def more(self, record: Record, kind: type[Output]) -> None:
        """A part of an item, of this kind if it was not announced."""
        output = self._find(record) or self._add(kind, record)
        if output.ended:
            return
        if output is self._line[0]:
            output.more(record)
        else:
            output.waiting.append(record)

    def finish(self, record: Record) -> None:
        """The whole of an item."""
        item = members(record.item)
        kind, output = self._kind(item), self._find(record)
        if kind is Message:
            self._writer.pages.read(item)
        if output is None or type(output) is not kind or (output.ended and not _repeats(output, kind, item)):
            output = self._add(kind, record)
        if not output.ended:
            if output is self._line[0]:
                output.finish(item)
            else:
                output.waiting.append(record)
            output.ended = True
            self._advance()

    def rest(self, items: Sequence[Any]) -> None:
        """All items once more: what there is to add to those that have not ended, and to an answer without any."""
        fresh = not self.begun
        for item in map(members, items):
            if self._kind(item) is Message:
                self._writer.pages.read(item)
        for index, item in enumerate(items):
            numbered = fresh or index in self._known
            record = Record(type=FINISHED, output_index=index if numbered else None, item=item)
            output = self._known.get(index if numbered else words(members(item).get("id")))
            if fresh or (output is not None and not output.ended):
                self.finish(record)

    def close(self) -> None:
        """Nothing more comes."""
        self._advance(final=True)

    def _kind(self, item: Mapping[str, Any]) -> type[Output]:
        """The class of an item. Custom tools are the server's own (xAI's searches), unless the client offers them."""
        kind = words(item.get("type"))
        if kind == "custom_tool_call":
            return Call if words(item.get("name")) in self._writer.offered else Foreign
        return _OUTPUTS.get(kind, Foreign)

    def _find(self, record: Record) -> Output | None:
        index = record.output_index
        if isinstance(index, (int, float)):
            return self._known.get(index)
        id = words(record.item_id) or words(members(record.item).get("id"))
        return self._known.get(id) if id else self._last

    def _add(self, kind: type[Output], record: Record) -> Output:
        head = members(record.item)
        if (replaced := self._find(record)) is not None:
            replaced.ended = True
        output = self._last = kind(self._writer, head)
        if isinstance(record.output_index, int | float):
            self._known[record.output_index] = output
        for id in words(record.item_id), output.id:
            if id:
                self._known[id] = output
        self._line.append(output)
        self._advance()
        return output

    def _advance(self, final: bool = False) -> None:
        line = self._line
        while line:
            follower = line[1] if len(line) > 1 else None
            if not (final or line[0].ready(follower)):
                return
            line.popleft().close(follower)
            if follower is not None:
                for record in follower.waiting:
                    follower.take(record)


def _repeats(known: Output, kind: type[Output], item: Mapping[str, Any]) -> bool:
    """Whether an item was announced, or has ended, before."""
    id = words(item.get("id"))
    if id and known.id:
        return id == known.id
    return type(known) is kind and not known.ended
