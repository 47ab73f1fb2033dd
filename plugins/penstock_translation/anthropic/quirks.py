"""How one upstream of the Messages format differs from the next: data, set per upstream and per model."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..efforts import Effort, ascending

CLAUDE_ONLY = ("safeguards", "tags", "context_management")
"""Fields of a request that only Claude's own servers know."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differences of an upstream of this format. The defaults suit Anthropic's own."""

    claude: Annotated[
        bool,
        Meta(
            description="Whether Claude models answer: then a request passes unchanged, but for thinking that another "
            "model has made, which Claude refuses. If not, it leaves without `safeguards` (answered as unsupported), "
            "`tags`, `context_management` and Claude Code's attribution, and `max_tokens` is "
            "limited to what the model can write, where that is known; tools that Anthropic has defined and the client "
            "runs are written out as functions. Signatures of such a model reach the client "
            "sealed and return to it unsealed; thinking of other models is shown to it without their seals, what they "
            "have redacted is not, and Claude's own signatures pass as they are."
        ),
    ] = True
    count_tokens: Annotated[bool, Meta(description="Whether it serves `/v1/messages/count_tokens`.")] = True
    drop: Annotated[
        tuple[str, ...],
        Meta(description="Top-level fields that are never sent, nor the beta values that belong to them."),
    ] = ()
    system_messages: Annotated[
        Literal["in_place", "user"],
        Meta(
            description="What becomes of system messages inside a conversation: they stay, or become marked user text "
            "for servers that refuse them."
        ),
    ] = "in_place"
    thinking: Annotated[
        Literal["as_is", "budget", "adaptive", "none"],
        Meta(
            description="How a model that is not Claude is asked to think: as the client does (`as_is`), with "
            "`thinking.type: enabled` and a budget (`budget`), with `thinking.type: adaptive` (`adaptive`), or not at "
            "all, since it has no such switch (`none`). What the client asks for is expressed that way."
        ),
    ] = "as_is"
    efforts: Annotated[
        tuple[Effort, ...],
        Meta(
            description="Values of `output_config.effort` that a model which is not Claude accepts, ascending; the "
            "nearest one is sent. With none of them, an effort is sent only if `thinking` is `as_is`."
        ),
    ] = ()
    server_tools: Annotated[
        bool,
        Meta(
            description="Whether a model that is not Claude comes with the tools that Anthropic's servers run, such as "
            "web search. If not, they are left out and logged."
        ),
    ] = False

    def __post_init__(self) -> None:
        ascending(self.efforts)

    @property
    def shapes_thinking(self) -> bool:
        """Whether thinking has to be asked for in other words than the client's."""
        return not self.claude and (self.thinking != "as_is" or bool(self.efforts))

    @property
    def unsent(self) -> frozenset[str]:
        """The top-level fields that are not sent."""
        return frozenset(self.drop) | frozenset(() if self.claude else CLAUDE_ONLY)
