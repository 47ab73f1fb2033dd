"""A model's price: as it is written, in dollars per million tokens, and what tokens cost by it."""

from typing import NamedTuple

import msgspec

from penstock import DOLLAR, Cost, Money, Usage

_THOUSAND = 1_000
_MILLION = 1_000_000
_SEARCHES = 10 * DOLLAR


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens of each kind cost, and a thousand `searches` of the web by the provider, in US dollars.

    Without prices of their own, `cache_read` and `cache_write` cost what `input` does, `cache_write_1h` twice that (as
    every vendor bills that has it), `reasoning` what `output` does, and `searches` 10, which most vendors take.
    """

    input: Money
    output: Money
    cache_read: Money | None = None
    cache_write: Money | None = None
    cache_write_1h: Money | None = None
    reasoning: Money | None = None
    searches: Money | None = None


class LongRates(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rates of the whole request when its prompt has more than `above` tokens, cached ones included."""

    above: int


class ModeRates(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rates of one way of processing."""

    long: tuple[LongRates, ...] = ()


class Price(ModeRates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rates of a model; `modes` are other ways of processing, such as `batch` or `priority`."""

    modes: dict[str, ModeRates] = {}


class Tariff:
    """A price made ready: costs are integers from here on."""

    __slots__ = ("_modes", "_standard", "known")

    def __init__(self, price: Price, *, known: bool = True) -> None:
        self.known = known
        self._standard = _Scale(price)
        self._modes = {"": self._standard, **{name: _Scale(mode) for name, mode in price.modes.items()}}

    def has(self, mode: str) -> bool:
        """Whether there is a price for this way of processing; all ways of what is free are free."""
        return mode in self._modes or self._standard.free

    def cost(self, usage: Usage, factor: int | None = None) -> Cost:
        """The cost of one answer: exact for its tokens together, then rounded up to a whole nano-dollar.

        `factor` is by how many billionths of the standard price a way of processing costs that has none; without it
        the standard price stands in.
        """
        scale = self._modes.get(usage.mode)
        rates = (scale or self._standard).rates(usage)
        paid, saved = rates.bill(usage)
        if scale is None and factor is not None:
            paid, saved = -(-paid * factor // DOLLAR), saved * factor // DOLLAR
        known = self.known and (scale is not None or factor is not None or self._standard.free)
        return Cost(-(-(paid + rates.searched(usage)) // _MILLION), saved // _MILLION, known)


class _Scale:
    """The rates of one way of processing, by the length of the prompt."""

    __slots__ = ("_long", "_short", "free")

    def __init__(self, price: ModeRates) -> None:
        self.free = not (price.input or price.output)
        self._short = _resolved(price)
        self._long = tuple((long.above, _resolved(long)) for long in sorted(price.long, key=lambda long: -long.above))

    def rates(self, usage: Usage) -> "_Bill":
        """The rates that count for a prompt."""
        if not self._long:
            return self._short
        prompt = usage.prompt
        return next((long for above, long in self._long if prompt > above), self._short)


class _Bill(NamedTuple):
    """Complete rates, in nano-dollars per million tokens."""

    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int
    searches: int
    """In nano-dollars per thousand."""

    def searched(self, usage: Usage) -> int:
        """What searches cost, in millionths of a nano-dollar."""
        return usage.searches * self.searches * _THOUSAND

    def bill(self, usage: Usage) -> tuple[int, int]:
        """What the tokens cost, and what their cached part saved, in millionths of a nano-dollar."""
        reasoning = min(usage.reasoning, usage.output)  # it is part of the output, whichever way a vendor reports it
        cached = (
            usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write
            + usage.cache_write_1h * self.cache_write_1h
        )
        plain = (usage.prompt - usage.input) * self.input
        written = (usage.output - reasoning) * self.output + reasoning * self.reasoning
        return usage.input * self.input + cached + written, plain - cached


def _resolved(rates: Rates) -> _Bill:
    return _Bill(
        input=rates.input,
        cache_read=rates.input if rates.cache_read is None else rates.cache_read,
        cache_write=rates.input if rates.cache_write is None else rates.cache_write,
        cache_write_1h=2 * rates.input if rates.cache_write_1h is None else rates.cache_write_1h,
        output=rates.output,
        reasoning=rates.output if rates.reasoning is None else rates.reasoning,
        searches=_SEARCHES if rates.searches is None else rates.searches,
    )
