"""YAML with positions: text in; plain data, and problems that point at file, line and column, out.

Reading never stops at the first mistake and never raises for one: it collects `Problem`s, so that one `ConfigError`
tells everything that is wrong with a set of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from penstock.problems import LINE_BREAK, LOGIN, SECRET, UNREADABLE, Path, Problem, Source, Spot, in_order

MAX_DEPTH = 50
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is seven times faster, not always built
_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}|\$\{.*",
    re.DOTALL,
)
_ALIAS = 'a plain * begins a YAML alias, which is not supported: quote a pattern ("*"), write a value out'
_ANCHOR = "a plain & begins a YAML anchor, which is not supported: quote the text, or write the value out"
_FLOW_VARIABLE = 'inside {...} and [...] a variable must be quoted, "${NAME}": its braces mean a mapping there'
_MALFORMED = "malformed ${: write ${NAME} or ${NAME:-default}, or $${ for the two characters themselves"
_HINTS = {
    "mapping values are not allowed": "; quote a value that contains ': ', or check the indentation",
    "expected key": "; check the indentation and the quotes",
    "expected <block end>": "; check the indentation and the quotes",
}
_KINDS = {bool: "true or false", int: "a number", float: "a number", type(None): "null"}


@dataclass(slots=True)
class Document:
    """One configuration file: its plain data, what is wrong with it, and where everything stands in it."""

    name: str
    data: dict[str, Any]
    problems: list[Problem]
    source: Source
    spoiled: dict[Path, Problem]

    @classmethod
    def parse(cls, text: str, name: str, env: Mapping[str, str]) -> Document:
        """Read YAML `text` from the file called `name`, taking `${NAME}` from `env`. Never raises.

        `${NAME}` and `${NAME:-default}` (for a variable unset or empty, as in a shell) work in plain and
        quoted values, not in keys or block scalars; `$${` stands for a literal `${`. Numbers and words are
        those of YAML 1.1, but dates and `1:30` stay text. Anchors, aliases, tags and second documents are
        refused. A value that could not be read is None in `data`, which is empty if the text is not YAML.
        """
        source = Source(name, text.removeprefix("\ufeff"))
        reader = _Reader(source, env)
        data = reader.read(text.removeprefix("\ufeff"))
        problems = [(path, source.problem(spot, message)) for spot, message, path in reader.complaints]
        spoiled = {path: problem for path, problem in problems if path is not None}
        return cls(name, data, in_order(problem for _, problem in problems), source, spoiled)

    def veil(self, path: Path) -> None:
        """Let no problem from now on show the values at or below `path`: its type says that they are secret."""
        self.source.veil(path)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at the value, or the key, that stands at `path`, or at its nearest known ancestor.

        Values that came from the environment are replaced in `message` by the name of their variable.
        """
        return self.source.problem(self.source.spot(path, at_key), self.source.scrub(message, path))


class _Unusable(Exception):
    """Reading cannot go on: the place and the message."""


class _Reader:
    """Builds plain data from YAML events, noting where everything stands and what is wrong."""

    def __init__(self, source: Source, env: Mapping[str, str]) -> None:
        self.complaints: list[tuple[Spot, str, Path | None]] = []  # the path, if its value is lost
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
        for found in UNREADABLE.finditer(text):
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
        self._complain(self._source.values[()], "a mapping is needed here: lines of the form `name: value`", ())
        return {}

    def _unreadable(self, text: str, found: re.Match[str]) -> dict[str, Any]:
        before = LINE_BREAK.split(text[: found.start()])
        spot = (len(before) - 1, len(before[-1]))
        self._source.veil_line(spot[0], inside_secret=False)
        self._complain(spot, f"the character U+{ord(found[0]):04X} cannot stand in a YAML file", ())
        return {}

    def _give_up(self, spot: Spot, message: str) -> None:
        """Note an error after which nothing more can be read, and hide what may be a secret half read."""
        named = any(SECRET.search(step) for step in self._inside if isinstance(step, str))
        follows = any(end[0] >= spot[0] - 1 for _, end in self._source.veils)  # the rest of one, misplaced?
        for seen, *_ in self.complaints:
            self._source.veil_line(seen[0], inside_secret=False)
        self._source.veil_line(spot[0], inside_secret=named or follows)
        self._complain(spot, message, ())

    def _complain(self, spot: Spot, message: str, lost: Path | None = None) -> None:
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
        """Hide a url with a login, and a value, or an item of a list, whose key looks secret, but no bare `${NAME}`."""
        named = next((step for step in reversed(path) if isinstance(step, str)), "")
        value = getattr(event, "value", "")
        variable = _VARIABLE.fullmatch(value)
        bare = variable and variable["name"] and not variable["default"]
        if bare or not isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            return
        self._source.written[path] = (_begin(event), _end(event))
        if SECRET.search(named) or LOGIN.search(value):
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
        first: dict[str, Spot] = {}
        while not isinstance(event := self._next(path), yaml.MappingEndEvent):
            spot = _begin(event)
            key = self._key(event, path)
            if key in first:
                line, column = first[key]
                self._complain(spot, f"duplicate key {key!r}: it is first at line {line + 1}, column {column + 1}")
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
            self._complain(_begin(event), "this looks like a number but is none: quote it if it is text", path)
            return None

    def _make(self, text: str) -> object:
        """What a plain scalar means. Raises ValueError for `0b_` and numbers of thousands of digits."""
        tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        maker = None if ":" in text else self._makers.get(tag)  # 1:30 would be a number to base 60
        return maker(yaml.ScalarNode(tag, text)) if maker else text

    def _expand(self, text: str, spot: Spot, path: Path) -> str | None:
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

    def _value(self, match: re.Match[str], spot: Spot, path: Path) -> str | None:
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
            advice = f"set it, or give a default: ${{{name}:-}} stands for nothing"
            self._complain(spot, f"the environment variable {name} is not set: {advice}", path)
        elif value:
            self._source.borrowed.append((path, value, f"${{{name}}}"))
        return value


def _begin(event: yaml.Event) -> Spot:
    return (event.start_mark.line, event.start_mark.column) if event.start_mark else (0, 0)


def _end(event: yaml.Event) -> Spot:
    return (event.end_mark.line, event.end_mark.column) if event.end_mark else (0, 0)


def _place(mark: yaml.Mark, lines: list[str]) -> Spot:
    """Where a mark points; libyaml ends every text with a line break, and may point behind that."""
    line = min(mark.line, len(lines) - 1)
    return line, min(mark.column if line == mark.line else len(lines[line]), len(lines[line]))


def _explain(error: Exception, lines: list[str]) -> tuple[Spot, str]:
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
    since = f" ({context} that begins at line {origin[0] + 1}, column {origin[1] + 1})" if origin != spot else ""
    return spot, f"not valid YAML: {problem}{since}{hint}"
