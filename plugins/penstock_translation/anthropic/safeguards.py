"""Safety checks that a client asks for: passed on and relayed, or answered as unsupported if nobody makes them."""

from typing import Any

import msgspec
from msgspec.structs import replace

from penstock import Exchange, Finish

from .errors import NAME
from .mistakes import BROKEN
from .quirks import Quirks

_FIELD = "safeguards"
RESULTS = "safeguard_results"
"""The member of the final record that answers them."""


class _Safeguard(msgspec.Struct):
    type: str


_SAFEGUARDS = msgspec.json.Decoder(list[_Safeguard])


def spoken_by_upstream(exchange: Exchange) -> bool:
    """Whether the answer comes from an upstream of this format."""
    return exchange.attempt is not None and exchange.attempt.upstream.protocol.name == NAME


def unsupported(exchange: Exchange) -> list[dict[str, Any]]:
    """The results of the checks that the client has asked for and the upstream was not; a cached answer has its own."""
    if _FIELD not in exchange.request.fields or exchange.cached or _asked_upstream(exchange):
        return []
    try:
        asked = _SAFEGUARDS.decode(exchange.request.fields[_FIELD])
    except BROKEN:
        return []
    return [{"type": check.type, "status": {"type": "unsupported"}} for check in asked]


def unclaimed(exchange: Exchange, finish: Finish) -> Finish | None:
    """A new end for an answer in this format whose upstream was not asked for checks, None if it may be relayed.

    The results are for the encoder to add; what such an upstream says of checks is left out, since it made none.
    """
    if not spoken_by_upstream(exchange) or not unsupported(exchange):
        return None
    return replace(finish, extra={name: json for name, json in finish.extra.items() if name != RESULTS})


def _asked_upstream(exchange: Exchange) -> bool:
    attempt = exchange.attempt
    if attempt is None or not spoken_by_upstream(exchange):
        return False
    quirks = attempt.upstream.quirks_of(attempt.target.model or exchange.request.model)
    return not isinstance(quirks, Quirks) or _FIELD not in quirks.unsent
