"""A model's price: as it is written, in dollars per million tokens, and what tokens cost by it."""

from typing import NamedTuple

import msgspec

from penstock import Cost, Money, Usage

_MILLION = 1_000_000


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens of each kind cost, in US dollars.

    Without prices of their own, `cache_read` and `cache_write` cost what `input` does, `cache_write_1h` twice that (as
    every vendor bills that has it), and `reasoning` what `output` does.
    """

    input: Money
    output: Money
    cache_read: Money | None = None
    cache_write: Money | None = None
    cache_write_1h: Money | None = None
    reasoning: Money | None = None


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

    __slots__ = ("_long", "_modes", "_rates", "known")

    def __init__(self, price: ModeRates, *, known: bool = True) -> None:
        self.known = known
        self._rates = _resolved(price)
        self._long = tuple((long.above, _resolved(long)) for long in sorted(price.long, key=lambda long: -long.above))
        modes = price.modes if isinstance(price, Price) else {}
        self._modes = {name: Tariff(mode, known=known) for name, mode in modes.items()}

    def cost(self, usage: Usage, mode: str = "") -> Cost:
        """The cost of one answer: exact for its tokens together, then rounded up to a whole nano-dollar."""
        if mode in self._modes:
            return self._modes[mode].cost(usage)
        rates = self._rates
        if self._long:
            prompt = usage.prompt
            rates = next((long for above, long in self._long if prompt > above), rates)
        paid, saved = rates.bill(usage)
        return Cost(-(-paid // _MILLION), saved // _MILLION, self.known)


class _Bill(NamedTuple):
    """Complete rates, in nano-dollars per million tokens."""

    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int

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
    )
