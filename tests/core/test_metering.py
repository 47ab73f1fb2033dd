"""Whose use is counted, and how much is expected of a request."""

import pytest

from penstock import (
    EndpointRequest,
    Forbidden,
    InvalidRequest,
    Per,
    Principal,
    Subject,
    Target,
    likely_usage,
    model_names,
    subject_asked,
    subject_of,
)
from tests.protocols.exchanges import PROTOCOL
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


# ---------------------------------------------------------------- what an endpoint is asked about

ROOT = Principal(user="root", key="desk", admin=True)
LEAD = Principal(user="lea", team="core", key="desk", admin=True)


def asked_by(who: Principal | None, per: Per, **query: str) -> Subject:
    return subject_asked(EndpointRequest(pipeline="p", method="GET", path="limits", query=query, principal=who), per)


@pytest.mark.parametrize("per", ["key", "user", "team", "pipeline"])
def test_one_asks_about_what_ones_own_requests_are_counted_by(per: Per) -> None:
    exchange = exchange_of()
    exchange.identify(ANN)
    assert asked_by(ANN, per) == asked_by(ANN, per, team="core", user="ann") == subject_of(exchange, per)
    assert asked_by(None, per) == Subject("", "this pipeline")


def test_what_is_asked_about_is_what_is_counted() -> None:
    exchange = exchange_of()
    exchange.identify(ANN)
    exchange.request.session = "s"
    target = Target("up", "a")
    assert asked_by(ANN, "session", session="s") == subject_of(exchange, "session")
    assert asked_by(ANN, "model", upstream="up", model="a") == subject_of(exchange, "model", target)
    assert asked_by(ANN, "upstream", upstream="up") == subject_of(exchange, "upstream", target)


def test_admins_ask_about_others() -> None:
    named = {"team": "core", "user": "ann", "key": "laptop"}
    assert asked_by(ROOT, "key", **named) == asked_by(LEAD, "key", **named) == asked_by(ANN, "key")
    assert asked_by(ROOT, "team", team="core") == asked_by(ANN, "team")
    assert asked_by(ROOT, "session", **named, session="s") == asked_by(ANN, "session", session="s")


@pytest.mark.parametrize(("who", "query"), [(ANN, {"user": "ben"}), (ANN, {"team": ""}), (LEAD, {"team": "other"})])
def test_nobody_else_does(who: Principal, query: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="what others have left is for admins to see"):
        asked_by(who, "team", **query)


@pytest.mark.parametrize(
    ("per", "query", "complaint"),
    [
        ("key", {"user": "ann"}, "counted by key: say which, with `key`"),
        ("user", {"team": "core"}, "counted by user: say which, with `user`"),
        ("user", {"user": ""}, "`user` must not be empty"),
        ("session", {}, "counted by session: say which, with `session`"),
        ("model", {"upstream": "up"}, "counted by model: say which, with `model`"),
        ("key", {"name": "x"}, "unknown parameter 'name'; there are: team, user, key, session, upstream, model"),
    ],
)
def test_a_question_must_say_enough(per: Per, query: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        asked_by(ROOT, per, **query)


@pytest.mark.parametrize("sign", ["/", ","])
def test_a_model_is_known_by_all_its_names(sign: str) -> None:
    exchange = exchange_of(b'{"model":"up%bbig/1"}' % sign.encode(), upstream=PROTOCOL)
    asked = f"up{sign}big/1"
    assert model_names(exchange) == [asked, "big/1", "up/big/1"]
    exchange.targets = [Target("up", "small"), Target("other", "last")]
    assert model_names(exchange) == [asked, "small", "up/small"]
    assert model_names(exchange, Target("other", "last")) == ["last", "other/last"]
    exchange.targets = [Target("up")]
    assert model_names(exchange) == [asked, asked, f"up/{asked}"]


def test_what_names_no_upstream_is_the_name_of_a_model() -> None:
    assert model_names(exchange_of(b'{"model":"vendor/big"}', upstream=PROTOCOL)) == ["vendor/big"]
