"""YAML with positions: what is read, what is refused and where, and how data meets types."""

import enum
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import msgspec
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.document import MAX_DEPTH, Document
from penstock.problems import ConfigError, Path, Problem, suggest
from penstock.typed import convert

T = TypeVar("T")


def parse(text: str, **env: str) -> Document:
    return Document.parse(text, "pipelines/team.yaml", env)


def told(problems: list[Problem]) -> list[str]:
    """Problems as `line:column: message`."""
    return [f"{p.line}:{p.column}: {p.message}" for p in problems]


def refused(text: str, **env: str) -> list[str]:
    return told(parse(text, **env).problems)


# ---------------------------------------------------------------- problems and their printed form


def test_a_problem_prints_as_the_design_shows_it() -> None:
    class Cache(msgspec.Struct, forbid_unknown_fields=True):
        ttl: str = ""

    document = parse("path: /team\nplugins:\n  - cache:\n      tttl: 1h\n")
    _, [problem] = convert(document, ("plugins", 0, "cache"), Cache)
    assert str(problem) == (
        "pipelines/team.yaml:4:7: unknown option 'tttl'; did you mean 'ttl'?\n        tttl: 1h\n        ^"
    )


def test_a_problem_without_a_source_line_is_one_line() -> None:
    assert str(Document.parse("", "a.yaml", {}).problem((), "no plugins")) == "a.yaml:1:1: no plugins"


def test_the_caret_stands_under_tabs_and_wide_letters() -> None:
    problem = parse("a:\t漢: @x").problems[0]
    source, caret = str(problem).splitlines()[1:]
    assert caret.index("^") == source.index("漢") + 1
    assert caret[: caret.index("^")] == "   " + " \t\u3000"


def test_a_config_error_lists_each_problem_once_in_order() -> None:
    later, first = Problem("b.yaml", 1, 1, "m", ""), Problem("a.yaml", 10, 2, "m", "")
    before = Problem("a.yaml", 9, 30, "m", "")
    error = ConfigError([later, first, before, first])
    assert error.problems == [before, first, later]
    assert str(error) == "a.yaml:9:30: m\na.yaml:10:2: m\nb.yaml:1:1: m"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("tttl", "; did you mean 'ttl'?"), ("TTL", "; did you mean 'ttl'?"), ("zebra", "")],
)
def test_suggest(word: str, expected: str) -> None:
    assert suggest(word, ["scope", "ttl"]) == expected


@pytest.mark.parametrize(
    ("path", "at_key", "place"),
    [
        (("a", "b"), False, (2, 6)),
        (("a", "b"), True, (2, 3)),
        (("a", "b", 1), False, (2, 10)),
        (("a", "b", 1), True, (2, 10)),
        (("a", "b", 7, "x"), False, (2, 6)),
        (("a", "nothing"), False, (2, 3)),
        (("a", "nothing"), True, (1, 1)),
        ((), False, (1, 1)),
        (("c",), False, (3, 3)),
    ],
)
def test_problem_finds_the_value_the_key_or_the_nearest_ancestor(
    path: Path, at_key: bool, place: tuple[int, int]
) -> None:
    problem = parse("a:\n  b: [1, 2]\nc:\n").problem(path, "here", at_key=at_key)
    assert (problem.line, problem.column, problem.message) == (*place, "here")


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
        "1:4: the environment variable NO is not set: set it, or give a default with ${NO:-default}",
        "1:4: the environment variable NO2 is not set: set it, or give a default with ${NO2:-default}",
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
        "1:4: the environment variable NO is not set: set it, or give a default with ${NO:-default}",
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


def test_an_unset_variable_is_the_only_problem_of_its_value() -> None:
    document = parse("a: ${NO}\nb: x")
    found = convert(document, (), dict[str, int])[1]
    assert told(found)[0].startswith("1:4: the environment variable NO is not set")
    assert told(found)[1:] == ["2:4: expected int, got str"]
    assert found[0] in document.problems


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("key: sk-abc", "key: ***"),
        ("api-key: 'sk-abc'", "api-key: ***"),
        ("OPENAI_API_KEY: 1234", "OPENAI_API_KEY: ***"),
        ("clientSecret: sk-abc", "clientSecret: ***"),
        ("headers: {Authorization: Bearer sk-abc, x: 1}", "headers: {Authorization: ***, x: 1}"),
        ("keys: [sk-a, 'sk-b']", "keys: [***, ***]"),
        ('key: "${KEY}"', 'key: "${KEY}"'),
        ("key: ${KEY:-sk-abc}", "key: ***"),
        ("tokens_per_minute: 5x", "tokens_per_minute: 5x"),
        ("password: *sk-abc", "password: ***"),
        ("password: @sk-abc", "password: ***"),
        ("password: a: sk-abc", "password: ***"),
        ("a: {key: 'sk-abc', b: ${X}}", "a: {key: ***"),
        ("token: \x00sk-abc", "token: ***"),
    ],
)
def test_secrets_in_source_lines_are_masked(line: str, shown: str) -> None:
    document = parse(line, KEY="v")
    for problem in [document.problem((), "here"), *document.problems]:
        assert problem.source == shown


def test_the_caret_is_right_before_within_and_behind_a_secret() -> None:
    document = parse("{a: 1, key: sk-abcdefgh, b: 2}")
    for path, under in {("a",): "1", ("key",): "*", ("b",): "2"}.items():
        problem = document.problem(path, "here")
        _, source, caret = str(problem).splitlines()
        assert source[caret.index("^")] == under
    assert document.problem(("b",), "here").column == 29


@pytest.mark.parametrize(
    "text",
    [
        "keys:\n- sk-abc\n- sk-def: : x",
        'key: "sk-abc\n  sk-def \\q"',
        'key: "sk-abc',
        'a: {ttl: "${NO}", key: "sk-abc\n  sk-def\\q"}',
        "a: |\n  x\nkey: >\n  sk-abc\n sk-def: x",
        "key: " + "{a: " * 60 + "sk-abc" + "}" * 60,
    ],
)
def test_secrets_stay_hidden_in_text_that_is_not_yaml(text: str) -> None:
    document = parse(text)
    assert document.problems
    assert "sk-" not in str(ConfigError(document.problems))


class Mode(msgspec.Struct):
    mode: Literal["exact", "loose"]


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("mode: ${MODE}", "exat", "'${MODE}' is not one of exact, loose; did you mean 'exact'?"),
        ("mode: '${MODE}'", "it's \\ so", '"${MODE}" is not one of exact, loose'),
        ("mode: my-${MODE}", "x", "'my-${MODE}' is not one of exact, loose"),
        ("mode: ${MODE:-x}", "a long secret value", "'${MODE}' is not one of exact, loose"),
        ("mode: ${NO:-exat}", "", "'exat' is not one of exact, loose; did you mean 'exact'?"),
    ],
)
def test_values_from_the_environment_never_appear(text: str, value: str, message: str) -> None:
    assert [p.message for p in convert(parse(text, MODE=value), (), Mode)[1]] == [message]
    merged = convert(parse(f"a: {{}}\n{text}", MODE=value), ("a",), Mode, data=parse(text, MODE=value).data)[1]
    assert [p.message for p in merged] == [message]


def test_environment_values_are_hidden_wherever_a_message_mentions_them() -> None:
    document = parse("a: ${LONG}\nb: ${SHORT}\nc: 1", LONG="sk-0123456789 rest", SHORT="int")
    assert document.problem(("c",), "expected int, got sk-0123456789").message == "expected int, got ${LONG}"
    assert document.problem(("b",), "not 'int' in the interval").message == "not '${SHORT}' in the interval"


# ---------------------------------------------------------------- types


class Duration(float):
    """A custom scalar."""


class Opaque:
    """A type that no hook knows."""


class Level(enum.Enum):
    INFO = "info"
    DEBUG = "debug"


Name = NewType("Name", str)
Small = Annotated[int, msgspec.Meta(ge=1, le=10)]


class Retry(msgspec.Struct, forbid_unknown_fields=True):
    attempts: Small
    wait: Annotated[Duration, msgspec.Meta(description="between two")] = Duration(1)

    def __post_init__(self) -> None:
        if self.attempts * self.wait > 60:
            raise ValueError("attempts and wait are more than a minute together")


class Box(msgspec.Struct, Generic[T], forbid_unknown_fields=True):
    content: T


class Circle(msgspec.Struct, tag="circle", forbid_unknown_fields=True):
    radius: int


class Square(msgspec.Struct, tag="square", forbid_unknown_fields=True):
    side: int


class Pattern(msgspec.Struct):
    pattern: str

    def __post_init__(self) -> None:
        re.compile(self.pattern)


class Everything(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    some_name: str = ""
    retry: Retry | None = None
    retries: dict[str, Retry] = {}
    steps: list[Retry] = []
    waits: dict[str, Duration] = {}
    level: Level = Level.INFO
    format: Literal["json", "text", 1] | None = None
    many: int | list[str] | dict[str, int] | None = None
    pair: tuple[int, str] = (1, "")
    row: tuple[int, ...] = ()
    names: set[Name] = set()
    codes: dict[int, str] = {}
    levels: dict[Level, int] = {}
    words: dict[Annotated[str, msgspec.Meta(pattern="^[a-z]+$")], int] = {}
    box: Box[int] | None = None
    shape: Circle | Square | None = None
    pattern: Pattern | None = None
    size: int | Literal["auto"] = 1
    free: Mapping[str, Any] = {}
    wait: Duration | None = None
    tree: dict[str, dict[str, list[int]]] = {}
    few: Annotated[list[int], msgspec.Meta(max_length=2)] = []


def decode(kind: type[Any], value: Any) -> Any:
    if kind is not Duration:
        raise NotImplementedError(kind)
    if not isinstance(value, (int, float)):
        raise ValueError(f"not a duration: {value!r}")
    return Duration(value)


FAULTS = {
    "some-nam: x": ["1:1: unknown option 'some-nam'; did you mean 'some-name'?"],
    "some_name: x": ["1:1: unknown option 'some_name'; did you mean 'some-name'?"],
    "some-name: 1": ["1:12: expected str, got int; put it in quotes"],
    "some-name: [a]": ["1:12: expected str, got list"],
    "retry: {attempts: x, tries: 1}": [
        "1:19: expected int, got str",
        "1:22: unknown option 'tries'; allowed: attempts, wait",
    ],
    "retry:\n  wait: 2": ["1:1: missing required option 'attempts'"],
    "retry:\n  attempts: 30": ["2:13: expected int <= 10"],
    "retry:\n  attempts: 10\n  wait: 10": ["2:3: attempts and wait are more than a minute together"],
    "retry:\n  attempts: 10\n  wait: soon": ["3:9: not a duration: 'soon'"],
    "retry: 3": ["1:8: expected mapping or null, got int"],
    "retries:\n  a: {attempts: 1}\n  b: {attempts: 0}\n  c: {}\n  d:": [
        "3:17: expected int >= 1",
        "4:3: missing required option 'attempts'",
        "5:5: expected mapping, got null",
    ],
    "steps:\n  - attempts: 1\n  - attempts: x\n  - {atempts: 1}\n  - 7": [
        "3:15: expected int, got str",
        "4:5: missing required option 'attempts'",
        "4:6: unknown option 'atempts'; did you mean 'attempts'?",
        "5:5: expected mapping, got int",
    ],
    "waits: {a: 1, b: soon, c: later}": ["1:18: not a duration: 'soon'", "1:27: not a duration: 'later'"],
    "level: inof": ["1:8: 'inof' is not one of info, debug; did you mean 'info'?"],
    "level: [info]": ["1:8: expected str, got list"],
    "format: jsn": ["1:9: 'jsn' is not one of json, text, 1; did you mean 'json'?"],
    "format: 2": ["1:9: 2 is not one of json, text, 1"],
    "format: 1.5": ["1:9: expected int, str or null, got float"],
    "many: 1.5": ["1:7: expected int, mapping, list or null, got float"],
    "many: [a, 1, 2]": [
        "1:11: expected str, got int; put it in quotes",
        "1:14: expected str, got int; put it in quotes",
    ],
    "many: {a: x, b: 1}": ["1:11: expected int, got str"],
    "pair: [x, 1]": ["1:8: expected int, got str", "1:11: expected str, got int; put it in quotes"],
    "pair: [1]": ["1:7: expected list of length 2, got 1"],
    "row: [1, x, y]": ["1:10: expected int, got str", "1:13: expected int, got str"],
    "names: [a, true]": ["1:12: expected str, got bool; put it in quotes"],
    "codes: {x: a, '1': b}": ["1:9: expected int, got str"],
    "levels: {inof: 1, debug: x}": [
        "1:10: 'inof' is not one of info, debug; did you mean 'info'?",
        "1:26: expected int, got str",
    ],
    "words: {A: 1}": ["1:9: expected str matching regex '^[a-z]+$'"],
    "box: {content: x}": ["1:16: expected int, got str"],
    "shape: {type: circle, radius: x, side: 1}": [
        "1:31: expected int, got str",
        "1:34: unknown option 'side'; allowed: radius",
    ],
    "shape: {type: triangle}": ["1:15: invalid value 'triangle'"],
    "pattern: {pattern: '('}": ["1:10: not a regular expression: missing ), unterminated subpattern at position 0"],
    "size: atuo": ["1:7: 'atuo' is not one of auto; did you mean 'auto'?"],
    "size: 1.5": ["1:7: expected int or str, got float"],
    "free: [1]": ["1:7: expected mapping, got list"],
    "wait: soon": ["1:7: not a duration: 'soon'"],
    "tree:\n  a: {b: [1, x]}\n  c: {d: y}": ["2:14: expected int, got str", "3:10: expected list, got str"],
    "few: [1, 2, 3]": ["1:6: expected list of length <= 2"],
}


@pytest.mark.parametrize("text", FAULTS)
def test_every_fault_is_found_where_it_stands(text: str) -> None:
    value, problems = convert(parse(text), (), Everything, decode)
    assert (value, told(problems)) == (None, FAULTS[text])


def test_all_faults_of_one_file_at_once() -> None:
    """Everything above, in one mapping of as many mistakes."""
    text = "".join(f"case{i}:\n  " + text.replace("\n", "\n  ") + "\n" for i, text in enumerate(FAULTS))
    _, problems = convert(parse(text), (), dict[str, Everything], decode)
    assert sorted(p.message for p in problems) == sorted(
        message.split(": ", 1)[1] for messages in FAULTS.values() for message in messages
    )


def test_a_good_value_is_converted() -> None:
    text = "some-name: n\nretry: {attempts: 2, wait: 3}\ncodes: {'1': a}\n"
    text += "shape: {type: square, side: 2}\nfree: {a: [1]}"
    value, problems = convert(parse(text), (), Everything, decode)
    assert problems == []
    assert value == Everything(
        some_name="n", retry=Retry(2, Duration(3)), codes={1: "a"}, shape=Square(2), free={"a": [1]}
    )


def test_merged_data_is_placed_as_well_as_the_document_knows() -> None:
    document = parse("steps:\n  - cache: {attempts: 2}\n")
    merged = {"attempts": "x", "tries": 1}
    _, problems = convert(document, ("steps", 0, "cache"), Retry, decode, merged)
    assert told(problems) == [
        "2:5: unknown option 'tries'; allowed: attempts, wait",
        "2:23: expected int, got str",
    ]


def test_the_noun_is_the_callers() -> None:
    class Empty(msgspec.Struct, forbid_unknown_fields=True):
        pass

    document = parse("a: {b: 1}\nc: {}")
    assert told(convert(document, (), dict[str, Empty], noun="field")[1]) == [
        "1:5: unknown field 'b'; there are no fields here"
    ]
    assert told(convert(document, ("c",), Retry, noun="field")[1]) == ["2:1: missing required field 'attempts'"]


def test_unreadable_text_converts_to_its_own_problem_only() -> None:
    document = parse("a: [")
    assert convert(document, ("a", "b"), Retry) == (None, document.problems)


def test_a_type_without_a_hook_is_the_programmers_error() -> None:
    with pytest.raises(NotImplementedError):
        convert(parse("a: 1"), ("a",), Opaque, decode)
    with pytest.raises(KeyError):
        convert(parse("a: 1"), ("b",), int)


# ---------------------------------------------------------------- a whole file, its speed, and both parsers


class Step(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["cache", "limit"]
    ttl: Small = 1
    url: str = ""


def two_hundred_lines() -> list[str]:
    return ["steps:"] + [
        line for i in range(50) for line in ("  - kind: cache", "    ttl: 1", f"    url: http://h/{i}", "    # .")
    ]


def test_ten_mistakes_in_two_hundred_lines_are_told_at_once_and_in_order() -> None:
    lines = two_hundred_lines()
    mistakes = {
        2: ("  - kind: cahce", "11: 'cahce' is not one of cache, limit; did you mean 'cache'?"),
        7: ("    tttl: 1", "5: unknown option 'tttl'; did you mean 'ttl'?"),
        23: ("    ttl: 11", "10: expected int <= 10"),
        47: ("    ttl: x", "10: expected int, got str"),
        64: ("    url: 5", "10: expected str, got int; put it in quotes"),
        82: ("  - ttl: 1", "5: missing required option 'kind'"),
        83: ("    ttl: 1", "5: duplicate key 'ttl': it is first at line 82, column 5"),
        104: ("    url: ${NO}", "10: the environment variable NO is not set: set it, or give a default with "
              "${NO:-default}"),
        123: ("    1: x", '5: the key 1 is read as a number: put it in quotes: "1"'),
        200: ("    url: {a: b}", "10: expected str, got mapping"),
    }  # fmt: skip
    for number, (line, _) in mistakes.items():
        lines[number - 1] = line
    document = parse("\n".join(lines))
    problems = ConfigError(document.problems + convert(document, ("steps",), list[Step])[1]).problems
    expected = [f"{number}:{message}" for number, (_, message) in mistakes.items()]
    assert [line for line in told(problems) if line != "123:5: unknown option '1'; allowed: kind, ttl, url"] == expected


def test_two_hundred_lines_take_a_few_milliseconds() -> None:
    text = "\n".join(two_hundred_lines())

    def once() -> float:
        began = time.perf_counter()
        assert convert(parse(text), ("steps",), list[Step])[1] == []
        return time.perf_counter() - began

    assert min(once() for _ in range(5)) < 0.05  # 5 ms here; the rest is for slow machines


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

PIECES = """a key : - ? { } [ ] , " ' ${X} ${ &a *a !t | > # << 1 0b_ 1:30 ~ $ = @ \\x é 2024-01-01 ... ---"""
BREAKS = ["\n", "\n  ", "\r\n", "\t", " ", ": ", "\u2028", "\x00", "\ufeff", "\ud800", "%YAML 1.1\n"]
YAMLISH = st.lists(st.sampled_from(PIECES.split() + BREAKS), max_size=40).map("".join)


@given(st.one_of(st.text(), YAMLISH))
@example("a: \udc80")
@example("\ufeff\ufeff")
@example("%YAML 1.1\n\t")
def test_no_text_ever_raises(text: str) -> None:
    document = parse(text, X="v")
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
    for problem in [*document.problems, *convert(document, (), Everything, decode)[1]]:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        headline, *excerpt = str(problem).rsplit("\n", 2) if problem.source.strip() else [str(problem)]
        assert headline
        assert not excerpt or excerpt[1].endswith("^")


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


@given(st.text(st.characters(categories=["Lu", "Nd"]), min_size=8), st.sampled_from(["a", "key"]))
def test_no_long_value_of_the_environment_is_ever_shown(secret: str, key: str) -> None:
    document = parse(f"{key}: 'x${{SECRET}}'", SECRET=secret)
    problems = convert(document, (), dict[str, Literal["one", "two"]])[1]
    assert secret not in str(ConfigError(problems))
    assert len(problems) == 1
