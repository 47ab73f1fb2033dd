"""What an upstream says an answer cost, in exact and never negative tokens."""

from collections.abc import Mapping
from typing import Any

from penstock import Usage

from ..arithmetic import usage_of
from ..untyped import members, number


def read_usage(wire: Mapping[str, Any]) -> Usage | None:
    """The usage, or None when it says nothing: some servers put zeros into every chunk but the last.

    `prompt_tokens` includes what came from a cache and what was written to one. xAI is the exception twice: its
    cached tokens may exceed the prompt's, then they come on top; and its reasoning is not part of
    `completion_tokens`, which shows in the total.
    """
    prompt, completion = number(wire.get("prompt_tokens")), number(wire.get("completion_tokens"))
    details = members(wire.get("prompt_tokens_details") or wire.get("prompt_token_details"))
    read = _first(details, "cached_tokens") or _first(
        wire, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"
    )
    written = _first(details, "cache_write_tokens", "cache_creation_input_tokens")
    reasoning = number(members(wire.get("completion_tokens_details")).get("reasoning_tokens"))
    if reasoning > completion or number(wire.get("total_tokens")) == prompt + completion + reasoning:
        completion += reasoning
    return usage_of(prompt, read=read, written=written, output=completion, reasoning=reasoning)


def _first(wire: Mapping[str, Any], *names: str) -> int:
    return next((count for name in names if (count := number(wire.get(name)))), 0)
