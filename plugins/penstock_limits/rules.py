"""What the limits of a step count, how much of it and in which time: from options to token buckets."""

from typing import Literal, NamedTuple, get_args

import msgspec

from penstock import Take

Unit = Literal["requests", "input tokens", "output tokens", "tokens"]

_WINDOWS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


class Quantity(msgspec.Struct, frozen=True):
    """How much an exchange uses. Tokens that a provider has read from its cache are not in it."""

    requests: int = 0
    input: int = 0
    output: int = 0

    def of(self, unit: Unit) -> int:
        """How much of a unit it is."""
        match unit:
            case "requests":
                return self.requests
            case "input tokens":
                return self.input
            case "output tokens":
                return self.output
            case "tokens":
                return self.input + self.output


class Rule(NamedTuple):
    """So much of a unit in a window."""

    most: int
    unit: Unit
    window: str

    @property
    def name(self) -> str:
        """That of its option: `requests_per_minute`."""
        return f"{self.unit}_per_{self.window}".replace(" ", "_")

    @property
    def words(self) -> str:
        """For a person: `60 requests per minute`."""
        return f"{self.most:,} {self.unit if self.most > 1 else self.unit.removesuffix('s')} per {self.window}"

    def take(self, subject: str, quantity: Quantity) -> Take:
        """What a quantity takes from the bucket of a subject.

        The bucket's key has the limit in it: a team with another limit does not draw from the same bucket.
        """
        key = f"{subject}\n{self.most} {self.unit}/{self.window}"
        return Take(key, self.most, self.most / _WINDOWS[self.window], quantity.of(self.unit))


def rules_of(options: object) -> tuple[Rule, ...]:
    """The limits among options."""
    every = [Rule(0, unit, window) for unit in get_args(Unit) for window in _WINDOWS]
    return tuple(rule._replace(most=most) for rule in every if (most := getattr(options, rule.name)) is not None)
