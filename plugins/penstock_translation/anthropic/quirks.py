"""How one upstream of the Messages format differs from the next: data, set per upstream and per model."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

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
            "limited to what the model can write, where that is known."
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

    @property
    def unsent(self) -> frozenset[str]:
        """The top-level fields that are not sent."""
        return frozenset(self.drop) | frozenset(() if self.claude else CLAUDE_ONLY)
