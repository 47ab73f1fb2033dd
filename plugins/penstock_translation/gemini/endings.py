"""Why an answer ended: what the client is told of it, or the error that it is."""

from collections.abc import Mapping

from penstock import GatewayError, StopReason, UpstreamFailed

_REASONS: Mapping[str, StopReason] = {
    "MAX_TOKENS": "max_tokens",
    "CONTINUATION": "max_tokens",  # Gemini 4 could go on, with a token that only its own client knows what to do with
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
    "MODEL_ARMOR": "refusal",
    "ESCALATION": "refusal",
}

BLOCKED = "PROHIBITED_CONTENT"
"""The reason of an answer to a prompt that was not let through."""

# The model got stuck. An agent must not take that for the end of its turn; trying again usually helps.
_STUCK: Mapping[str, str] = {
    "MALFORMED_FUNCTION_CALL": "wrote a tool call that cannot be read",
    "UNEXPECTED_TOOL_CALL": "called a tool that it was not given",
    "MALFORMED_RESPONSE": "wrote an answer that cannot be read",
    "TOO_MANY_TOOL_CALLS": "made too many tool calls in a row",
    "MISSING_THOUGHT_SIGNATURE": "misses a thought signature in the conversation",
}
_SILENT = ("OTHER", "IMAGE_OTHER", "NO_IMAGE")
_CLOSED_ACCOUNT = "PUP_LIMITED_DISABLED"


def stop_reason(reason: str, *, calls: bool) -> StopReason:
    """The reason in neutral words. STOP is also said of calls; whether there was one is seen better than said."""
    return _REASONS.get(reason) or ("tool_use" if calls else "end_turn")


def breakdown(reason: str, message: str, *, calls: bool, content: bool) -> GatewayError | None:
    """The error of an answer that ended for such a reason, None if it is an answer after all."""
    said = f": {message}" if message else ""
    if reason == _CLOSED_ACCOUNT:
        return UpstreamFailed("the upstream has limited the gateway's account", should_retry=False, detail=message)
    if reason in _STUCK and not calls:
        return UpstreamFailed(f"the model {_STUCK[reason]}{said}")
    if reason in _SILENT and not content:
        return UpstreamFailed(f"the model stopped without an answer, for a reason it does not tell{said}")
    return None
