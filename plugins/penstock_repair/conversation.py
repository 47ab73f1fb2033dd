"""Every tool call answered directly after it, once, and before all else; system messages behind the user's.

Source: Anthropic's pages on tool use and on system messages inside a conversation, and its servers' refusals. The
rules are the strictest that there are; what keeps them is accepted by everyone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from penstock import Block, Message, TextBlock, ToolResultBlock, ToolUseBlock

from .blocks import in_words

INTERRUPTED = "The tool call was interrupted. It has no result."


class Exchanged(NamedTuple):
    """What the assistant said, in one or more messages, and all that follows until it speaks again."""

    said: list[Message]
    answer: list[Message]

    @property
    def calls(self) -> list[str]:
        """The ids of the calls that have to be answered."""
        return [block.id for message in self.said for block in message.content if isinstance(block, ToolUseBlock)]

    @property
    def results(self) -> Iterator[ToolResultBlock]:
        """All results in the answer."""
        for message in self.answer:
            yield from (block for block in message.content if isinstance(block, ToolResultBlock))


def settled(messages: Sequence[Message], repairs: Counter[str]) -> Sequence[Message]:
    """The messages, each the same object if it stands well."""
    parts = list(_exchanged(messages))
    settled = [_is_settled(part) for part in parts]
    if all(settled):
        return messages
    strays = _strays(parts)
    out: list[Message] = []
    for part, is_settled in zip(parts, settled, strict=True):
        out += part.said
        out += part.answer if is_settled else _Answer(part.calls, strays, repairs).of(part.answer)
    return out


def _exchanged(messages: Iterable[Message]) -> Iterator[Exchanged]:
    part = Exchanged([], [])
    for message in messages:
        if message.role != "assistant":
            part.answer.append(message)
            continue
        if part.answer:
            yield part
            part = Exchanged([], [])
        part.said.append(message)
    yield part


def _strays(parts: Iterable[Exchanged]) -> dict[str, ToolResultBlock]:
    """Results that came too late, by the id of their call."""
    waiting: set[str] = set()
    found: dict[str, ToolResultBlock] = {}
    for part in parts:
        calls, results = set(part.calls), list(part.results)
        for result in results:
            if result.tool_use_id in waiting and result.tool_use_id not in calls:
                found[result.tool_use_id] = result
                waiting.remove(result.tool_use_id)
        waiting |= calls - {result.tool_use_id for result in results}
    return found


def _is_settled(part: Exchanged) -> bool:
    results: list[str] = []
    past_results = past_user = False
    for message in part.answer:
        if message.role == "system":
            past_user = past_user or bool(message.content)
        elif past_user:
            return False
        else:
            for block in message.content:
                if not isinstance(block, ToolResultBlock):
                    past_results = True
                elif past_results:
                    return False
                else:
                    results.append(block.tool_use_id)
    calls = part.calls
    return results == calls or sorted(results) == sorted(calls)


class _Answer:
    """An answer set right."""

    def __init__(self, calls: Sequence[str], strays: dict[str, ToolResultBlock], repairs: Counter[str]) -> None:
        self._calls = Counter(calls)
        self._waiting = Counter(calls)
        self._strays = strays
        self._repairs = repairs
        self._results: list[ToolResultBlock] = []
        self._past_results = False

    def of(self, answer: Iterable[Message]) -> Iterator[Message]:
        users: list[tuple[Message, list[Block]]] = []
        systems: list[Message] = []
        said = misplaced = 0
        for message in answer:
            if message.role == "system":
                systems.append(message)
                said += bool(message.content)
            else:
                misplaced = said
                users.append((message, [block for part in message.content for block in self._rest(part)]))
        if misplaced:
            self._repairs["moved_system"] += misplaced
        self._add_missing()
        if self._results and not users:
            users.append((Message("user", ()), []))
        for message, rest in users:
            yield from _changed(message, (*self._results, *rest))
            self._results = []
        yield from systems

    def _rest(self, block: Block) -> Iterable[Block]:
        """What of a block stays where it is."""
        if not isinstance(block, ToolResultBlock):
            self._past_results = True
            return (block,)
        if self._waiting[block.tool_use_id]:
            self._waiting[block.tool_use_id] -= 1
            self._results.append(block)
            if self._past_results:
                self._repairs["moved_result"] += 1
            return ()
        if self._calls[block.tool_use_id]:
            self._repairs["duplicate_result"] += 1
            return ()
        if self._strays.get(block.tool_use_id) is block:
            return ()
        self._repairs["orphan_result"] += 1
        self._past_results = True
        return in_words(block)

    def _add_missing(self) -> None:
        for id in self._waiting.elements():
            stray = self._strays.get(id)
            self._results.append(stray or ToolResultBlock(id, (TextBlock(INTERRUPTED),), is_error=True))
            self._repairs["moved_result" if stray else "orphan_call"] += 1


def _changed(message: Message, content: tuple[Block, ...]) -> Iterator[Message]:
    """The message with this content, unless that has all been moved to another one."""
    if content == message.content:
        yield message
    elif content:
        yield replace(message, content=content)
