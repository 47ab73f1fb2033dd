"""What the sums suggest: plain rules, each with its number."""

from collections.abc import Iterator, Sequence

from penstock import format_money

from .sums import Line, Sums

FEW = 20
"""Requests of one kind below which nothing is concluded."""


def suggestions(models: Sequence[Line], upstreams: Sequence[Line]) -> list[str]:
    """Sentences about the sums by model and by upstream, none if all is well."""
    return [*_of_models(models), *_of_upstreams(upstreams)]


def _of_models(models: Sequence[Line]) -> Iterator[str]:
    for name, sums in _enough(models):
        if sums.unpriced:
            yield (
                f"{name}: {sums.unpriced} answers were counted at another price, for want of their own; "
                "give it one in `overrides` of the step `prices`"
            )
        if sums.prompt_tokens / sums.requests > 5_000 and sums.cache_hit_rate < 0.2 and sums.cost_nano:
            yield (
                f"{name}: {sums.cache_hit_rate:.0%} of what was sent came from the prompt cache, at "
                f"{sums.prompt_tokens // sums.requests:,} tokens a request; see whether the upstream caches at all"
            )
        if sums.cache_saved_nano < 0:
            lost = format_money(-sums.cache_saved_nano)
            yield f"{name}: writing to the prompt cache has cost {lost} more than reading from it has brought"


def _of_upstreams(upstreams: Sequence[Line]) -> Iterator[str]:
    for name, sums in _enough(upstreams):
        if sums.errors / sums.requests > 0.05:
            yield f"{name}: {sums.errors / sums.requests:.0%} of the requests failed; give its models a second target"
        if sums.attempts > 1.1 * sums.requests:
            yield (
                f"{name}: a request takes {sums.attempts / sums.requests:.1f} attempts until it is answered there; "
                "put it first, or see what is wrong with those before it"
            )
        if sums.estimated / sums.requests > 0.05:
            yield f"{name}: the tokens of {sums.estimated:,} answers are estimates, for it does not tell them"


def _enough(lines: Sequence[Line]) -> Iterator[tuple[str, Sums]]:
    return ((line.name, line.sums) for line in lines if line.name and line.sums.requests >= FEW)
