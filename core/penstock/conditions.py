"""Which exchanges a step takes part in: the word `when` beside its name in the file."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from penstock.exchange import Exchange
from penstock.options import Patterns
from penstock.protocol import Kind

T = TypeVar("T")

Asked = Literal["generate", "count_tokens", "list_models"]
"""The operations that steps see."""
_Several = Annotated[tuple[T, ...], Meta(min_length=1)]


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be asked of an exchange. Patterns have `*` and `?`; of several values one has to fit."""

    header: Annotated[
        dict[str, Patterns], Meta(description="Headers by name that are there, with a value that fits.")
    ] = {}
    model: Annotated[Patterns | None, Meta(description="The model asked for, as the steps above have left it.")] = None
    team: Annotated[Patterns | None, Meta(description="The team of who is asking; empty for who has none.")] = None
    kind: Annotated[Kind | _Several[Kind] | None, Meta(description="What an agent wants an answer for.")] = None
    operation: Annotated[
        Asked | _Several[Asked] | None, Meta(description="What a client wants: an answer, a count, a list.")
    ] = None

    def __post_init__(self) -> None:
        """Raises ValueError if nothing is asked."""
        if not self.asked():
            raise ValueError("name at least one condition, such as `model: small-*`")

    def asked(self) -> list[str]:
        """The conditions that are given, in words."""
        headers = [f"header {name} {_either(patterns)}" for name, patterns in self.header.items()]
        given = (("model", self.model), ("team", self.team), ("kind", self.kind), ("operation", self.operation))
        return headers + [f"{name} {_either(_listed(value))}" for name, value in given if value]

    def answers(self, exchange: Exchange) -> Iterator[bool]:
        """Whether each condition that is given holds."""
        for name, patterns in self.header.items():
            value = exchange.headers.get(name.lower())
            yield value is not None and patterns.fits(value)
        if self.model is not None:
            yield self.model.fits("" if exchange.operation == "list_models" else exchange.request.model)
        if self.team is not None:
            yield self.team.fits(exchange.principal.team if exchange.principal else "")
        if self.operation is not None:
            yield exchange.operation in _listed(self.operation)
        if self.kind is not None:
            yield exchange.kind in _listed(self.kind)


class When(Conditions, frozen=True, kw_only=True):
    """The conditions under which a step takes part: all of them hold, and none of those in `not`."""

    unless: Annotated[Conditions | None, Meta(description="Conditions of which none may hold.")] = msgspec.field(
        default=None, name="not"
    )

    def asked(self) -> list[str]:
        """The conditions that are given, in words."""
        return super().asked() + [f"not {words}" for words in (self.unless.asked() if self.unless else ())]

    def holds(self, exchange: Exchange) -> bool:
        """Whether the step takes part in an exchange, as it is now."""
        return all(self.answers(exchange)) and not (self.unless and any(self.unless.answers(exchange)))

    @property
    def by_team(self) -> tuple[str, ...]:
        """Where a team is asked for, as a path below `when`; empty if nowhere."""
        if self.team is not None:
            return ("team",)
        return ("not", "team") if self.unless and self.unless.team is not None else ()


def _either(texts: Iterable[str]) -> str:
    return " or ".join(text or "''" for text in texts)


def _listed(value: T | tuple[T, ...]) -> tuple[T, ...]:
    return value if isinstance(value, tuple) else (value,)
