"""What Gemini wants back unread, sealed for its way through the client's history."""

import msgspec

from penstock import ThinkingBlock

from ..seals import seal, unseal

STAND_IN = "skip_thought_signature_validator"
"""What Google documents for calls of a history that another model made (ai.google.dev, thought signatures)."""


class Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The signature of the `call` that follows, that of the `text` beside it, or a whole `part` that stands here.

    A text's signature often comes after the text, so it belongs to the text in front of it if there is one, else to
    the text behind it. A part is a call that the server has made, or its result.
    """

    call: str = ""
    text: str = ""
    part: dict[str, msgspec.Raw] = {}


_SEALED = msgspec.json.Decoder(Sealed)


def sealed(maker: str, content: Sealed) -> str:
    """A seal of this maker."""
    return seal(maker, msgspec.json.encode(content))


def unsealed(block: ThinkingBlock, maker: str) -> Sealed:
    """What a block of thinking carries for the target whose seals name `maker`, possibly nothing."""
    return unseal(block.signature or block.redacted, maker, _SEALED) or Sealed()
