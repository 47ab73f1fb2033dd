"""The words of a prompt: read them all, or put others in their place."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from penstock.request import Block, DocumentBlock, Prompt, TextBlock, ToolResultBlock, ToolUseBlock


def texts_of(prompt: Prompt) -> list[str]:
    """All words of a prompt that `map_texts` would change.

    if any("tangerine" in text for text in texts_of(exchange.request.prompt)):
        raise Forbidden("tangerine must not leave the house")
    """
    texts: list[str] = []

    def note(text: str) -> str:
        texts.append(text)
        return text

    map_texts(prompt, note)
    return texts


def map_texts(prompt: Prompt, change: Callable[[str], str]) -> Prompt:
    """The prompt with `change` applied to all words that were said so far.

    They are those of the system prompt, of messages, of tool results, of plain documents, and the strings in the input
    of tool calls. Thinking stays, since its seal would not fit any more, and so do pictures, files and the descriptions
    of tools. A request that is given the new prompt keeps the client's bytes wherever nothing is different:

        exchange.request.prompt = map_texts(exchange.request.prompt, lambda text: text.replace("Bob", "[name]"))
    """

    def worded(block: Block) -> Block:
        match block:
            case TextBlock(text=text) | DocumentBlock(text=text) if text:
                return replace(block, text=change(text))
            case ToolUseBlock(input=given):
                return replace(block, input=map_strings(given, change))
            case ToolResultBlock(content=content):
                return replace(block, content=tuple(map(worded, content)))
        return block

    return replace(
        prompt,
        system=tuple(replace(block, text=change(block.text)) for block in prompt.system),
        messages=tuple(replace(turn, content=tuple(map(worded, turn.content))) for turn in prompt.messages),
    )


def map_strings(document: msgspec.Raw, change: Callable[[str], str]) -> msgspec.Raw:
    """A JSON document, such as the input of a tool call, with `change` applied to its strings but the names of members.

    It stays as it was written if nothing is different. Raises msgspec.DecodeError if it is no JSON.
    """

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, list):
            return [changed(item) for item in value]
        return {name: changed(item) for name, item in value.items()} if isinstance(value, dict) else value

    before = msgspec.json.decode(document)
    after = changed(before)
    return document if after == before else msgspec.Raw(msgspec.json.encode(after))
