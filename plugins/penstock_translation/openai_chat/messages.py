"""The conversation as Chat Completions messages: every tool result directly after its call, in the calls' order."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from penstock import Block, Message, Prompt, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock
from penstock_translation.openai_chat.content import joined, media_part, text_part, user_content
from penstock_translation.openai_chat.names import ToolNames, split_extra, wire_id
from penstock_translation.openai_chat.quirks import ChatQuirks

# Claude Code's first system block names the client's build and changes between sessions. It is meant for
# Anthropic's billing; elsewhere it is noise at the very place where prompt caches compare (llm-gateway-protocol).
_ATTRIBUTION = "x-anthropic-billing-header:"

# What Google documents for calls of a history that another model made (ai.google.dev, thought signatures).
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}

_NO_RESULT = "(There is no result: the call was interrupted.)"
_EMPTY_RESULT = "(The result is empty.)"
_RESULT_FOLLOWS = "(The result follows in the next user message.)"

Entry = dict[str, Any]


def render_messages(prompt: Prompt, names: ToolNames, quirks: ChatQuirks) -> list[Entry]:
    """The `messages` of a request."""
    conversation = _Conversation(names, quirks)
    for message in _turns(prompt.messages, quirks.system_in_place):
        conversation.add(message)
    return _system(prompt.system, quirks) + conversation.close()


def _system(blocks: tuple[TextBlock, ...], quirks: ChatQuirks) -> list[Entry]:
    if blocks and blocks[0].text.startswith(_ATTRIBUTION):
        blocks = blocks[1:]
    text = joined(blocks)
    return [{"role": quirks.system_role, "content": text}] if text else []


def _turns(messages: Iterable[Message], system_in_place: bool) -> list[Message]:
    """Consecutive turns of one side as one, which is what the Messages API takes them for."""
    turns: list[tuple[Message, list[Block]]] = []
    for message in messages:
        if message.role == "system" and not system_in_place:
            text = joined(message.content)
            message = Message("user", (TextBlock(f"<system>\n{text}\n</system>"),) if text else ())
        if not turns or message.role != turns[-1][0].role:
            turns.append((message, []))
        turns[-1][1].extend(message.content)
    return [Message(first.role, tuple(content)) for first, content in turns]


class _Conversation:
    """Collects messages; holds back what may not stand between tool calls and their results."""

    def __init__(self, names: ToolNames, quirks: ChatQuirks) -> None:
        self._names = names
        self._quirks = quirks
        self._entries: list[Entry] = []
        self._pending: list[ToolUseBlock] = []  # calls of the last assistant message
        self._held: list[Entry] = []  # system messages that wait for the results

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            self._assistant(message.content)
        elif message.role == "user":
            self._user(message.content)
        elif text := joined(message.content):
            entry: Entry = {"role": self._quirks.system_role, "content": text}
            (self._held if self._pending else self._entries).append(entry)

    def close(self) -> list[Entry]:
        self._settle({})
        return self._entries

    def _assistant(self, content: tuple[Block, ...]) -> None:
        self._settle({})
        calls = [block for block in content if isinstance(block, ToolUseBlock)]
        text = joined(block for block in content if not isinstance(block, ToolUseBlock))
        if not text and not calls:
            return
        entry: Entry = {"role": "assistant", "content": text or None, **self._reasoning(content)}
        if calls:
            entry["tool_calls"] = [self._call(call) for call in calls]
            if self._quirks.tool_extra_content:
                entry["tool_calls"][0].setdefault("extra_content", _UNSIGNED)
        self._entries.append(entry)
        self._pending = calls

    def _reasoning(self, content: tuple[Block, ...]) -> Entry:
        field = self._quirks.reasoning_field
        thoughts = "\n\n".join(block.text for block in content if isinstance(block, ThinkingBlock) and block.text)
        if field == "none" or (field == "reasoning" and not thoughts):
            return {}
        return {field: thoughts}

    def _call(self, call: ToolUseBlock) -> Entry:
        function = {"name": self._names.wire(call.name), "arguments": bytes(call.input).decode()}
        entry: Entry = {"id": self._id(call), "type": "function", "function": function}
        _, extra = split_extra(call.id)
        if extra is not None and self._quirks.tool_extra_content:
            entry["extra_content"] = extra
        return entry

    def _user(self, content: tuple[Block, ...]) -> None:
        waiting = Counter(call.id for call in self._pending)
        results: dict[str, list[ToolResultBlock]] = {}
        rest: list[Block] = []
        for block in content:
            if isinstance(block, ToolResultBlock) and waiting[block.tool_use_id]:
                waiting[block.tool_use_id] -= 1
                results.setdefault(block.tool_use_id, []).append(block)
            else:
                rest.append(block)
        if text_or_parts := user_content(self._settle(results) + rest):
            self._entries.append({"role": "user", "content": text_or_parts})

    def _settle(self, results: dict[str, list[ToolResultBlock]]) -> list[Block]:
        """Answer the pending calls; gives back the images and files that may not stand in tool messages."""
        moved: list[Block] = []
        for call in self._pending:
            found = results.get(call.id)
            result = found.pop(0) if found else None
            self._entries.append({"role": "tool", "tool_call_id": self._id(call), "content": self._result(result)})
            media = [block for block in result.content if media_part(block)] if result else []
            if media and not self._quirks.images_in_tool_results:
                moved += [TextBlock(f"[from the result of the tool call {self._id(call)}, {call.name}]"), *media]
        self._entries += self._held
        self._pending, self._held = [], []
        return moved

    def _result(self, result: ToolResultBlock | None) -> str | list[Entry]:
        if result is None:
            return _NO_RESULT
        media = [part for block in result.content if (part := media_part(block))]
        text = joined(block for block in result.content if not media_part(block))
        if result.is_error:
            text = f"Error: {text or 'the tool failed without saying why'}"
        if media and self._quirks.images_in_tool_results:
            return [text_part(text), *media] if text else media
        return text or (_RESULT_FOLLOWS if media else _EMPTY_RESULT)

    def _id(self, call: ToolUseBlock) -> str:
        return wire_id(call.id, self._quirks.tool_call_id_limit)
