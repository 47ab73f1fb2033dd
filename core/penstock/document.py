"""YAML with positions: text in; plain data, and problems that point at file, line and column, out.

Reading (`Document.parse`) and typing (`convert`) never stop at the first mistake and never raise for one:
they collect `Problem`s, so that one `ConfigError` tells everything that is wrong with a set of files.
"""

from __future__ import annotations

import difflib
import enum
import re
import types
import unicodedata
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec
import yaml

T = TypeVar("T")
Path = tuple[str | int, ...]
DecHook = Callable[[type[Any], Any], Any]
_Spot = tuple[int, int]  # line and column, both from 0, as PyYAML counts

MAX_DEPTH = 50
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is seven times faster, not always built
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1, section 4.2
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}|\$\{.*",
    re.DOTALL,
)
_SECRET = re.compile(
    r"keys?(?![a-z])|^tokens?$|token(?![a-z])|secret|passw|passphrase|authorization|credential|cookie|bearer",
    re.IGNORECASE,
)
_KEY_IN_LINE = re.compile(r"""([\w.-]+)["']?\s*:""")
_LONG = 8  # an environment value of this length is hidden wherever it turns up, a shorter one near its place

_ALIAS = 'a plain * begins a YAML alias, which is not supported: quote a pattern ("*"), write a value out'
_ANCHOR = "a plain & begins a YAML anchor, which is not supported: quote the text, or write the value out"
_FLOW_VARIABLE = (
    'inside {...} and [...] a variable must be quoted, "${NAME}": its braces mean a mapping there'
)
_MALFORMED = "malformed ${: write ${NAME} or ${NAME:-default}, or $${ for the two characters themselves"
_HINTS = {
    "mapping values are not allowed": "; quote a value that contains ': ', or check the indentation",
    "expected key": "; check the indentation and the quotes",
    "expected <block end>": "; check the indentation and the quotes",
}
_KINDS = {bool: "true or false", int: "a number", float: "a number", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in one file: where it is (line and column from 1), what it is, and the line it is in.

    In `source`, secrets are shown as `***`; if that moved the mistake, `caret` is its column there.
    """

    path: str
    line: int
    column: int
    message: str
    source: str
    caret: int = 0

    def __str__(self) -> str:
        headline = f"{self.path}:{self.line}:{self.column}: {self.message}"
        if not self.source.strip():
            return headline
        before = self.source[: (self.caret or self.column) - 1]
        return f"{headline}\n  {self.source}\n  {''.join(map(_blank, before))}^"


class ConfigError(Exception):
    """Files that cannot be used: all their problems, each once, by file, line and column."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = _in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


def suggest(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the candidate nearest to `word`, or nothing if none is near."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


@dataclass(slots=True)
class Document:
    """One configuration file: its plain data, what is wrong with it, and where everything stands in it."""

    name: str
    data: dict[str, Any]
    problems: list[Problem]
    _source: _Source
    _spoiled: dict[Path, Problem]

    @classmethod
    def parse(cls, text: str, name: str, env: Mapping[str, str]) -> Document:
        """Read YAML `text` from the file called `name`, taking `${NAME}` from `env`. Never raises.

        `${NAME}` and `${NAME:-default}` (for a variable unset or empty, as in a shell) work in plain and
        quoted values, not in keys or block scalars; `$${` stands for a literal `${`. Numbers and words are
        those of YAML 1.1, but dates and `1:30` stay text. Anchors, aliases, tags and second documents are
        refused. A value that could not be read is None in `data`, which is empty if the text is not YAML.
        """
        source = _Source(name, text.removeprefix("\ufeff"))
        reader = _Reader(source, env)
        data = reader.read(text.removeprefix("\ufeff"))
        problems = [(path, source.problem(spot, message)) for spot, message, path in reader.complaints]
        spoiled = {path: problem for path, problem in problems if path is not None}
        return cls(name, data, _in_order(problem for _, problem in problems), source, spoiled)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at the value, or the key, that stands at `path`, or at its nearest known ancestor.

        Values that came from the environment are replaced in `message` by the name of their variable.
        """
        return self._source.problem(self._source.spot(path, at_key), self._source.scrub(message, path))


def convert(
    document: Document,
    value_path: Path,
    type: type[T],
    dec_hook: DecHook | None = None,
    data: object = msgspec.UNSET,
    *,
    noun: str = "option",
) -> tuple[T | None, list[Problem]]:
    """Convert the value at `value_path` to `type`: the result and no problems, or None and every problem.

    `data`, if given, is converted in its place (options merged from elsewhere), with positions as good as the
    document has them. `dec_hook` makes custom types as in msgspec; its ValueError, like that of a Struct's
    `__post_init__`, becomes a problem. `noun` is what a field is called in messages.
    A value that `parse` could not read yields the problem that `parse` found.
    Raises KeyError or IndexError if the document has nothing at `value_path`.
    """
    if unreadable := document._spoiled.get(()):
        return None, [unreadable]
    merged = data is not msgspec.UNSET
    value = data if merged else _at(document.data, value_path)
    walker = _Walker(dec_hook, noun)
    if not walker.refusal(value, type):
        return msgspec.convert(value, type, dec_hook=dec_hook, str_keys=True), []
    faults = walker.faults(value, type, value_path)
    return None, _in_order(_blame(document, fault, () if merged else fault.path) for fault in faults)


# ---------------------------------------------------------------- places, and what must not be shown


class _Source:
    """The lines of one text, where each value stands in them, and what must never be shown."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = _LINE_BREAK.split(text)
        self.values: dict[Path, _Spot] = {}
        self.keys: dict[Path, _Spot] = {}
        self.veils: list[tuple[_Spot, _Spot]] = []  # stretches of the text that hold secrets
        self.borrowed: list[tuple[Path, str, str]] = []  # path, text from the environment, how to call it

    def spot(self, path: Path, at_key: bool) -> _Spot:
        """Where the value or key at `path`, or at its nearest known ancestor, begins."""
        while path and path not in self.values:
            path = path[:-1]
        value = self.values.get(path, (0, 0))
        return self.keys.get(path, value) if at_key else value

    def problem(self, spot: _Spot, message: str) -> Problem:
        """A problem at `spot`, its source line without secrets and without terminal escapes."""
        line, column = spot
        veiled = self._veiled(line)
        before = veiled[:column].rstrip("\0") if veiled[column : column + 1] == "\0" else veiled[:column]
        shown, caret = _stars(veiled), len(_stars(before)) + 1
        return Problem(self.name, line + 1, column + 1, message, shown, 0 if caret == column + 1 else caret)

    def _veiled(self, line: int) -> str:
        """A line in which every character of a secret is NUL."""
        text = _UNREADABLE.sub("\ufffd", self.lines[line])
        for begin, end in self.veils:
            if begin[0] <= line <= end[0]:
                start = begin[1] if begin[0] == line else 0
                stop = end[1] if end[0] == line else len(text)
                text = text[:start] + "\0" * (stop - start) + text[stop:]
        return text

    def veil_line(self, line: int, inside_secret: bool) -> None:
        """Hide what may be secret in a line that could not be parsed: after a telling key, or all of it."""
        text = self.lines[line]
        start = next((m.end() for m in _KEY_IN_LINE.finditer(text) if _SECRET.search(m[1])), None)
        if start is None and inside_secret:
            start = 0
        if start is not None:
            start += len(text[start:]) - len(text[start:].lstrip())
            self.veils.append(((line, start), (line, len(text))))

    def scrub(self, message: str, path: Path) -> str:
        """Name the texts from the environment: long ones always, short ones at or below `path`."""
        names: dict[str, str] = {}
        for where, value, name in self.borrowed:
            forms = {value, value.strip(), repr(value)[1:-1], *re.findall(rf"[\w-]{{{_LONG},}}", value)}
            near = where[: len(path)] == path
            names.update((form, name) for form in forms if len(form) >= _LONG or (near and form))
        if not names:
            return message
        return re.sub(
            "|".join(map(_whole, sorted(names, key=len, reverse=True))), lambda m: names[m[0]], message
        )


def _whole(text: str) -> str:
    """A pattern for `text`; a short one only as a word, lest `int` be found in `interval`."""
    return re.escape(text) if len(text) >= _LONG else rf"(?<!\w){re.escape(text)}(?!\w)"


def _stars(veiled: str) -> str:
    return re.sub("\0+", "***", veiled)


def _blank(character: str) -> str:
    """A blank as wide as the character: the caret must line up under tabs and wide letters too."""
    if character == "\t":
        return "\t"
    return "\u3000" if unicodedata.east_asian_width(character) in "WF" else " "


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(set(problems), key=lambda p: (p.path, p.line, p.column, p.message))


# ---------------------------------------------------------------- reading


class _Unusable(Exception):
    """Reading cannot go on: the place and the message."""


class _Reader:
    """Builds plain data from YAML events, noting where everything stands and what is wrong."""

    def __init__(self, source: _Source, env: Mapping[str, str]) -> None:
        self.complaints: list[tuple[_Spot, str, Path | None]] = []  # the path, if its value is lost
        self._source = source
        self._env = env
        self._events: Iterator[yaml.Event] = iter(())
        self._inside: Path = ()  # whose contents are being read
        self._resolver = yaml.resolver.Resolver()
        make = yaml.constructor.SafeConstructor()
        self._makers: dict[str, Callable[[yaml.ScalarNode], Any]] = {
            "tag:yaml.org,2002:null": make.construct_yaml_null,
            "tag:yaml.org,2002:bool": make.construct_yaml_bool,
            "tag:yaml.org,2002:int": make.construct_yaml_int,
            "tag:yaml.org,2002:float": make.construct_yaml_float,
        }

    def read(self, text: str) -> dict[str, Any]:
        """The data of the text's only document; empty if there is none that can be used."""
        for found in _UNREADABLE.finditer(text):
            return self._unreadable(text, found)
        try:
            self._events = yaml.parse(text, Loader=_LOADER)
            root = self._document()
        except (
            yaml.MarkedYAMLError,
            ValueError,
            OverflowError,
        ) as error:  # the last two: escapes, SafeLoader
            self._give_up(*_explain(error, self._source.lines))
            return {}
        except _Unusable as error:
            self._give_up(*error.args)
            return {}
        if root is None or isinstance(root, dict):
            return root or {}
        self._complain(
            self._source.values[()], "a mapping is needed here: lines of the form `name: value`", ()
        )
        return {}

    def _unreadable(self, text: str, found: re.Match[str]) -> dict[str, Any]:
        before = _LINE_BREAK.split(text[: found.start()])
        spot = (len(before) - 1, len(before[-1]))
        self._source.veil_line(spot[0], inside_secret=False)
        self._complain(spot, f"the character U+{ord(found[0]):04X} cannot stand in a YAML file", ())
        return {}

    def _give_up(self, spot: _Spot, message: str) -> None:
        """Note an error after which nothing more can be read, and hide what may be a secret half read."""
        named = any(_SECRET.search(step) for step in self._inside if isinstance(step, str))
        follows = any(end[0] >= spot[0] - 1 for _, end in self._source.veils)  # the rest of one, misplaced?
        for seen, *_ in self.complaints:
            self._source.veil_line(seen[0], inside_secret=False)
        self._source.veil_line(spot[0], inside_secret=named or follows)
        self._complain(spot, message, ())

    def _complain(self, spot: _Spot, message: str, lost: Path | None = None) -> None:
        self.complaints.append((spot, message, lost))

    def _next(self, inside: Path) -> yaml.Event:
        self._inside = inside
        return next(self._events)

    def _document(self) -> object:
        self._next(())  # the start of the stream
        if isinstance(self._next(()), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(()), ())
        self._next(())  # the end of the document
        after = self._next(())
        if not isinstance(after, yaml.StreamEndEvent):
            self._complain(_begin(after), "only one document can be in a file: remove this and what follows")
        return root

    def _node(self, event: yaml.Event, path: Path) -> object:
        spot = _begin(event)
        self._source.values.setdefault(path, spot)
        self._veil(event, path)
        self._refuse_extras(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.AliasEvent):
            return None
        if len(path) >= MAX_DEPTH:
            raise _Unusable(spot, f"nested too deeply: {MAX_DEPTH} levels are the limit")
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _veil(self, event: yaml.Event, path: Path) -> None:
        """Hide a value, or an item of a list, whose key looks secret; a bare `${NAME}` tells nothing."""
        named = next((step for step in reversed(path) if isinstance(step, str)), "")
        if not _SECRET.search(named) or not isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            return
        variable = _VARIABLE.fullmatch(getattr(event, "value", ""))
        if not variable or not variable["name"] or variable["default"]:
            self._source.veils.append((_begin(event), _end(event)))

    def _refuse_extras(self, event: yaml.Event, path: Path) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._complain(_begin(event), _ALIAS, path)
        elif getattr(event, "anchor", None):
            self._complain(_begin(event), _ANCHOR)
        if getattr(event, "tag", None):
            self._complain(_begin(event), "YAML tags (!...) are not supported: write the plain value", path)

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self._next(path), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        first: dict[str, _Spot] = {}
        while not isinstance(event := self._next(path), yaml.MappingEndEvent):
            spot = _begin(event)
            key = self._key(event, path)
            if key in first:
                line, column = first[key]
                self._complain(
                    spot, f"duplicate key {key!r}: it is first at line {line + 1}, column {column + 1}"
                )
            inner = (*path, "" if key is None else key)
            self._source.keys.setdefault(inner, spot)
            value = self._node(self._next(inner), inner)
            if key is not None:
                first.setdefault(key, spot)
                result.setdefault(key, value)
        return result

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """The key as text, or None if it is nothing that could be looked up."""
        if not isinstance(event, yaml.ScalarEvent):
            if not isinstance(event, yaml.AliasEvent):
                self._complain(_begin(event), "a key must be text, not a list or a mapping")
            self._node(event, (*path, ""))
            return None
        self._refuse_extras(event, (*path, event.value))
        if not event.implicit[0]:
            return event.value
        if event.value == "<<":
            self._complain(_begin(event), "merge keys (<<) are not supported: write the options out")
            return None
        self._check_plain_key(event)
        return event.value or None

    def _check_plain_key(self, event: yaml.ScalarEvent) -> None:
        try:
            kind = type(self._make(event.value))
        except ValueError:
            kind = int
        if not event.value:
            self._complain(_begin(event), "a key is missing before the ':'")
        elif kind is not str:
            advice = f'put it in quotes: "{event.value}"'
            self._complain(_begin(event), f"the key {event.value} is read as {_KINDS[kind]}: {advice}")

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> object:
        text: str | None = event.value
        if "${" in event.value and event.style not in ("|", ">"):
            text = self._expand(event.value, _begin(event), path)
        if text is None or not event.implicit[0]:
            return text
        try:
            return self._make(text)
        except ValueError:
            self._complain(
                _begin(event), "this looks like a number but is none: quote it if it is text", path
            )
            return None

    def _make(self, text: str) -> object:
        """What a plain scalar means. Raises ValueError for `0b_` and numbers of thousands of digits."""
        tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        maker = None if ":" in text else self._makers.get(tag)  # 1:30 would be a number to base 60
        return maker(yaml.ScalarNode(tag, text)) if maker else text

    def _expand(self, text: str, spot: _Spot, path: Path) -> str | None:
        """The text with its variables filled in, or None after complaining."""
        borrowed = self._source.borrowed
        before = len(borrowed)
        values = [self._value(match, spot, path) for match in _VARIABLE.finditer(text)]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        rest = iter(known)
        expanded = _VARIABLE.sub(lambda _: next(rest), text)
        if len(borrowed) > before:
            borrowed.append((path, expanded, _VARIABLE.sub(r"${\g<name>}", text)))
        return expanded

    def _value(self, match: re.Match[str], spot: _Spot, path: Path) -> str | None:
        """What one `${...}` stands for; None after complaining."""
        name, default = match["name"], match["default"]
        if match[0] == "$${":
            return "${"
        if name is None:
            self._complain(spot, _MALFORMED, path)
            return None
        value = self._env.get(name)
        if default is not None and not value:
            return str(default)
        if value is None:
            advice = f"set it, or give a default with ${{{name}:-default}}"
            self._complain(spot, f"the environment variable {name} is not set: {advice}", path)
        elif value:
            self._source.borrowed.append((path, value, f"${{{name}}}"))
        return value


def _begin(event: yaml.Event) -> _Spot:
    return (event.start_mark.line, event.start_mark.column) if event.start_mark else (0, 0)


def _end(event: yaml.Event) -> _Spot:
    return (event.end_mark.line, event.end_mark.column) if event.end_mark else (0, 0)


def _place(mark: yaml.Mark, lines: list[str]) -> _Spot:
    """Where a mark points; libyaml ends every text with a line break, and may point behind that."""
    line = min(mark.line, len(lines) - 1)
    return line, min(mark.column if line == mark.line else len(lines[line]), len(lines[line]))


def _explain(error: Exception, lines: list[str]) -> tuple[_Spot, str]:
    """Where a text stopped being YAML, and why, in words for somebody who does not know the grammar."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return (0, 0), f"not valid YAML: {error}"
    line, column = spot = _place(error.problem_mark, lines)
    origin = _place(error.context_mark, lines) if error.context_mark else spot
    context, problem = error.context or "", error.problem or ""
    before, after = lines[line][:column], lines[line][column:]
    tab = re.match(" *(?=\t)", lines[line])
    if tab:
        return (line, tab.end()), "a tab cannot indent YAML: use spaces"
    if before.endswith("$") and after.startswith("{"):
        return (line, column - 1), _FLOW_VARIABLE
    if context in ("while scanning an alias", "while scanning an anchor"):
        return origin, _ALIAS if context.endswith("alias") else _ANCHOR
    if "cannot start any token" in problem:
        return spot, f"a plain value cannot begin with {after[:1]!r}: put it in quotes"
    if "unexpected end of stream" in problem and "quoted" in context:
        return origin, "the quote that begins here is never closed"
    hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
    since = (
        f" ({context} that begins at line {origin[0] + 1}, column {origin[1] + 1})" if origin != spot else ""
    )
    return spot, f"not valid YAML: {problem}{since}{hint}"


# ---------------------------------------------------------------- typing

_WORDS = {"object": "mapping", "array": "list"}
_OWN_MESSAGE = re.compile(r"(?P<text>.*?)(?: - at `(?:key` in `)?(?P<where>\$.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_UNIONS = (Union, types.UnionType)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_LISTS = (
    list,
    tuple,
    set,
    frozenset,
    abc.Sequence,
    abc.MutableSequence,
    abc.Collection,
    abc.Set,
    abc.MutableSet,
)


@dataclass(frozen=True, slots=True)
class _Fault:
    """A mistake in the data, not yet placed in the text."""

    path: Path
    message: str
    at_key: bool = False


def _blame(document: Document, fault: _Fault, scope: Path) -> Problem:
    """Place a fault; at a value that could not be read, the reason for that is the better problem."""
    if not fault.at_key and fault.path in document._spoiled:
        return document._spoiled[fault.path]
    message = document._source.scrub(fault.message, scope)
    return document._source.problem(document._source.spot(fault.path, fault.at_key), message)


def _at(data: Any, path: Path) -> object:
    for step in path:
        data = data[step]
    return data


@dataclass(frozen=True, slots=True)
class _Walker:
    """Finds every fault of a value that msgspec refused: msgspec itself stops at the first."""

    dec_hook: DecHook | None
    noun: str

    def refusal(self, data: object, hint: Any) -> Exception | None:
        """Why msgspec does not take the data; None if it does."""
        try:
            msgspec.convert(data, hint, dec_hook=self.dec_hook, str_keys=True)
        except (msgspec.ValidationError, re.error) as error:
            return error
        return None

    def faults(self, data: object, hint: Any, path: Path) -> list[_Fault]:
        """All faults of the data, the deepest that can be told apart; none if msgspec takes it."""
        error = self.refusal(data, hint)
        if error is None:
            return []
        return self._inside(data, _shape(data, hint), path) or [_first(error, data, path)]

    def _inside(self, data: object, shape: Any, path: Path) -> list[_Fault]:
        kind, arguments = get_origin(shape) or shape, get_args(shape)
        if isinstance(data, dict):
            if _is_struct(kind):
                return self._fields(data, shape, path)
            return self._items(data, arguments, path) if kind in _MAPPINGS and arguments else []
        if isinstance(data, list):
            return self._elements(data, kind, arguments, path) if kind in _LISTS and arguments else []
        message = _not_among(data, shape)
        return [_Fault(path, message)] if message else []

    def _fields(self, data: dict[str, Any], shape: Any, path: Path) -> list[_Fault]:
        known = {field.encode_name: field for field in msgspec.structs.fields(shape)}
        config = (get_origin(shape) or shape).__struct_config__
        found: list[_Fault] = []
        for key, value in data.items():
            if key in known:
                found += self.faults(value, known[key].type, (*path, key))
            elif config.forbid_unknown_fields and key != config.tag_field:
                found.append(_Fault((*path, key), self._unknown(key, list(known)), at_key=True))
        missing = [name for name, field in known.items() if field.required and name not in data]
        return found + [
            _Fault(path, f"missing required {self.noun} {name!r}", at_key=True) for name in missing
        ]

    def _unknown(self, key: str, known: list[str]) -> str:
        allowed = f"; allowed: {', '.join(known)}" if known else f"; there are no {self.noun}s here"
        return f"unknown {self.noun} {key!r}{suggest(key, known) or allowed}"

    def _items(self, data: dict[str, Any], hints: tuple[Any, ...], path: Path) -> list[_Fault]:
        found: list[_Fault] = []
        for key, value in data.items():
            if error := self.refusal({key: None}, dict[hints[0], Any]):  # type: ignore[valid-type]
                message = _not_among(key, _shape(key, hints[0])) or _first(error, key, ()).message
                found.append(_Fault((*path, key), message, at_key=True))
            found += self.faults(value, hints[1], (*path, key))
        return found

    def _elements(self, data: list[Any], kind: Any, hints: tuple[Any, ...], path: Path) -> list[_Fault]:
        fixed = kind is tuple and hints[-1] is not Ellipsis
        pairs = zip(data, hints if fixed else repeat(hints[0]), strict=False)
        return [
            fault for i, (item, hint) in enumerate(pairs) for fault in self.faults(item, hint, (*path, i))
        ]


def _first(error: Exception, data: object, path: Path) -> _Fault:
    """msgspec's own verdict in the words of YAML, as deep as its path can be followed."""
    own = _OWN_MESSAGE.fullmatch(str(error))
    text, where = (own["text"], own["where"] or "") if own else (str(error), "")
    if isinstance(error, re.error):
        return _Fault(path, f"not a regular expression: {error}")
    steps = _steps(where)
    if error.__cause__ is not None:
        return _Fault(path + steps, str(error.__cause__) or "not a valid value")
    text = re.sub("`([^`]*)`", lambda m: _in_words(m[1].split(" | ")), text)
    quote = (
        "; put it in quotes"
        if not steps and isinstance(data, (bool, int, float)) and text.startswith("Expected str")
        else ""
    )
    return _Fault(path + steps, text[:1].lower() + text[1:] + quote)


def _steps(where: str) -> Path:
    """A path as msgspec writes it, up to the first key that it does not name."""
    named = where.removeprefix("$").partition("[...]")[0]
    return tuple(int(index) if index else key for key, index in _STEP.findall(named))


def _in_words(kinds: list[str]) -> str:
    *most, last = (_WORDS.get(kind, kind) for kind in kinds)
    return f"{', '.join(most)} or {last}" if most else last


def _not_among(data: object, shape: Any) -> str:
    """The message for a value that is none of the choices of a Literal or Enum; else nothing."""
    choices = _choices(shape)
    if not any(type(choice) is type(data) for choice in choices):
        return ""
    names = [str(choice) for choice in choices]
    return f"{data!r} is not one of {', '.join(names)}{suggest(str(data), names)}"


def _choices(shape: Any) -> list[object]:
    if get_origin(shape) is Literal:
        return list(get_args(shape))
    return (
        [member.value for member in cast(Iterable[enum.Enum], shape)]
        if isinstance(shape, enum.EnumMeta)
        else []
    )


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _shape(data: object, hint: Any) -> Any:
    """The bare type; of a union the only member that the data can be meant for, or None."""
    bare = _bare(hint)
    if get_origin(bare) not in _UNIONS:
        return bare
    members = [_bare(member) for member in get_args(bare) if member is not types.NoneType]
    fitting = [member for member in members if len(members) == 1 or _fits(data, member)]
    return fitting[0] if len(fitting) == 1 else None


def _bare(hint: Any) -> Any:
    """The type behind Annotated, NewType and `type` aliases."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif (inner := getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)) is not None:
            hint = inner
        else:
            return hint


def _fits(data: object, member: Any) -> bool:
    kind = get_origin(member) or member
    if isinstance(data, dict) and _is_struct(kind):
        config = kind.__struct_config__
        return config.tag_field is None or data.get(config.tag_field) == config.tag
    if isinstance(data, (dict, list)):
        return kind in (_MAPPINGS if isinstance(data, dict) else _LISTS)
    return bool(_choices(member))
