"""The word `when`: which exchanges it takes, and how it is told."""

import json
from typing import Any

import msgspec
import pytest

from penstock import Exchange, Operation, Principal
from penstock.conditions import When
from penstock.options import decode_hook
from tests.core.lines import Lines


def when(**conditions: Any) -> When:
    return msgspec.convert(conditions, When, dec_hook=decode_hook())


def exchange(
    operation: Operation = "generate", team: str | None = None, model: str = "model-a", **headers: str
) -> Exchange:
    made = Exchange(
        pipeline="test",
        protocol=Lines(),
        operation=operation,
        request=Lines().read(json.dumps({"model": model}).encode(), {}),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        upstreams={},
        started=0.0,
    )
    if team is not None:
        made.identify(Principal(user="ann", team=team))
    return made


@pytest.mark.parametrize(
    ("conditions", "asked", "holds"),
    [
        ({"model": "model-*"}, {}, True),
        ({"model": "Model-*"}, {}, False),
        ({"model": ["other", "model-?"]}, {}, True),
        ({"model": "model"}, {}, False),
        ({"model": "*"}, {"operation": "list_models"}, True),
        ({"model": "model-*"}, {"operation": "list_models"}, False),
        ({"header": {"X-Beta": "yes"}}, {"x_beta": "yes"}, True),
        ({"header": {"x-beta": "yes"}}, {"x_beta": "no"}, False),
        ({"header": {"x-beta": "*"}}, {}, False),
        ({"header": {"x-beta": "*", "x-more": "1"}}, {"x_beta": ""}, False),
        ({"team": "red"}, {"team": "red"}, True),
        ({"team": ["red", "blue"]}, {"team": "green"}, False),
        ({"team": ""}, {"team": ""}, True),
        ({"team": "?*"}, {"team": ""}, False),
        ({"team": "*"}, {}, True),
        ({"kind": "main"}, {}, True),
        ({"kind": ["title", "topic"]}, {}, False),
        ({"operation": "generate"}, {}, True),
        ({"operation": ["generate", "count_tokens"]}, {"operation": "count_tokens"}, True),
        ({"operation": "generate"}, {"operation": "list_models"}, False),
        ({"model": "model-*", "team": "red"}, {"team": "blue"}, False),
        ({"not": {"model": "model-*"}}, {}, False),
        ({"not": {"header": {"x-beta": "*"}}}, {}, True),
        ({"not": {"model": "other", "team": "red"}}, {"team": "red"}, False),
        ({"model": "model-*", "not": {"team": "red"}}, {"team": "blue"}, True),
    ],
)
def test_an_exchange_is_taken_or_not(conditions: dict[str, Any], asked: dict[str, Any], holds: bool) -> None:
    assert when(**conditions).holds(exchange(**asked)) is holds


@pytest.mark.parametrize("nothing", [{}, {"header": {}}, {"model": None}, {"not": {}}, {"team": "a", "not": {}}])
def test_a_condition_that_asks_nothing_is_refused(nothing: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="name at least one condition"):
        when(**nothing)


def test_it_is_told_in_words() -> None:
    given = when(model=["a*", "b"], header={"x-beta": "1"}, kind="main", **{"not": {"team": "red"}})
    assert given.asked() == ["header x-beta 1", "model a* or b", "kind main", "not team red"]


def test_where_it_asks_for_a_team() -> None:
    assert when(team="red").by_team == ("team",)
    assert when(**{"not": {"team": "red"}}).by_team == ("not", "team")
    assert when(model="a").by_team == ()
