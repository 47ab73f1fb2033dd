"""An exchange as plugins see it: who asks, what they keep on it, and its attempts."""

from typing import Any, cast

import pytest

from penstock import (
    Attempt,
    Exchange,
    Forbidden,
    ModelInfo,
    Principal,
    Prompt,
    Request,
    Response,
    Stash,
    StashKey,
    Target,
    Upstream,
)

NOBODY = cast(Any, None)  # nothing here asks a protocol
COUNT = StashKey[int]()
OTHER = StashKey[int]()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(
        pipeline="test",
        protocol=NOBODY,
        operation="generate",
        request=Request(b'{"model":"m"}', lambda _: Prompt()),
        headers={},
        upstreams={},
        started=1.0,
    )


def test_whoever_identifies_the_client_chooses_its_team(exchange: Exchange) -> None:
    teams: list[str] = []
    exchange.on_identify(teams.append)
    exchange.identify(Principal(user="ann", team="platform", key="ann-1"))
    assert exchange.principal == Principal(user="ann", team="platform", key="ann-1")
    assert teams == ["platform"]


def test_a_second_step_may_agree_about_the_client_but_not_disagree(exchange: Exchange) -> None:
    exchange.identify(Principal(user="ann"))
    exchange.identify(Principal(user="ann"))
    with pytest.raises(Forbidden, match="disagree about who is asking"):
        exchange.identify(Principal(user="bob"))
    assert exchange.principal == Principal(user="ann")


def test_two_steps_cannot_meet_in_the_stash() -> None:
    stash = Stash()
    stash[COUNT] = 1
    assert (stash[COUNT], stash.get(COUNT), COUNT in stash) == (1, 1, True)
    assert stash.get(OTHER) is None
    assert (stash.get(OTHER, 7), OTHER in stash) == (7, False)
    with pytest.raises(KeyError):
        stash[OTHER]


def test_steps_that_do_not_listen_add_up(exchange: Exchange) -> None:
    for step in ("cache", "guard", "cache"):
        exchange.mute(step)
    assert exchange.muted == {"cache", "guard"}


def test_no_two_exchanges_share_an_id(exchange: Exchange) -> None:
    again = Exchange(
        pipeline="test",
        protocol=NOBODY,
        operation="generate",
        request=exchange.request,
        headers={},
        upstreams={},
        started=1.0,
    )
    assert exchange.id.startswith("req_")
    assert exchange.id != again.id


def test_the_attempt_of_an_exchange_is_its_last(exchange: Exchange) -> None:
    assert exchange.attempt is None
    upstream = Upstream(name="main", protocol=NOBODY)
    exchange.attempts = [Attempt(number, Target("main"), upstream) for number in (1, 2)]
    assert exchange.attempt is exchange.attempts[1]


def test_a_model_may_have_quirks_of_its_own() -> None:
    upstream = Upstream(name="main", protocol=NOBODY, quirks="usual", model_quirks={"odd": "its own"})
    assert (upstream.quirks_of("any"), upstream.quirks_of("odd")) == ("usual", "its own")


def test_the_name_of_a_model_beats_patterns_and_a_longer_pattern_a_shorter_one() -> None:
    quirks = {"gpt-*": "family", "gpt-5*": "series", "gpt-5.5": "model", "*": "rest"}
    upstream = Upstream(name="main", protocol=NOBODY, model_quirks=quirks)
    seen = [upstream.quirks_of(model) for model in ("gpt-5.5", "gpt-5.4", "gpt-4.1", "glm-5")]
    assert seen == ["model", "series", "family", "rest"]


def test_a_response_keeps_its_own_headers() -> None:
    headers = {"x-cache": "hit"}
    response = Response([], headers=headers, status=201)
    response.headers["x-more"] = "1"
    assert (headers, response.status) == ({"x-cache": "hit"}, 201)
    assert Response(models=[ModelInfo(id="m")]).events is None
