"""The kinds of errors: their statuses, what may be tried again, and the tree that the module draws."""

import re

import pytest

from penstock import (
    Forbidden,
    GatewayError,
    Internal,
    InvalidRequest,
    NotFound,
    OverBudget,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RawError,
    TimedOut,
    TooLarge,
    Unauthenticated,
    UpstreamFailed,
    errors,
)

KINDS: list[tuple[GatewayError, str, int, bool]] = [
    (InvalidRequest("m"), "invalid_request", 400, False),
    (PromptTooLong(2, 1), "prompt_too_long", 400, False),
    (Unauthenticated("m"), "unauthenticated", 401, False),
    (Forbidden("m"), "forbidden", 403, False),
    (NotFound("m"), "not_found", 404, False),
    (TooLarge("m"), "too_large", 413, False),
    (RateLimited("m"), "rate_limited", 429, True),
    (OverBudget("m"), "over_budget", 429, False),
    (Internal("m"), "internal", 500, False),
    (UpstreamFailed("m"), "upstream_failed", 502, True),
    (Overloaded("m"), "overloaded", 503, True),
    (TimedOut("m"), "timed_out", 504, True),
]


@pytest.mark.parametrize(("error", "kind", "status", "retryable"), KINDS, ids=[kind for _, kind, _, _ in KINDS])
def test_each_kind_has_its_status(error: GatewayError, kind: str, status: int, retryable: bool) -> None:
    assert (error.kind, error.status, error.retryable) == (kind, status, retryable)
    assert str(error) == error.message


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {name: int(status) for name, status in re.findall(r"── (\w+) +(\d+) ", errors.__doc__ or "")}
    assert drawn == {type(error).__name__: error.status for error, *_ in KINDS}


def test_whoever_raises_an_error_may_know_better() -> None:
    raw = RawError("some-format", 429, {"retry-after": "7"}, b"{}")
    error = NotFound(
        "m", retry_after=1.5, detail="for the log", status=410, retryable=True, should_retry=False, raw=raw
    )
    assert (error.status, error.retryable, error.retry_after) == (410, True, 1.5)
    assert (error.detail, error.should_retry, error.raw) == ("for the log", False, raw)
    assert "for the log" not in str(error)


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_read() -> None:
    error = PromptTooLong(210_000, 200_000, status=413)
    assert error.message == "prompt is too long: 210000 tokens > 200000 maximum"
    assert (error.tokens, error.maximum, error.status) == (210_000, 200_000, 413)


def test_a_spent_budget_tells_clients_to_give_up() -> None:
    assert OverBudget("m", retry_after=3600).should_retry is False
    assert OverBudget("m", should_retry=True).should_retry is True
