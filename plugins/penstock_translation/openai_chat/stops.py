"""Why an answer ended, in the words of all who serve this format."""

from collections.abc import Mapping

from penstock import GatewayError, Overloaded, StopReason, UpstreamFailed

_REASONS: Mapping[str, StopReason] = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "model_length": "max_tokens",  # Mistral
    "content_filter": "refusal",
    "refusal": "refusal",
    "safety": "refusal",  # this and the next four: Gemini's own, which some gateways pass on
    "recitation": "refusal",
    "prohibited_content": "refusal",
    "blocklist": "refusal",
    "spii": "refusal",
    "sensitive": "refusal",  # Z.ai
    "model_context_window_exceeded": "context_exceeded",  # Z.ai
    "context_length_exceeded": "context_exceeded",
}
"""Everything else ends the turn, with a tool call or without; whether there was one is seen better than said."""

_BROKEN = ("error", "network_error", "abort")  # OpenRouter, Z.ai, SGLang and vLLM
_MALFORMED = "malformed_function_call"  # Google, behind `function_call_filter: `
_NO_CAPACITY = "insufficient_system_resource"  # DeepSeek


def stop_reason(reason: str) -> StopReason | None:
    """The reason, None where the answer itself shows it better."""
    return _REASONS.get(reason.lower())


def breakage(reason: str) -> GatewayError | None:
    """The error that a reason stands for, None if it is a proper end."""
    reason = reason.lower()
    if reason in _BROKEN:
        return UpstreamFailed("the upstream broke its answer off with an error")
    if reason.endswith(_MALFORMED):
        return UpstreamFailed("the model made a tool call that the upstream could not read")
    if reason == _NO_CAPACITY:
        return Overloaded("the upstream broke its answer off for want of capacity")
    return None
