"""The tally: exchanges are counted by what came of them, attempts by upstream."""

from penstock import Attempt, Exchange, Target, Upstream, UpstreamFailed
from penstock.request import Prompt, Request
from penstock.tally import Requests, Tally
from tests.core.lines import Lines


def over(outcome: str, status: int, *attempts: Attempt) -> Exchange:
    request = Request(b'{"model":"m"}', lambda _: Prompt())
    exchange = Exchange(
        pipeline="p", protocol=Lines(), operation="generate", request=request, headers={}, upstreams={}, started=0.0
    )
    exchange.outcome, exchange.status = outcome, status  # type: ignore[assignment]
    exchange.attempts.extend(attempts)
    return exchange


def attempt(upstream: str, seconds: float, error: UpstreamFailed | None = None) -> Attempt:
    made = Attempt(1, Target(upstream), Upstream(name=upstream, protocol=None))  # type: ignore[arg-type]
    made.seconds, made.error = seconds, error
    return made


def test_exchanges_are_open_and_then_counted() -> None:
    tally = Tally()
    for _ in range(3):
        tally.enter()
    assert tally.open == 3
    tally.leave(over("ok", 200))
    tally.leave(over("ok", 200))
    assert tally.open == 1
    tally.leave(over("cancelled", 0))
    assert tally.requests == {Requests("generate", "ok", 200): 2, Requests("generate", "cancelled", 0): 1}


def test_attempts_are_counted_by_upstream() -> None:
    tally = Tally()
    tally.leave(over("ok", 200, attempt("near", 0.5, UpstreamFailed("away")), attempt("far", 2.0)))
    tally.leave(over("ok", 200, attempt("near", 0.25)))
    found = {name: (tries.attempts, tries.failures, tries.seconds) for name, tries in tally.upstreams.items()}
    assert found == {"near": (2, 1, 0.75), "far": (1, 0, 2.0)}
