"""How one server's Responses API differs from the next: data, set per upstream and per model."""

from typing import Annotated, Literal

from msgspec import Meta

from ..efforts import Effort, ascending
from ..translated import Quirks


class ResponsesQuirks(Quirks, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differences of a Responses upstream. The defaults suit a server nobody knows anything about."""

    instructions: Annotated[
        bool,
        Meta(description="Whether the system prompt goes as `instructions`. If not, it is the first message."),
    ] = True
    system_role: Annotated[
        Literal["developer", "system"], Meta(description="The role of system messages in the input.")
    ] = "developer"
    system_in_place: Annotated[
        bool,
        Meta(
            description="Whether system messages may stand inside a conversation. If not they become marked user text."
        ),
    ] = True
    reasoning: Annotated[
        bool,
        Meta(
            description="Whether the model thinks. Then thinking is asked for with `reasoning: {effort, summary}`, and "
            "its encrypted items are asked for, so that they can come back with the history."
        ),
    ] = False
    reasoning_summary: Annotated[
        bool,
        Meta(
            description="Whether summaries of the thinking are asked for. OpenAI gives them to verified organizations "
            "only and refuses the others' requests for them."
        ),
    ] = True
    efforts: Annotated[
        tuple[Effort, ...],
        Meta(
            description="The efforts the model accepts, ascending; the client's is moved to the nearest. Empty means "
            "low, medium and high."
        ),
    ] = ()
    drop: Annotated[tuple[str, ...], Meta(description="Parameters that are never sent.")] = ()
    tool_choice_required: Annotated[
        bool, Meta(description="Whether a tool call can be forced. If not, `any` and `tool` become `auto`.")
    ] = True
    images_in_tool_results: Annotated[
        bool,
        Meta(
            description="Whether the outputs of tool calls may hold images and files. If not, they follow in a user "
            "message."
        ),
    ] = True
    file_data: Annotated[
        bool, Meta(description="Whether files can be sent as data. If not, only their names are told.")
    ] = True
    web_search: Annotated[
        bool, Meta(description="Whether the server has a `web_search` tool to stand in for Anthropic's.")
    ] = False
    prompt_cache_key: Annotated[
        bool,
        Meta(description="Whether `prompt_cache_key` is accepted; it is a digest of the name of the agent's session."),
    ] = False
    service_tier: Annotated[
        bool, Meta(description="Whether the client's `service_tier` is passed on: `auto` and `default`.")
    ] = False
    count_tokens: Annotated[bool, Meta(description="Whether it serves `/responses/input_tokens`.")] = False
    tool_call_id_limit: Annotated[int, Meta(ge=16, description="The longest tool call id.")] = 64

    def __post_init__(self) -> None:
        ascending(self.efforts)
