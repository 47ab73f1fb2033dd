"""How one vendor's Chat Completions differ from the next: data, set per upstream and per model."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock_translation.efforts import Effort, ascending


class ChatQuirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differences of an OpenAI-compatible upstream. The defaults suit a server nobody knows anything about."""

    max_tokens_field: Annotated[
        Literal["max_tokens", "max_completion_tokens"],
        Meta(description="The name of the output limit; OpenAI's reasoning models take only the longer one."),
    ] = "max_tokens"
    system_role: Annotated[Literal["system", "developer"], Meta(description="The role of system messages.")] = "system"
    system_in_place: Annotated[
        bool,
        Meta(
            description="Whether system messages may stand inside a conversation. If not they become marked user text; "
            "chat templates such as Qwen's need that."
        ),
    ] = True
    reasoning: Annotated[
        Literal["none", "effort", "effort_openrouter", "thinking_type", "enable_thinking"],
        Meta(
            description="How thinking is asked for: not at all, `reasoning_effort`, `reasoning: {effort}`, "
            "`thinking: {type}`, or `enable_thinking` with `thinking_budget`."
        ),
    ] = "none"
    efforts: Annotated[
        tuple[Effort, ...],
        Meta(
            description="The efforts the model accepts, ascending; the client's is moved to the nearest. Empty means "
            "low, medium and high for the forms that consist of an effort, and no effort at all for the switches."
        ),
    ] = ()
    reasoning_field: Annotated[
        Literal["reasoning_content", "reasoning", "none"],
        Meta(
            description="The field of assistant messages in which earlier thinking goes back. `reasoning_content` is "
            "then on every assistant message, empty if need be, since its vendors refuse a tool loop without it."
        ),
    ] = "none"
    drop: Annotated[tuple[str, ...], Meta(description="Parameters that are never sent.")] = ()
    stop_limit: Annotated[
        int, Meta(ge=0, description="How many stop sequences are accepted; the rest are left out.")
    ] = 4
    tool_choice_required: Annotated[
        bool, Meta(description="Whether a tool call can be forced. If not, `any` and `tool` become `auto`.")
    ] = True
    images_in_tool_results: Annotated[
        bool,
        Meta(description="Whether tool messages may hold images and files. If not, they follow in a user message."),
    ] = False
    stream_usage: Annotated[
        bool, Meta(description="Whether a stream is asked for its usage with `stream_options`.")
    ] = True
    tool_stream: Annotated[
        bool, Meta(description="Whether `tool_stream: true` is needed for tool input to be streamed.")
    ] = False
    tool_call_id_limit: Annotated[
        int,
        Meta(
            ge=9,
            description="The longest tool call id. Below 16 ids must be exactly that long and alphanumeric, which is "
            "the rule of the one vendor (Mistral, 9) with so low a limit.",
        ),
    ] = 40
    tool_extra_content: Annotated[
        bool,
        Meta(
            description="Whether tool calls carry `extra_content` that must come back with them: thought signatures of "
            "Google's Gemini 3 and later. They travel through the history as redacted thinking before the call."
        ),
    ] = False
    tool_name_limit: Annotated[int, Meta(ge=16, description="The longest tool name.")] = 64
    extra_body: Annotated[
        dict[str, Any], Meta(description="Members added to every request; they win over everything else.")
    ] = {}

    def __post_init__(self) -> None:
        ascending(self.efforts)
