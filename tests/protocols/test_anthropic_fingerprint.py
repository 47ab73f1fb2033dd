"""What of a request counts for its answer: a fingerprint that only what matters changes."""

import json
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import ClientProtocol
from tests.core.lines import Lines
from tests.protocols.exchanges import PROTOCOL
from tests.protocols.scripts import jsons

MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TAG = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.6ba; cc_entrypoint=cli;"}
BODY: Mapping[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Say “ja”."}],
    "tools": [{"name": "Read", "input_schema": {"type": "object", "properties": {"cache_control": {"type": "null"}}}}],
    "messages": [
        {"role": "user", "content": "Read \"a.py\": it says {'cache_control': 1}"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"cache_control": None, "at": 1.50}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "x = 1"}]},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "y"}]}},
                {"type": "text", "text": "Well?"},
            ],
        },
    ],
}
Change = Callable[[dict[str, Any]], object]


def of(body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> bytes:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = PROTOCOL.fingerprint(PROTOCOL.read(sent, {}), headers or {})
    assert found is not None
    return found


def changed(change: Change) -> dict[str, Any]:
    body = deepcopy(dict(BODY))
    change(body)
    return body


SAME: Mapping[str, Change] = {
    "a stream": lambda body: body.update(stream=True),
    "who asks": lambda body: body.update(metadata={"user_id": '{"session_id":"1"}'}),
    "labels": lambda body: body.update(tags=["a"]),
    "how soon": lambda body: body.update(service_tier="auto"),
    "a mark for all": lambda body: body.update(MARK),
    "a billing tag": lambda body: body["system"].insert(0, TAG),
    "a mark on the system prompt": lambda body: body["system"][1].update(MARK),
    "a mark on a tool": lambda body: body["tools"][0].update(MARK),
    "a mark on a call": lambda body: body["messages"][1]["content"][0].update(MARK),
    "a mark on a result": lambda body: body["messages"][2]["content"][0].update(MARK),
    "a mark in a result": lambda body: body["messages"][2]["content"][0]["content"][0].update(MARK),
    "a mark in a document": lambda body: body["messages"][2]["content"][1]["source"]["content"][0].update(MARK),
}
OTHER: Mapping[str, Change] = {
    "the model": lambda body: body.update(model="claude-opus-5"),
    "how much": lambda body: body.update(max_tokens=101),
    "something new": lambda body: body.update(novelty={}),
    "no tools": lambda body: body.pop("tools"),
    "a text": lambda body: body["messages"][2]["content"][2].update(text="Well!"),
    "a tag that is not first": lambda body: body["system"].insert(1, TAG),
    "an input": lambda body: body["messages"][1]["content"][0]["input"].update(cache_control=1),
    "a schema": lambda body: body["tools"][0]["input_schema"]["properties"].pop("cache_control"),
    "the order of turns": lambda body: body["messages"].reverse(),
    "a role": lambda body: body["messages"][0].update(role="system"),
    "an id": lambda body: body["messages"][2]["content"][0].update(tool_use_id="t2"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_it_does_not_count(change: Change) -> None:
    assert of(changed(change)) == of(BODY)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_it_counts(change: Change) -> None:
    assert of(changed(change)) != of(BODY)


@given(st.randoms(use_true_random=True), st.sampled_from([None, 1, "\t"]))
def test_layout_and_the_order_of_members_do_not_count(dice: random.Random, indent: int | str | None) -> None:
    names = list(BODY)
    dice.shuffle(names)
    assert of(json.dumps({name: BODY[name] for name in names}, indent=indent).encode()) == of(BODY)


@given(jsons, jsons)
def test_no_two_inputs_are_confused(first: Any, second: Any) -> None:
    def body(value: Any) -> bytes:
        call = {"type": "tool_use", "id": "t", "name": "n", "input": {"value": value}, **MARK}
        return json.dumps({"model": "m", "messages": [{"role": "assistant", "content": [call]}]}).encode()

    assert (of(body(first)) == of(body(second))) == (json.dumps(first) == json.dumps(second))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"role":"user","content":"a","content":"b"}', b'{"role":"user","content":"b"}'),
        (
            b'{"role":"user","content":[{"type":"text","text":"a","text":"b","cache_control":{}}]}',
            b'{"role":"user","content":[{"type":"text","text":"b","cache_control":{}}]}',
        ),
        (b'{"role":"user","content":1e400}', b'{"role":"user","content":2e400}'),
        (b'{"role":"user","content":12345678901234567890123}', b'{"role":"user","content":12345678901234567890124}'),
    ],
)
def test_a_request_cannot_pass_for_another(one: bytes, other: bytes) -> None:
    """Which of two members counts, and how large numbers may be, is for the reader to say: readers differ."""
    assert of(b'{"model":"m","messages":[%b]}' % one) != of(b'{"model":"m","messages":[%b]}' % other)


def test_of_the_headers_those_count_that_change_answers() -> None:
    betas = "claude-code-20250219,interleaved-thinking-2025-05-14, context-1m-2025-08-07"
    given = {"anthropic-version": "2023-06-01", "anthropic-beta": betas, "user-agent": "a", "authorization": "b"}
    same = {**given, "anthropic-beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14", "user-agent": "c"}
    assert of(BODY, given) == of(BODY, same)
    for beta in ("", "context-1m-2025-08-07", betas + ",new-2027-01-01"):
        assert of(BODY, {**given, "anthropic-beta": beta}) != of(BODY, given)
    assert of(BODY, {**given, "anthropic-version": "2027-01-01"}) != of(BODY, given)


def test_what_steps_have_changed_counts() -> None:
    request = PROTOCOL.read(json.dumps(BODY).encode(), {})
    request.model = "another"
    request.drop("tools")
    expected = changed(lambda body: (body.update(model="another"), body.pop("tools")))
    assert PROTOCOL.fingerprint(request, {}) == of(expected)


@pytest.mark.parametrize(
    "messages", [b"[" * 900 + b"]" * 900, b'[{"content":' * 400 + b'"cache_control"' + b"}]" * 400]
)
def test_what_is_deep_is_no_trouble(messages: bytes) -> None:
    body = b'{"model":"m","messages":%b}' % messages
    assert PROTOCOL.fingerprint(PROTOCOL.read(body, {}), {}) in (None, of(body))


def test_a_protocol_need_not_know_what_counts() -> None:
    lines: ClientProtocol = Lines()
    assert lines.fingerprint(PROTOCOL.read(b'{"model":"m"}', {}), {}) is None
