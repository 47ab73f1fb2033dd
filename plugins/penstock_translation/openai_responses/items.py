"""The conversation as Responses input items: every output directly after the calls, in the calls' order."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from penstock import Block, Prompt, TextBlock, ThinkingBlock, ToolUseBlock

from ..names import ToolNames, wire_id
from ..turns import EMPTY_RESULT, RESULT_FOLLOWS, Answered, Conversation, result_text
from ..words import joined, text_of
from .content import media_part, text_part, user_parts
from .quirks import ResponsesQuirks
from .reasoning import unsealed

Item = dict[str, Any]


class Rendered(NamedTuple):
    """The input, and what could not be put into it."""

    items: list[Item]
    dropped: tuple[str, ...]


def render_items(prompt: Prompt, names: ToolNames, maker: str, quirks: ResponsesQuirks) -> Rendered:
    """The `input` of a request to the target whose seals name `maker`."""
    conversation = _Conversation(names, maker, quirks)
    if not quirks.instructions:
        conversation.system(prompt.system)
    conversation.take(prompt.messages, system_in_place=quirks.system_in_place)
    return conversation.close()


class _Conversation(Conversation):
    """Collects items; holds back what may not stand in the outputs of tools."""

    def __init__(self, names: ToolNames, maker: str, quirks: ResponsesQuirks) -> None:
        self._names = names
        self._maker = maker
        self._quirks = quirks
        self._items: list[Item] = []
        self._moved: list[Block] = []  # images and files of tool results, for the next user message
        self._dropped: dict[str, None] = {}

    def close(self) -> Rendered:
        self.user(())
        return Rendered(self._items, tuple(self._dropped))

    def system(self, content: Iterable[Block]) -> None:
        if text := joined(content):
            self._items.append({"type": "message", "role": self._quirks.system_role, "content": [text_part(text)]})

    def user(self, content: tuple[Block, ...]) -> None:
        if parts := user_parts([*self._moved, *content], self._media):
            self._items.append({"type": "message", "role": "user", "content": parts})
        self._moved = []

    def assistant(self, content: tuple[Block, ...]) -> None:
        self.user(())
        turn = _AssistantTurn()
        for block in content:
            if isinstance(block, ThinkingBlock):
                held = unsealed(block, self._maker)
                turn.thinking(held.item, held.phase)
            elif isinstance(block, ToolUseBlock):
                turn.call(self._call(block))
            else:
                turn.words(block)
        self._items += turn.close()

    def tool(self, results: tuple[Answered, ...]) -> None:
        for answered in results:
            call, result = answered
            id = self._id(call)
            self._items.append({"type": "function_call_output", "call_id": id, "output": self._output(answered)})
            media = [block for block in result.content if self._media(block)] if result else []
            if media and not self._quirks.images_in_tool_results:
                self._moved += [TextBlock(f"[from the result of the tool call {id}, {call.name}]"), *media]

    def _media(self, block: Block) -> Item | None:
        part = media_part(block)
        if part and "file_data" in part and not self._quirks.file_data:
            self._dropped["the data of a file"] = None
            return None
        return part

    def _call(self, call: ToolUseBlock) -> Item:
        """Without the `id` it had: that would demand the reasoning item that went before it."""
        name, arguments = self._names.wire(call.name), bytes(call.input).decode()
        return {"type": "function_call", "call_id": self._id(call), "name": name, "arguments": arguments}

    def _output(self, answered: Answered) -> str | list[Item]:
        blocks = answered.result.content if answered.result else ()
        media = [part for block in blocks if (part := self._media(block))]
        text = result_text(answered.result, (block for block in blocks if not self._media(block)))
        if media and self._quirks.images_in_tool_results:
            return [text_part(text), *media] if text else media
        return text or (RESULT_FOLLOWS if media else EMPTY_RESULT)

    def _id(self, call: ToolUseBlock) -> str:
        return wire_id(call.id, self._quirks.tool_call_id_limit)


class _AssistantTurn:
    """Items of one turn. Thinking goes out only directly before the words or the call it led to."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._thought: Item = {}
        self._phase = ""
        self._texts: list[str] = []

    def thinking(self, item: Item, phase: str) -> None:
        self._message()
        self._thought, self._phase = item, phase

    def call(self, item: Item) -> None:
        self._message()
        self._think()
        self._phase = ""
        self._items.append(item)

    def words(self, block: Block) -> None:
        text = text_of(block)
        if not isinstance(block, TextBlock):
            self._thought = {}  # it led to something of which only words are left
        if text.strip():
            self._think()
            self._texts.append(text)

    def close(self) -> list[Item]:
        self._message()
        return self._items

    def _think(self) -> None:
        if self._thought:
            self._items.append(self._thought)
            self._thought = {}

    def _message(self) -> None:
        if self._texts:
            # As a string: a list of output_text parts is only well-formed with the id that the message had.
            item = {"type": "message", "role": "assistant", "content": "\n\n".join(self._texts)}
            self._items.append(item | ({"phase": self._phase} if self._phase else {}))
            self._texts, self._phase = [], ""
