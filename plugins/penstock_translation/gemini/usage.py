"""What an upstream says an answer cost, in exact and never negative tokens."""

from collections.abc import Mapping
from typing import Any

from penstock import Usage

from ..modes import mode_of
from ..untyped import number


def read_usage(wire: Mapping[str, Any]) -> Usage | None:
    """The usage, None when it says nothing.

    The prompt includes what came from a cache, but not what built-in tools have put into it; the candidates do not
    include thoughts.
    """
    prompt = number(wire.get("promptTokenCount")) + number(wire.get("toolUsePromptTokenCount"))
    read = min(number(wire.get("cachedContentTokenCount")), prompt)
    thoughts = number(wire.get("thoughtsTokenCount"))
    output = number(wire.get("candidatesTokenCount")) + thoughts
    if not (prompt or output):
        return None
    mode = mode_of(wire.get("serviceTier"), wire.get("trafficType"))
    return Usage(input=prompt - read, cache_read=read, output=output, reasoning=thoughts, mode=mode)
