"""Which other models a Messages request names."""

import json
from typing import Any

import pytest

from penstock_translation.anthropic import Anthropic

TOOL = {"name": "agent", "input_schema": {"properties": {"model": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({}, ()),
        ({"models": ["a", "b", "a"], "fallbacks": [{"model": "c"}, "d"]}, ("a", "b", "c", "d")),
        ({"tools": [TOOL, {"type": "t", "model": "a"}, {"type": "t", "parameters": {"model": "b"}}]}, ("a", "b")),
        ({"fallbacks": "default", "models": {"a": 1}, "tools": {"model": "a"}}, ()),
        ({"models": [1, None, [], "", {"model": 5}], "tools": ["model", 7, {"model": None, "parameters": []}]}, ()),
    ],
)
def test_the_models_that_are_named_besides(members: dict[str, Any], named: tuple[str, ...]) -> None:
    protocol = Anthropic()
    request = protocol.read(json.dumps({"model": "m", "messages": [], **members}).encode(), {})
    assert protocol.other_models(request) == named
