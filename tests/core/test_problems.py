"""Problems that point: how they print, where they stand, and what they never show."""

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.document import Document
from penstock.problems import ConfigError, Path, Problem, suggest
from penstock.typed import convert
from tests.core.documents import parse

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


@given(st.text(st.characters(categories=["Lu", "Nd"]), min_size=8), st.sampled_from(["a", "key"]))
def test_no_long_value_of_the_environment_is_ever_shown(secret: str, key: str) -> None:
    document = parse(f"{key}: 'x${{SECRET}}'", SECRET=secret)
    problems = convert(document, (), dict[str, Literal["one", "two"]])[1]
    assert secret not in str(ConfigError(problems))
    assert len(problems) == 1
