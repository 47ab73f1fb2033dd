"""Thinking: how it is asked for, and the sealed items in which it comes and goes back."""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock import ThinkingBlock, ThinkingControl

from ..efforts import Effort, nearest, wanted_effort
from ..seals import seal, unseal
from .quirks import ResponsesQuirks

_USUAL: tuple[Effort, ...] = ("low", "medium", "high")


class Sealed(msgspec.Struct, omit_defaults=True):
    """What travels through the client's history: a reasoning item, and the `phase` of the message after it."""

    item: dict[str, Any] = {}
    phase: str = ""


_SEALED = msgspec.json.Decoder(Sealed)


def reasoning_fields(control: ThinkingControl, quirks: ResponsesQuirks) -> dict[str, Any]:
    """The parameter that asks for thinking, none where the client did not care or the model does not think."""
    if not quirks.reasoning or (control.mode == "unset" and not control.effort):
        return {}
    efforts = quirks.efforts or _USUAL
    if control.mode == "off":  # without a switch the least effort is as near to that as one can get
        return {"reasoning": {"effort": efforts[0]}}
    fields = {"effort": nearest(wanted_effort(control), efforts)}
    return {"reasoning": fields | ({"summary": "auto"} if quirks.reasoning_summary else {})}


def sealed(maker: str, item: Mapping[str, Any], phase: str) -> str:
    """A seal around a finished reasoning item and the next message's phase, "" when nothing is worth one.

    An item without encrypted content exists at the server only, which keeps none; but open models give their
    reasoning in the clear and take it back.
    """
    kept = {name: value for name, value in item.items() if value is not None}
    if not (kept.get("encrypted_content") or kept.get("content")):
        kept = {}
    return seal(maker, msgspec.json.encode(Sealed(kept, phase))) if kept or phase else ""


def unsealed(block: ThinkingBlock, maker: str) -> Sealed:
    """What a block of thinking carries for the target whose seals name `maker`, possibly nothing."""
    return unseal(block.signature or block.redacted, maker, _SEALED) or Sealed()
