"""Whose use is counted, and how much is expected of a request."""

import pytest

from penstock import Per, Principal, Subject, Target, likely_usage, subject_of
from tests.protocols.exchanges import exchange as exchange_of

ANN = Principal(user="ann", team="core", key="laptop")


@pytest.mark.parametrize(
    ("per", "subject"),
    [
        ("key", Subject("core\tann\tlaptop", "key laptop of ann")),
        ("user", Subject("core\tann", "user ann")),
        ("team", Subject("core", "team core")),
        ("pipeline", Subject("", "this pipeline")),
    ],
)
def test_the_subject_of_a_request(per: Per, subject: Subject) -> None:
    exchange = exchange_of()
    assert subject_of(exchange, per) == Subject("", "this pipeline")
    exchange.identify(ANN)
    assert subject_of(exchange, per) == subject


def test_a_session_is_one_of_its_key_and_leaving_it_out_does_not_help() -> None:
    exchange = exchange_of()
    exchange.identify(ANN)
    without = subject_of(exchange, "session")
    exchange.request.session = "s"
    within = subject_of(exchange, "session")
    assert (without.named, within.named) == (False, True)
    assert without.key.startswith("core\tann\tlaptop")
    assert within.key != without.key


def test_models_and_upstreams_are_those_of_the_target() -> None:
    one, other = (subject_of(exchange_of(), "model", Target("up", model)) for model in ("a", "b"))
    assert (one.words, one.key != other.key) == ("model 'a' of upstream up", True)
    assert subject_of(exchange_of(), "upstream", Target("up", "a")) == Subject("up", "upstream up")


def test_what_is_expected_is_bounded() -> None:
    request = exchange_of().request
    usage = likely_usage(request)
    assert (usage.estimated, usage.input) == (True, len(request.body) // 4)
    request.max_tokens = 128_000
    assert likely_usage(request).output == 1000
    request.max_tokens = 5
    assert likely_usage(request).output == 5
