"""How one server of Google's format, or one of its models, differs from the next: data, set per upstream and model."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from ..efforts import ascending
from ..translated import Quirks

Level = Literal["minimal", "low", "medium", "high", "xhigh"]


class GeminiQuirks(Quirks, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differences of a generateContent upstream. The defaults suit a model nobody knows anything about."""

    thinking: Annotated[
        Literal["none", "budget", "level"],
        Meta(
            description="How thinking is asked for: not at all, with `thinkingBudget` (Gemini 2.5), or with "
            "`thinkingLevel` (Gemini 3 and later)."
        ),
    ] = "none"
    levels: Annotated[
        tuple[Level, ...],
        Meta(description="The levels the model accepts, ascending; the client's effort is moved to the nearest."),
    ] = ("low", "medium", "high")
    budget_min: Annotated[int, Meta(ge=0, description="The smallest budget in tokens, apart from 0.")] = 0
    budget_max: Annotated[int, Meta(ge=1, description="The largest budget in tokens.")] = 24576
    thinking_off: Annotated[
        bool,
        Meta(
            description="Whether a budget of 0 switches thinking off. If not, the smallest budget is as near as one "
            "can get; with levels it is always the lowest one."
        ),
    ] = True
    least_output: Annotated[
        int,
        Meta(
            ge=1,
            description="The smallest output limit that is sent. Thinking counts towards the limit, so a model that "
            "always thinks answers nothing to an agent that asks for a title in 64 tokens.",
        ),
    ] = 1
    thought_signatures: Annotated[
        bool,
        Meta(
            description="Whether calls that another model made, which have no thought signature, go with the stand-in "
            "that Google documents for them; Gemini 3 and later refuse such a history without."
        ),
    ] = True
    call_ids: Annotated[
        bool, Meta(description="Whether calls and their results are sent with their ids, which the newest models need.")
    ] = True
    media_in_results: Annotated[
        bool,
        Meta(
            description="Whether tool results may hold images and files, as from Gemini 3 on. If not, they follow the "
            "results."
        ),
    ] = False
    media_types: Annotated[
        tuple[str, ...],
        Meta(description="The media types of images and files the model can see; others are left out."),
    ] = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "application/pdf")
    file_urls: Annotated[
        bool, Meta(description="Whether the server fetches images and files from the addresses in `fileData`.")
    ] = True
    prefill: Annotated[
        bool,
        Meta(
            description="Whether a conversation may end with words of the model. If not, a user turn that says to go "
            "on is added; Gemini 3.6 and later need that."
        ),
    ] = False
    schema: Annotated[
        Literal["openapi", "json"],
        Meta(
            description="How tools and structured answers are described: in Google's subset of OpenAPI, to which "
            "every schema is reduced, or in JSON Schema as it is, which newer servers read for the most part."
        ),
    ] = "openapi"
    web_search: Annotated[bool, Meta(description="Whether a web search can be `googleSearch`.")] = True
    web_fetch: Annotated[bool, Meta(description="Whether fetching pages can be `urlContext`.")] = True
    combine_tools: Annotated[
        bool,
        Meta(
            description="Whether built-in tools may stand beside functions, as Google says of Gemini 3 and some of its "
            "models refuse. If not, the functions win."
        ),
    ] = False
    schema_beside_tools: Annotated[
        bool,
        Meta(description="Whether an answer can be structured beside functions, as from Gemini 3 on."),
    ] = False
    server_invocations: Annotated[
        bool,
        Meta(
            description="Whether combined tools need `includeServerSideToolInvocations`, which Vertex AI does not know."
        ),
    ] = True
    service_tiers: Annotated[
        dict[str, str],
        Meta(
            description="`serviceTier`, such as `flex` or `priority`, by what the client asks for; what is not in here "
            "is not asked for."
        ),
    ] = {}
    stop_limit: Annotated[
        int, Meta(ge=0, description="How many stop sequences are accepted; the rest are left out.")
    ] = 5
    count_tokens: Annotated[bool, Meta(description="Whether the server counts tokens.")] = True
    count_whole_request: Annotated[
        bool,
        Meta(
            description="Whether tokens are counted of a `generateContentRequest`; Vertex AI takes its members instead."
        ),
    ] = True
    drop: Annotated[tuple[str, ...], Meta(description="Members of `generationConfig` that are never sent.")] = ()
    extra_body: Annotated[
        dict[str, Any],
        Meta(
            description="Members added to every request, such as `safetySettings`; they win, and objects are merged "
            "with what is there."
        ),
    ] = {}

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("levels must not be empty")
        if self.budget_min > self.budget_max:
            raise ValueError("budget_min must not exceed budget_max")
        ascending(self.levels)
