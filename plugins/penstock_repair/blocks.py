"""Single blocks that providers refuse: empty ones, nameless calls, calls and results on the wrong side."""

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from penstock import Block, DocumentBlock, ImageBlock, Message, OtherBlock, TextBlock, ToolResultBlock, ToolUseBlock

UNNAMED = "unnamed_tool"
SILENT = "The tool failed without saying why."


def cleaned(messages: Iterable[Message], repairs: Counter[str]) -> list[Message]:
    """The messages, each the same object if nothing is wrong with it.

    Empty ones are left out, but for those of the user, which may separate a call from what came next, and for system
    messages that came empty, which may carry settings.
    """
    out: list[Message] = []
    for message in messages:
        role, content = message.role, message.content
        if all(_is_sound(block, role) for block in content) and (content or role != "assistant"):
            out.append(message)
            continue
        content = tuple([new for block in content for new in _cleaned(block, role, repairs)])
        if content or role == "user":
            out.append(replace(message, content=content))
        else:
            repairs["empty_turn"] += 1
    return out


def in_words(block: ToolResultBlock | ToolUseBlock) -> Iterator[Block]:
    """What a call or a result says, for a place where neither may stand."""
    if isinstance(block, ToolUseBlock):
        yield TextBlock(f"[call of the tool {block.name}: {bytes(block.input).decode(errors='replace')}]", block.cache)
        return
    words = "\n\n".join(part.text for part in block.content if isinstance(part, TextBlock | OtherBlock) and part.text)
    yield TextBlock(f"[result of a tool call that is no longer in this conversation]\n{words}".strip(), block.cache)
    yield from (part for part in block.content if isinstance(part, ImageBlock | DocumentBlock))


def is_blank(block: Block) -> bool:
    """Whether it is text of nothing but space."""
    return isinstance(block, TextBlock) and (not block.text or block.text.isspace())


def _is_sound(block: Block, role: str) -> bool:
    """Whether there is nothing to do, as with most blocks."""
    if isinstance(block, ToolResultBlock):
        return role == "user" and bool(block.content or not block.is_error) and not any(map(is_blank, block.content))
    if isinstance(block, ToolUseBlock):
        return role == "assistant" and bool(block.name.strip())
    return not is_blank(block)


def _cleaned(block: Block, role: str, repairs: Counter[str]) -> Iterable[Block]:
    if is_blank(block):
        repairs["empty_text"] += 1
        return ()
    if not isinstance(block, ToolUseBlock | ToolResultBlock):
        return (block,)
    if role != ("assistant" if isinstance(block, ToolUseBlock) else "user"):
        repairs["misplaced_block"] += 1
        return in_words(block)
    return (_call(block, repairs) if isinstance(block, ToolUseBlock) else _result(block, repairs),)


def _call(call: ToolUseBlock, repairs: Counter[str]) -> ToolUseBlock:
    if call.name.strip():
        return call
    repairs["empty_tool_name"] += 1
    return replace(call, name=UNNAMED)


def _result(result: ToolResultBlock, repairs: Counter[str]) -> ToolResultBlock:
    if blank := sum(map(is_blank, result.content)):
        repairs["empty_text"] += blank
        result = replace(result, content=tuple(part for part in result.content if not is_blank(part)))
    if result.is_error and not result.content:
        repairs["empty_error"] += 1
        result = replace(result, content=(TextBlock(SILENT),))
    return result
