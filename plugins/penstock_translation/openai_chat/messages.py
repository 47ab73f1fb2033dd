"""The conversation as Chat Completions messages: every tool result directly after its call, in the calls' order."""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock import Block, Prompt, TextBlock, ThinkingBlock, ToolUseBlock

from ..names import ToolNames, wire_id
from ..seals import unseal
from ..turns import EMPTY_RESULT, RESULT_FOLLOWS, Answered, Conversation, last_mark, result_text
from ..words import joined
from .content import content_of, media_part, text_part
from .details import Details, acceptable
from .marks import Marks
from .quirks import ChatQuirks

# What Google documents for calls of a history that another model made (ai.google.dev, thought signatures).
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}


_BRIDGE = "I have the results."

Entry = dict[str, Any]


class _Sealed(msgspec.Struct):
    extra_content: msgspec.Raw = msgspec.Raw(b"")
    reasoning_details: list[Entry] = []


_SEALED = msgspec.json.Decoder(_Sealed)


def render_messages(prompt: Prompt, names: ToolNames, maker: str, quirks: ChatQuirks) -> list[Entry]:
    """The `messages` of a request to the target whose seals name `maker`."""
    conversation = _Conversation(names, maker, quirks)
    conversation.system(prompt.system)
    conversation.take(prompt.messages, system_in_place=quirks.system_in_place)
    return conversation.close()


class _Conversation(Conversation):
    """Collects messages; holds back what may not stand in tool messages."""

    def __init__(self, names: ToolNames, maker: str, quirks: ChatQuirks) -> None:
        self._names = names
        self._maker = maker
        self._quirks = quirks
        self._entries: list[Entry] = []
        self._marks = Marks(quirks.cache_control)
        self._moved: list[Block] = []  # images and files of tool results, for the next user message

    def close(self) -> list[Entry]:
        self.user(())
        self._marks.settle()
        return self._entries

    def system(self, content: tuple[Block, ...]) -> None:
        self._add(self._quirks.system_role, content)

    def user(self, content: tuple[Block, ...]) -> None:
        self._add("user", (*self._moved, *content))
        self._moved = []

    def assistant(self, content: tuple[Block, ...]) -> None:
        self.user(())
        calls = self._calls(content)
        text = joined(block for block in content if not isinstance(block, ToolUseBlock))
        if not text and not calls:
            return
        mark = last_mark(content)
        if mark and not text and self._entries:
            self._marks.move(self._entries[-1], mark)
        words = self._marks.content(text, mark) if text else None
        entry: Entry = {"role": "assistant", "content": words, **self._reasoning(content)}
        if calls:
            entry["tool_calls"] = calls
        self._entries.append(entry)

    def tool(self, results: tuple[Answered, ...]) -> None:
        for answered in results:
            call, result = answered
            self._entries.append({"role": "tool", "tool_call_id": self._id(call), "content": self._result(answered)})
            media = [block for block in result.content if media_part(block)] if result else []
            if media and not self._quirks.images_in_tool_results:
                self._moved += [TextBlock(f"[from the result of the tool call {self._id(call)}, {call.name}]"), *media]

    def _add(self, role: str, content: Sequence[Block]) -> None:
        if words := content_of(content, self._marks):
            if not self._quirks.user_after_tool and self._entries and self._entries[-1]["role"] == "tool":
                self._entries.append({"role": "assistant", "content": _BRIDGE})
            self._entries.append({"role": role, "content": words})

    def _reasoning(self, content: tuple[Block, ...]) -> Entry:
        thinking = [block for block in content if isinstance(block, ThinkingBlock)]
        if self._quirks.reasoning_details and (details := self._details(thinking)):
            return {"reasoning_details": details}
        field = self._quirks.reasoning_field
        thoughts = "\n\n".join(block.text for block in thinking if block.text)
        if field == "none" or (field == "reasoning" and not thoughts):
            return {}
        return {field: thoughts or self._quirks.reasoning_placeholder}

    def _details(self, thinking: list[ThinkingBlock]) -> list[Entry]:
        details = Details()
        for block in thinking:
            if sealed := unseal(block.redacted or block.signature, self._maker, _SEALED):
                details.add(sealed.reasoning_details)
        return acceptable(details.entries())

    def _calls(self, content: tuple[Block, ...]) -> list[Entry]:
        calls: list[Entry] = []
        sealed: _Sealed | None = None
        for block in content:
            if isinstance(block, ThinkingBlock) and block.redacted:
                sealed = unseal(block.redacted, self._maker, _SEALED) or sealed
            elif isinstance(block, ToolUseBlock):
                function = {"name": self._names.wire(block.name), "arguments": bytes(block.input).decode()}
                calls.append({"id": self._id(block), "type": "function", "function": function})
                if sealed and bytes(sealed.extra_content) and self._quirks.tool_extra_content:
                    calls[-1]["extra_content"] = sealed.extra_content
                sealed = None
        if calls and self._quirks.tool_extra_content:
            calls[0].setdefault("extra_content", _UNSIGNED)
        return calls

    def _result(self, answered: Answered) -> str | list[Entry]:
        blocks = answered.result.content if answered.result else ()
        media = [part for block in blocks if (part := media_part(block))]
        text = result_text(answered.result, (block for block in blocks if not media_part(block)))
        mark = last_mark([*blocks, *([answered.result] if answered.result else ())])
        if media and self._quirks.images_in_tool_results:
            self._marks.put(media[-1], mark)
            return [text_part(text), *media] if text else media
        return self._marks.content(text or (RESULT_FOLLOWS if media else EMPTY_RESULT), mark)

    def _id(self, call: ToolUseBlock) -> str:
        return wire_id(call.id, self._quirks.tool_call_id_limit)
