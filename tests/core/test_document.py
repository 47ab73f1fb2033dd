"""YAML with positions: what is read, what is refused and where."""

import json
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.document import MAX_DEPTH, Document
from tests.core.documents import parse, refused

# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff", "~\n", "--- {}\n...\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    document = parse(text)
    assert (document.name, document.data, document.problems) == ("pipelines/team.yaml", {}, [])


def test_values_are_plain_python() -> None:
    text = "a: 1\nb: 1.5\nc: yes\nd: null\ne: '1'\nf: [x, {y: -0x10}]\ng: 2024-01-01\nh: 1:30\n"
    text += "i: |\n  t\nj: =\nk:\n"
    assert parse(text).data == {
        "a": 1, "b": 1.5, "c": True, "d": None, "e": "1", "f": ["x", {"y": -16}],
        "g": "2024-01-01", "h": "1:30", "i": "t\n", "j": "=", "k": None,
    }  # fmt: skip


def test_windows_newlines_and_a_bom_do_not_move_positions() -> None:
    document = parse("\ufeffa: @x\r\n")
    assert [(p.line, p.column, p.source) for p in document.problems] == [(1, 4, "a: @x")]
    document = parse("\ufeffa: 1\r\nb:\r\n  c: ${NO}\r\n")
    assert [(p.line, p.column, p.source) for p in document.problems] == [(3, 6, "  c: ${NO}")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x85", "\u2028"])
def test_every_line_break_of_yaml_counts(newline: str) -> None:
    document = parse(newline.join(["é: 1", "日本: 2", "c: {😀: 3, d: ${X}}"]))
    assert [(p.line, p.column, p.source) for p in document.problems] == [(3, 14, "c: {😀: 3, d: ${X}}")]


FLOW = 'inside {...} and [...] a variable must be quoted, "${NAME}": its braces mean a mapping there'
ALIAS = 'a plain * begins a YAML alias, which is not supported: quote a pattern ("*"), write a value out'
ANCHOR = "a plain & begins a YAML anchor, which is not supported: quote the text, or write the value out"
MALFORMED = "malformed ${: write ${NAME} or ${NAME:-default}, or $${ for the two characters themselves"

REFUSED = {
    "a:\n\tb: 1\n": ["2:1: a tab cannot indent YAML: use spaces"],
    "a:\n  b: 1\n \tc: 2\n": ["3:2: a tab cannot indent YAML: use spaces"],
    "a: {b: ${X}}": ["1:8: " + FLOW],
    "a: [x, y${X:-b}]": ["1:9: " + FLOW],
    "*: a": ["1:1: " + ALIAS],
    "*-opus: a\nb: 1": ["1:1: " + ALIAS],
    "a: &x 1\nb: *x": ["1:4: " + ANCHOR, "2:4: " + ALIAS],
    "&x a: 1": ["1:1: " + ANCHOR],
    "a: &": ["1:4: " + ANCHOR],
    "a: @x": ["1:4: a plain value cannot begin with '@': put it in quotes"],
    "a: 'b\nc: 1": ["1:4: the quote that begins here is never closed"],
    "a: !t b\nc: !!int 1": [
        "1:4: YAML tags (!...) are not supported: write the plain value",
        "2:4: YAML tags (!...) are not supported: write the plain value",
    ],
    "a: 1\n---\nb: 1": ["2:1: only one document can be in a file: remove this and what follows"],
    "- a": ["1:1: a mapping is needed here: lines of the form `name: value`"],
    "just text": ["1:1: a mapping is needed here: lines of the form `name: value`"],
    "a: {b: 1, c: 2}\nd: 1\na:\n  b: 2\n  b: 3": [
        "3:1: duplicate key 'a': it is first at line 1, column 1",
        "5:3: duplicate key 'b': it is first at line 4, column 3",
    ],
    "[a]: 1\n? {b: 1}\n: 2": [
        "1:1: a key must be text, not a list or a mapping",
        "2:3: a key must be text, not a list or a mapping",
    ],
    "1: a\non: a\n1.5: a\nnull: a\n0b_: a": [
        '1:1: the key 1 is read as a number: put it in quotes: "1"',
        '2:1: the key on is read as true or false: put it in quotes: "on"',
        '3:1: the key 1.5 is read as a number: put it in quotes: "1.5"',
        '4:1: the key null is read as null: put it in quotes: "null"',
        '5:1: the key 0b_ is read as a number: put it in quotes: "0b_"',
    ],
    "?\n: a": ["1:2: a key is missing before the ':'"],
    "<<: {a: 1}": ["1:1: merge keys (<<) are not supported: write the options out"],
    "a: 0b_": ["1:4: this looks like a number but is none: quote it if it is text"],
    "a: " + "9" * 5000: ["1:4: this looks like a number but is none: quote it if it is text"],
    "a: 1\nb: \x1b[31m": ["2:4: the character U+001B cannot stand in a YAML file"],
    "a: \udc80": ["1:4: the character U+DC80 cannot stand in a YAML file"],
    "a: ${NO}x${NO2}": [
        "1:4: the environment variable NO is not set: set it, or give a default: ${NO:-} stands for nothing",
        "1:4: the environment variable NO2 is not set: set it, or give a default: ${NO2:-} stands for nothing",
    ],
    "a: ${}\nb: ${1}\nc: ${X:?x}\nd: ${X:-${Y}}\ne: '${X'": [f"{line}:4: {MALFORMED}" for line in range(1, 6)],
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_understood_is_refused_where_it_stands(text: str) -> None:
    assert refused(text) == REFUSED[text]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: b: c", "1:5", "quote a value that contains ': '"),
        ("a:\n   b: 1\n  c: 2", "3:3", "check the indentation"),
        ("a: {b: 1\nc: 2", "2:2", "a flow mapping that begins at line 1, column 4"),
        ('a: "\\q"', "1:", "unknown escape"),
    ],
)
def test_other_syntax_errors_say_what_yaml_expected(text: str, place: str, words: str) -> None:
    [message] = refused(text)
    assert message.startswith(place)
    assert words in message
    assert parse(text).data == {}


def test_depth_is_limited() -> None:
    deepest = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert refused(f"a: {deepest}") == []
    assert refused(f"a: ${{NO}}\nb: [{deepest}]") == [
        "1:4: the environment variable NO is not set: set it, or give a default: ${NO:-} stands for nothing",
        f"2:{3 + MAX_DEPTH}: nested too deeply: {MAX_DEPTH} levels are the limit",
    ]


def test_bombs_of_nested_lists_and_of_aliases_are_harmless() -> None:
    began = time.perf_counter()
    assert len(refused("a: " + "[" * 200_000)) == 1
    assert len(refused("a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a, *a]\n" for i in range(200)))) == 801
    assert time.perf_counter() - began < 10


# ---------------------------------------------------------------- the environment


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", 4000),
        ('"${PORT}"', "4000"),
        ("'${PORT}'", "4000"),
        ("${PORT:-1}", 4000),
        ("${NO:-1}", 1),
        ("${NO:-yes}", True),
        ("${NO:-}", None),
        ("'${NO:-}'", ""),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", None),
        ("http://${HOST}:${PORT}/v1", "http://h:4000/v1"),
        ("'{a: ${PORT}}'", "{a: 4000}"),
        ("${YAML}", "{a: ${PORT}}"),
        ("$${PORT} $PORT $", "${PORT} $PORT $"),
        ("|\n  ${PORT} ${", "${PORT} ${"),
    ],
)
def test_variables_are_filled_in(text: str, value: object) -> None:
    env = {"PORT": "4000", "HOST": "h", "EMPTY": "", "YAML": "{a: ${PORT}}"}
    document = Document.parse(f"a: {text}", "x.yaml", env)
    assert (document.data, document.problems) == ({"a": value}, [])


def test_keys_are_not_filled_in() -> None:
    assert parse('"${PORT}": {"${X}": 1}', PORT="1").data == {"${PORT}": {"${X}": 1}}


# ---------------------------------------------------------------- both parsers


def test_without_the_c_parser_the_same_is_refused() -> None:
    script = (
        "import sys, json, yaml; del yaml.CSafeLoader\n"
        "from penstock.document import Document\n"
        "for text in json.loads(sys.stdin.read()):\n"
        "    problems = Document.parse(text, 'x', {}).problems\n"
        "    print(json.dumps([f'{p.line}:{p.column}: {p.message}' for p in problems]))\n"
    )
    texts = [*(text for text in REFUSED if len(text) < 1000), 'a: "\\U99999999"', "a: b: c"]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(texts).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    *known, escape, colons = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert known == [REFUSED[text] for text in texts[:-2]]
    assert len(escape) == len(colons) == 1
    assert "quote a value that contains ': '" in colons[0]


# ---------------------------------------------------------------- properties

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT)
DATA = st.dictionaries(
    TEXT,
    st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)),
    max_size=5,
)


def escaped(data: Any) -> Any:
    """The data with `${` written as the document wants it."""
    if isinstance(data, dict):
        return {key: escaped(value) for key, value in data.items()}
    if isinstance(data, list):
        return [escaped(value) for value in data]
    return data.replace("${", "$${") if isinstance(data, str) else data


@given(DATA, st.booleans())
def test_what_yaml_can_write_comes_back(data: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(escaped(data), default_flow_style=flow)
    document = parse(text)
    assert (document.data, document.problems) == (data, [])


@given(st.dictionaries(st.from_regex("[a-z]{1,8}", fullmatch=True), st.integers(), min_size=1), st.data())
def test_every_value_is_found_at_its_place(data: dict[str, int], draw: st.DataObject) -> None:
    text = yaml.safe_dump(data, sort_keys=False)
    document = parse(text)
    key = draw.draw(st.sampled_from(sorted(data)))
    name, value = document.problem((key,), "", at_key=True), document.problem((key,), "")
    line = text.splitlines()[name.line - 1]
    assert line[name.column - 1 :] == f"{key}: {data[key]}"
    assert (value.line, line[value.column - 1 :]) == (name.line, str(data[key]))
