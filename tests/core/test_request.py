"""A client's document stays as it came; what is changed is changed in place."""

import json
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import InvalidRequest, Message, Prompt, Request, TextBlock

ODD = b'{ "stream" : true,\n "n":1.0, "mod\\u0065l" : "a\\u0062",  "big":12345678901234567890123 , "e":1E2 }\n'


def parse(body: bytes) -> Request:
    return Request(body, lambda _: Prompt())


def test_the_shallow_fields_are_read() -> None:
    request = parse(b'{"model":"m","stream":true,"max_tokens":7}')
    assert (request.model, request.stream, request.max_tokens) == ("m", True, 7)


def test_an_untouched_document_is_the_very_bytes() -> None:
    assert parse(ODD).body is ODD


def test_a_new_model_changes_nothing_else() -> None:
    request = parse(ODD)
    assert request.model == "ab"
    request.model = "other"
    assert request.body == ODD.replace(b'"a\\u0062"', b'"other"')
    assert request.client_model == "ab"


def test_one_attempt_may_differ_without_changing_the_request() -> None:
    request = parse(ODD)
    assert request.body_with(model="x") == ODD.replace(b'"a\\u0062"', b'"x"')
    assert request.body == ODD


def test_fields_are_added_at_the_end_and_dropped() -> None:
    request = parse(b'{"model":"m", "a":1.0}')
    request.set("b", [1])
    assert request.body == b'{"model":"m", "a":1.0,"b":[1]}'
    request.drop("a")
    assert json.loads(request.body) == {"model": "m", "b": [1]}
    assert {name: bytes(value) for name, value in request.current.items()} == {"model": b'"m"', "b": b"[1]"}
    assert list(request.fields) == ["model", "a"]


def test_the_prompt_is_read_on_first_use_and_again_after_a_change() -> None:
    read: list[bytes] = []

    def read_prompt(body: bytes) -> Prompt:
        read.append(body)
        return Prompt(messages=(Message("user", (TextBlock("hi"),)),))

    request = Request(b'{"model":"m"}', read_prompt)
    assert not read
    assert request.prompt is request.prompt
    assert len(read) == 1
    request.set("x", 1)
    assert request.prompt.messages
    assert read[-1] == b'{"model":"m","x":1}'


HELLO = Prompt(messages=(Message("user", (TextBlock("hello"),)),), max_tokens=5)


def writable(body: bytes) -> tuple[Request, list[bytes]]:
    """A request whose prompt is all in `p` and `max_tokens`, and the documents that were read."""
    read: list[bytes] = []

    def read_prompt(document: bytes) -> Prompt:
        read.append(document)
        return Prompt(max_tokens=9)

    def write_prompt(fields: Mapping[str, msgspec.Raw], old: Prompt, new: Prompt) -> dict[str, bytes | None]:
        assert old.max_tokens == json.loads(bytes(fields["max_tokens"]))
        text = json.dumps([len(old.messages), len(new.messages)]).encode()
        return {"p": text, "max_tokens": b"%d" % (new.max_tokens or 0), "gone": None, "never": None}

    return Request(body, read_prompt, write_prompt=write_prompt), read


def test_a_new_prompt_is_written_where_the_document_differs() -> None:
    request, read = writable(b'{ "model":"m", "p":1.0,\n"max_tokens":9 }')
    request.prompt = HELLO
    assert request.body == b'{ "model":"m", "p":[0, 1],\n"max_tokens":5 }'
    assert request.prompt is HELLO
    assert request.max_tokens == 5
    assert len(read) == 1


def test_a_new_prompt_and_the_other_verbs_work_together() -> None:
    request, read = writable(b'{"model":"m","gone":1,"max_tokens":8}')
    request.set("max_tokens", 9)
    request.prompt = HELLO
    request.model = "other"
    assert request.prompt is HELLO
    request.prompt = Prompt(max_tokens=4)
    request.drop("unknown")
    assert json.loads(request.body) == {"model": "other", "max_tokens": 4, "p": [1, 0]}
    assert json.loads(request.body_with(max_tokens=1)) == {"model": "other", "max_tokens": 1, "p": [1, 0]}
    assert len(read) == 1
    request.set("x", 1)
    assert request.prompt.max_tokens == 9
    assert json.loads(read[-1]) == json.loads(request.body)


def test_a_protocol_that_only_reads_prompts_says_so() -> None:
    request = parse(b'{"model":"m"}')
    with pytest.raises(TypeError, match="the client's protocol only reads prompts"):
        request.prompt = HELLO
    assert request.body == b'{"model":"m"}'


def test_a_protocol_may_know_the_model_from_elsewhere() -> None:
    assert Request(b"{}", lambda _: Prompt(), model="from-the-path").model == "from-the-path"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "must be a JSON object"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"{}", "model: a non-empty string is required"),
        (b'{"model":""}', "model: a non-empty string is required"),
        (b'{"model":"first","x":1,"model":"second"}', "names a field twice"),
        (b'{"model":"first","mod\\u0065l":"second"}', "names a field twice"),
        (b'{"model":"first","MODEL":"second"}', "spelled in lower case"),
        (b'{"model":"%b"}' % (b"m" * 257), "longer than 256"),
        (b"{%b}" % b",".join(b'"a%d":1' % n for n in range(1001)), "more than 1000 fields"),
        (b'{"model":5}', "model: expected `str`, got `int`"),
        (b'{"model":"m","stream":"yes"}', "stream: expected `bool`, got `str`"),
        (b'{"model":"m","max_tokens":"9"}', "max_tokens: expected `int`, got `str`"),
    ],
)
def test_a_wrong_body_is_refused_in_plain_words(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=6), st.integers(0, 4), st.text(max_size=9))
def test_any_document_survives_a_new_model(fields: dict[str, object], indent: int, name: str) -> None:
    fields = {key: value for key, value in fields.items() if key.casefold() not in ("model", "stream", "max_tokens")}
    body = json.dumps({**fields, "model": "old"}, indent=indent or None, ensure_ascii=bool(indent % 2)).encode()
    request = parse(body)
    request.model = name
    assert json.loads(request.body) == {**fields, "model": name}
    assert request.body == body.replace(b'"model": "old"', b'"model": ' + msgspec.json.encode(name)) or name == "old"
