"""What an upstream says an answer cost, in exact and never negative tokens."""

from collections.abc import Mapping
from typing import Any

from penstock import Usage

from ..arithmetic import usage_of
from ..untyped import members, number


def read_usage(wire: Mapping[str, Any]) -> Usage | None:
    """The usage, or None when it says nothing.

    `input_tokens` includes what came from a cache and what was written to one. Cached tokens that exceed it come on
    top, and so does reasoning that exceeds `output_tokens`, as in xAI's Chat Completions.
    """
    prompt, output = number(wire.get("input_tokens")), number(wire.get("output_tokens"))
    details = members(wire.get("input_tokens_details"))
    read, written = number(details.get("cached_tokens")), number(details.get("cache_write_tokens"))
    reasoning = number(members(wire.get("output_tokens_details")).get("reasoning_tokens"))
    if reasoning > output:
        output += reasoning
    return usage_of(prompt, read=read, written=written, output=output, reasoning=reasoning)
