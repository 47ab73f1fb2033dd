"""How one vendor's Chat Completions differ from the next: data, set per upstream and per model."""

from typing import Annotated, Literal

from msgspec import Meta

from ..efforts import Effort, ascending
from ..translated import Quirks


class ChatQuirks(Quirks, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    reasoning_placeholder: Annotated[
        str,
        Meta(
            description="What stands in `reasoning_content` of a message without thinking; Moonshot's models take an "
            "empty one for a missing one, but not a space."
        ),
    ] = ""
    reasoning_details: Annotated[
        bool,
        Meta(
            description="Whether thinking also comes as the list `reasoning_details`, which must go back unchanged. It "
            "travels through the history as the signature of the thinking. A message that has it goes without "
            "`reasoning_field`."
        ),
    ] = False
    cache_control: Annotated[
        Literal["none", "5m", "1h"],
        Meta(
            description="How long a cache mark may ask for, if the upstream takes Anthropic's `cache_control` on parts "
            "of messages. The last four marks are sent."
        ),
    ] = "none"
    thinking_excludes: Annotated[
        tuple[Literal["sampling", "tool_choice", "response_format"], ...],
        Meta(
            description="What cannot be asked for while the model thinks. Sampling parameters are then left out. For a "
            "forced tool call or a format of the answer thinking is switched off, and where it cannot be, they are "
            "not demanded."
        ),
    ] = ()
    temperature_range: Annotated[
        tuple[float, float],
        Meta(description="The lowest and the highest temperature; others are moved to the nearest."),
    ] = (0.0, 2.0)
    top_p_range: Annotated[
        tuple[float, float], Meta(description="The lowest and the highest `top_p`; others are moved to the nearest.")
    ] = (0.0, 1.0)
    temperature_or_top_p: Annotated[
        bool, Meta(description="Whether only one of the two is accepted. Then `top_p` is left out.")
    ] = False
    session_field: Annotated[
        str,
        Meta(
            description="The parameter that names a conversation, such as `prompt_cache_key`; it gets a digest of the "
            "client's session, so that a vendor finds its caches again. Empty for none."
        ),
    ] = ""
    user_field: Annotated[
        str,
        Meta(
            description="The parameter that names a user, such as `safety_identifier`; it gets a digest of what the "
            "client says of its user. Empty for none, so that nothing of it is sent."
        ),
    ] = ""
    service_tiers: Annotated[
        dict[str, str],
        Meta(description="`service_tier` by what the client asks for; what is not in here is not asked for."),
    ] = {}
    structured_output: Annotated[
        Literal["json_schema", "json_object", "none"],
        Meta(
            description="How `response_format` can demand the form of an answer: by a schema, as any JSON object, or "
            "not at all. Where it cannot name the schema, the system prompt does."
        ),
    ] = "json_schema"
    schema_drop: Annotated[
        tuple[str, ...],
        Meta(
            description="Keywords that are taken out of schemas, such as `pattern`, which llama.cpp cannot always read."
        ),
    ] = ()
    schema_types_in_any_of: Annotated[
        bool,
        Meta(
            description="Whether `type` may not stand beside `anyOf` and `items` may not be a list; Moonshot refuses "
            "such schemas. Then the type moves into the alternatives and the list becomes `prefixItems`."
        ),
    ] = False
    web_search: Annotated[
        Literal["none", "openrouter", "zai", "enable_search"],
        Meta(
            description="How the upstream searches the web when a client asks for Anthropic's search: with the tool "
            "`openrouter:web_search`, with Z.ai's tool `web_search`, or by `enable_search: true` (Alibaba)."
        ),
    ] = "none"
    tool_history_needs_tools: Annotated[
        bool,
        Meta(
            description="Whether calls in the history are refused when a request offers no tools, as Claude's "
            "providers do. Then they and their results are told in words."
        ),
    ] = False
    drop: Annotated[tuple[str, ...], Meta(description="Parameters that are never sent.")] = ()
    stop_limit: Annotated[
        int, Meta(ge=0, description="How many stop sequences are accepted; the rest are left out.")
    ] = 4
    tool_choice_required: Annotated[
        bool, Meta(description="Whether a tool call can be forced. If not, `any` and `tool` become `auto`.")
    ] = True
    media: Annotated[
        tuple[Literal["image", "file"], ...],
        Meta(
            description="What messages may hold besides text. The rest is told in words, since an upstream that does "
            "not take it refuses the conversation for good."
        ),
    ] = ("image", "file")
    user_after_tool: Annotated[
        bool,
        Meta(
            description="Whether the user may speak right after a tool's result. If not (Mistral), a short message of "
            "the assistant stands in between."
        ),
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
    tools_limit: Annotated[
        int, Meta(ge=0, description="How many tools are accepted; the rest are left out. 0 for any number.")
    ] = 0
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

    def __post_init__(self) -> None:
        ascending(self.efforts)
        for name, (lowest, highest) in {"temperature": self.temperature_range, "top_p": self.top_p_range}.items():
            if lowest > highest:
                raise ValueError(f"{name}_range must not fall, got [{lowest:g}, {highest:g}]")
