"""Plain data meets types: every fault is found, where it stands."""

import enum
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock import Secret
from penstock.options import decode_hook
from penstock.problems import ConfigError
from penstock.typed import convert
from tests.core.documents import parse, told

T = TypeVar("T")

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


class Door(msgspec.Struct, forbid_unknown_fields=True):
    """Has a secret under a name that does not look like it."""

    where: Secret


class Login(Door, forbid_unknown_fields=True):
    """Has more of them, deeper inside."""

    spare: list[Secret] = []
    inner: Door | None = None


def test_values_of_a_secret_type_are_never_shown() -> None:
    text = "box: {where: hush1, spare: [hush2, {a: hush3}], inner: {where: [hush4]}, size: 5, mode: shown}"
    document = parse(text)
    value, problems = convert(document, ("box",), Login, decode_hook())
    assert value is None
    assert len(problems) >= 3
    assert all("size: 5, mode: shown" in problem.source for problem in problems)
    assert "hush" not in str(ConfigError(problems))


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


def test_an_unset_variable_is_the_only_problem_of_its_value() -> None:
    document = parse("a: ${NO}\nb: x")
    found = convert(document, (), dict[str, int])[1]
    assert told(found)[0].startswith("1:4: the environment variable NO is not set")
    assert told(found)[1:] == ["2:4: expected int, got str"]
    assert found[0] in document.problems


# ---------------------------------------------------------------- a whole file, and its speed


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
        104: ("    url: ${NO}", "10: the environment variable NO is not set: set it, or give a default: "
              "${NO:-} stands for nothing"),
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


# ---------------------------------------------------------------- any text

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
