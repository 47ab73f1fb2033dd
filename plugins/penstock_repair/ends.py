"""The ends of a conversation: no empty turns, the user begins, and what the model continues does not end in space."""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from penstock import Message, TextBlock

MISSING = "(The beginning of this conversation is missing.)"


def ended(messages: Sequence[Message], repairs: Counter[str]) -> tuple[Message, ...]:
    """The messages, each the same object if nothing is wrong with it. Of nothing but empty turns nothing is made."""
    full = [message for message in messages if message.content or message.role == "system"]
    if not any(message.content for message in full):
        return tuple(messages)
    if len(full) < len(messages):
        repairs["empty_turn"] += len(messages) - len(full)
    full[-1] = _without_space(full[-1], repairs)
    if next(message.role for message in full if message.content) != "user":
        repairs["first_turn"] += 1
        full.insert(0, Message("user", (TextBlock(MISSING),)))
    return tuple(full)


def _without_space(message: Message, repairs: Counter[str]) -> Message:
    last = message.content[-1] if message.content else None
    if message.role != "assistant" or not isinstance(last, TextBlock) or not last.text[-1:].isspace():
        return message
    repairs["prefill"] += 1
    return replace(message, content=(*message.content[:-1], replace(last, text=last.text.rstrip())))
