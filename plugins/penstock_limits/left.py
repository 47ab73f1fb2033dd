"""The step's endpoint: how much of each limit is used and left, for whoever asks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock import Answer, EndpointRequest, Handler, Overloaded, Per, StoreUnavailable, Subject, subject_asked

from .gate import Gate
from .rules import Quantity


def endpoint(gate: Gate, step: str, per: Per, only: Sequence[str]) -> Handler:
    """The handler of a step that counts by `per`, and only the models that `only` names."""

    async def tell(asked: EndpointRequest) -> Answer:
        subject = subject_asked(asked, per)
        try:
            limits = await left(gate, subject)
        except StoreUnavailable as error:
            raise Overloaded("the gateway cannot look up its limits at the moment", detail=str(error)) from None
        return Answer.json({"step": step, "per": per, "subject": subject.words, "only": only, "limits": limits})

    return tell


async def left(gate: Gate, subject: Subject) -> list[dict[str, object]]:
    """Each limit by the name of its option; what is left is below 0 in debt. Raises StoreUnavailable."""
    takes = [rule.take(subject.key, Quantity()) for rule in gate.rules]
    told: list[dict[str, object]] = []
    for rule, take, level in zip(gate.rules, takes, await gate.store.levels(takes), strict=True):
        rest = math.floor(level + 1e-6)
        told.append(_line(rule.name, rule.most, rest) | {"full_in_seconds": round(take.refill(level), 1)})
    if gate.concurrency is not None:
        told.append(_line("concurrency", gate.concurrency, gate.concurrency - await gate.store.held(subject.key)))
    if gate.iterations is not None and subject.named:
        made = await gate.store.get(subject.key, int) or 0
        told.append(_line("iterations", gate.iterations, gate.iterations - made))
    return told


def _line(name: str, limit: int, rest: int) -> dict[str, object]:
    return {"name": name, "limit": limit, "used": limit - rest, "left": rest}
