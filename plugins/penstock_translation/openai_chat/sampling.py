"""Limits of an answer and how its words are chosen, as Chat Completions parameters."""

from typing import Any

from penstock import Prompt

from .quirks import ChatQuirks


def limit_fields(prompt: Prompt, model_limit: int, quirks: ChatQuirks, dropped: list[str]) -> dict[str, Any]:
    """The output limit and the stop sequences. `model_limit` is in tokens, 0 when unknown."""
    fields: dict[str, Any] = {}
    limit = 0 if "stop" in quirks.drop else quirks.stop_limit
    if stop := prompt.stop[:limit]:
        fields["stop"] = stop
    if len(prompt.stop) > limit:
        dropped.append(f"stop sequences beyond the first {limit}" if limit else "stop sequences")
    if prompt.max_tokens is not None:
        # An agent asks for what its own model could write, and 0 is Anthropic's way to fill a cache.
        most = min(prompt.max_tokens, model_limit or prompt.max_tokens)
        fields[quirks.max_tokens_field] = max(1, most)
    return fields


def sampling_fields(prompt: Prompt, thinks: bool, quirks: ChatQuirks) -> dict[str, Any]:
    """Temperature and its like, as far as the upstream takes them; `thinks` if the model is asked to think."""
    if thinks and "sampling" in quirks.thinking_excludes:
        return {}
    fields: dict[str, Any] = {}
    if prompt.temperature is not None:
        fields["temperature"] = _within(prompt.temperature, quirks.temperature_range)
    if prompt.top_p is not None and not (fields and quirks.temperature_or_top_p):
        fields["top_p"] = _within(prompt.top_p, quirks.top_p_range)
    if prompt.top_k is not None:
        fields["top_k"] = prompt.top_k
    return fields


def _within(value: float, allowed: tuple[float, float]) -> float:
    lowest, highest = allowed
    return min(max(value, lowest), highest)
