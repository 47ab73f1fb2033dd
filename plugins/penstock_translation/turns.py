"""A conversation as upstreams demand it: the sides' turns joined, and every tool call answered directly after it."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from penstock import Block, Message, TextBlock, ToolResultBlock, ToolUseBlock

from .words import joined

NO_RESULT = "(There is no result: the call was interrupted.)"
"""What a model is told of a call whose result is missing."""

EMPTY_RESULT = "(The result is empty.)"
"""What a model is told of a result that holds nothing."""

RESULT_FOLLOWS = "(The result follows in the next user message.)"
"""What a model is told of a result that is pictures or files, where a result cannot hold any."""

FAILED = "the tool failed without saying why"
"""What a model is told of a failed call without words."""


class Answered(NamedTuple):
    """A tool call and its result, None if the conversation has none."""

    call: ToolUseBlock
    result: ToolResultBlock | None


class Turn(NamedTuple):
    """A turn of one side; each assistant turn with calls is followed by a `tool` turn with their `results` in order."""

    role: Literal["user", "assistant", "system", "tool"]
    content: tuple[Block, ...] = ()
    results: tuple[Answered, ...] = ()


def settled(messages: Iterable[Message], *, system_in_place: bool = True) -> Iterator[Turn]:
    """The turns of a conversation, each of them with something in it.

    A result without a call stays in its user turn, for the codec to put in words. System messages between a call and
    its result come after the result; without `system_in_place` all of them become marked text of the user.
    """
    pending: list[ToolUseBlock] = []
    held: list[Turn] = []
    for turn in _joined(messages, system_in_place):
        if turn.role == "system" and pending:
            held.append(turn)
            continue
        if pending:
            results, turn = _matched(pending, turn)
            yield Turn("tool", results=results)
            yield from held
            pending, held = [], []
        if turn.role == "assistant":
            pending = [block for block in turn.content if isinstance(block, ToolUseBlock)]
        if turn.content:
            yield turn
    if pending:
        yield Turn("tool", results=tuple(Answered(call, None) for call in pending))
    yield from held


def last_mark(blocks: Iterable[Block]) -> Literal["", "5m", "1h"]:
    """The last cache mark on any of the blocks."""
    mark: Literal["", "5m", "1h"] = ""
    for block in blocks:
        mark = getattr(block, "cache", "") or mark
    return mark


class Conversation(ABC):
    """Writes the turns of a conversation in one format; each method takes what one turn holds."""

    def take(self, messages: Iterable[Message], *, system_in_place: bool = True) -> None:
        """All turns of a conversation, as `settled` gives them."""
        for turn in settled(messages, system_in_place=system_in_place):
            if turn.role == "tool":
                self.tool(turn.results)
            elif turn.role == "assistant":
                self.assistant(turn.content)
            elif turn.role == "user":
                self.user(turn.content)
            else:
                self.system(turn.content)

    @abstractmethod
    def system(self, content: tuple[Block, ...]) -> None: ...

    @abstractmethod
    def user(self, content: tuple[Block, ...]) -> None: ...

    @abstractmethod
    def assistant(self, content: tuple[Block, ...]) -> None: ...

    @abstractmethod
    def tool(self, results: tuple[Answered, ...]) -> None: ...


def result_text(result: ToolResultBlock | None, blocks: Iterable[Block]) -> str:
    """What a result says in the words of its `blocks`, "" if it is fine and says nothing."""
    if result is None:
        return NO_RESULT
    text = joined(blocks)
    return f"Error: {text or FAILED}" if result.is_error else text


def _joined(messages: Iterable[Message], system_in_place: bool) -> list[Turn]:
    """Consecutive turns of one side as one, which is what the Messages API takes them for; without what is empty."""
    turns: list[tuple[Literal["user", "assistant", "system"], list[Block]]] = []
    for message in messages:
        role, content = message.role, message.content
        if role == "system" and not system_in_place:
            text = joined(content)
            words = TextBlock(f"<system>\n{text}\n</system>", last_mark(content))
            role, content = "user", (words,) if text else ()
        said = [block for block in content if not isinstance(block, TextBlock) or block.text]
        if said and (not turns or role != turns[-1][0]):
            turns.append((role, []))
        if said:
            turns[-1][1].extend(said)
    return [Turn(role, tuple(content)) for role, content in turns]


def _matched(calls: list[ToolUseBlock], turn: Turn) -> tuple[tuple[Answered, ...], Turn]:
    """The calls with their results out of the turn that follows, and the turn with what else is in it."""
    waiting = Counter(call.id for call in calls if turn.role == "user")
    found: dict[str, list[ToolResultBlock]] = {}
    rest: list[Block] = []
    for block in turn.content:
        if isinstance(block, ToolResultBlock) and waiting[block.tool_use_id]:
            waiting[block.tool_use_id] -= 1
            found.setdefault(block.tool_use_id, []).append(block)
        else:
            rest.append(block)
    results = tuple(Answered(call, found[call.id].pop(0) if found.get(call.id) else None) for call in calls)
    return results, turn._replace(content=tuple(rest))
