"""An answer as it is kept: what makes it worth keeping, and how it is given again."""

import time
from collections.abc import Mapping

import msgspec

from penstock import Event, Exchange, Finish, Response, Usage

from .recording import Recording

_COMPLETE = frozenset({"end_turn", "stop_sequence", "tool_use"})


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `made` is in seconds since 1970; `cost`, in nano-dollars, and `usage` are what it took.

    `headers` are those that the gateway's own steps have given it.
    """

    events: list[Event]
    made: float
    usage: Usage
    cost: int = 0
    served_model: str = ""
    simulated: bool = False
    headers: dict[str, str] = {}

    def fits(self, bytes: int) -> bool:
        """Whether it takes no more room than that."""
        return len(msgspec.json.encode(self)) <= bytes


def entry_of(exchange: Exchange, recording: Recording, asked: str, headers: Mapping[str, str]) -> Entry | None:
    """The answer of an exchange that has ended, None if it is not one to be given again. `asked` is for which model."""
    finish = recording.finish
    if finish is None or not _is_whole(exchange, finish) or not _is_meant(exchange, asked):
        return None
    return Entry(
        events=exchange.protocol.portable(exchange, recording.events()),
        made=time.time(),
        usage=exchange.usage,
        cost=exchange.cost.total if exchange.cost else 0,
        served_model=exchange.served_model,
        simulated=exchange.simulated,
        headers=dict(headers),
    )


def replay(exchange: Exchange, entry: Entry) -> Response:
    """The answer again, for another exchange."""
    exchange.cached = True
    exchange.served_model, exchange.simulated = entry.served_model, entry.simulated
    age = max(0, int(time.time() - entry.made))
    return Response(entry.events, headers={**entry.headers, "x-cache": "hit", "age": str(age)})


def _is_whole(exchange: Exchange, finish: Finish) -> bool:
    """Whether nothing is missing. A request for one token wants to be cut short."""
    cut_as_asked = finish.reason == "max_tokens" and exchange.request.max_tokens == 1
    return exchange.outcome == "ok" and exchange.error is None and (finish.reason in _COMPLETE or cut_as_asked)


def _is_meant(exchange: Exchange, asked: str) -> bool:
    """Whether the answer comes from where it was meant to: that of a fallback must not outlive the trouble.

    Nor must that of a cheaper model, which a step further down has put in place of the one `asked` for.
    """
    attempts = exchange.attempts
    if exchange.request.model != asked:
        return False
    return not attempts or (attempts[-1].error is None and attempts[-1].target == attempts[0].target)
