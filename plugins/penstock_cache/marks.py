"""Marks that have a provider cache a prompt, for clients that set none."""

from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    InvalidRequest,
    Message,
    Prompt,
    Request,
    TextBlock,
    Tool,
    ToolResultBlock,
)


def mark(request: Request) -> None:
    """Mark the ends of the tools, of the system prompt and of the last user turn, if there is no mark at all.

    That is three of the four marks that providers allow. What cannot be read or written stays as it is.
    """
    body = request.body
    if b'"cache_control"' in body:
        return
    with suppress(InvalidRequest, TypeError):
        prompt = request.prompt
        deferred = b'"defer_loading"' in body  # providers refuse a mark on a tool that is loaded later
        request.prompt = _marked(prompt, tools=() if deferred else prompt.tools[-1:])


def _marked(prompt: Prompt, tools: Sequence[Tool]) -> Prompt:
    return replace(
        prompt,
        tools=(*prompt.tools[: len(prompt.tools) - len(tools)], *(replace(tool, cache="5m") for tool in tools)),
        system=_last_marked(prompt.system),
        messages=_turns(prompt.messages),
    )


def _last_marked(system: tuple[TextBlock, ...]) -> tuple[TextBlock, ...]:
    if not system or not system[-1].text.strip():
        return system
    return (*system[:-1], replace(system[-1], cache="5m"))


def _turns(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    last = next((place for place in reversed(range(len(messages))) if messages[place].role == "user"), None)
    if last is None:
        return messages
    content = list(messages[last].content)
    for place in reversed(range(len(content))):
        if (block := _block(content[place])) is not None:
            content[place] = block
            break
    return (*messages[:last], replace(messages[last], content=tuple(content)), *messages[last + 1 :])


def _block(block: Block) -> Block | None:
    """The block with a mark, None if it can have none: providers refuse it on a blank text."""
    if isinstance(block, TextBlock):
        return replace(block, cache="5m") if block.text.strip() else None
    return replace(block, cache="5m") if isinstance(block, ImageBlock | DocumentBlock | ToolResultBlock) else None
