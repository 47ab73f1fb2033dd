"""Problems that point: file, line, column, the line itself with a caret, and secrets kept out of it."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
Spot = tuple[int, int]  # line and column, both from 0, as PyYAML counts
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1, section 4.2
UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
SECRET = re.compile(
    r"keys?(?![a-z])|^tokens?$|token(?![a-z])|secret|passw|passphrase|authorization|credential|cookie|bearer",
    re.IGNORECASE,
)
LOGIN = re.compile(r"://\S*@")  # a url with a user, and perhaps a password
_KEY_IN_LINE = re.compile(r"""([\w.-]+)["']?\s*:""")
_LONG = 8  # an environment value of this length is hidden wherever it turns up, a shorter one near its place


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
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


def suggest(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the candidate nearest to `word`, or nothing if none is near."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


class Source:
    """The lines of one text, where each value stands in them, and what must never be shown."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = LINE_BREAK.split(text)
        self.values: dict[Path, Spot] = {}
        self.keys: dict[Path, Spot] = {}
        self.written: dict[Path, tuple[Spot, Spot]] = {}  # where values stand that are no bare `${NAME}`
        self.veils: list[tuple[Spot, Spot]] = []  # stretches of the text that hold secrets
        self.borrowed: list[tuple[Path, str, str]] = []  # path, text from the environment, how to call it

    def spot(self, path: Path, at_key: bool) -> Spot:
        """Where the value or key at `path`, or at its nearest known ancestor, begins."""
        while path and path not in self.values:
            path = path[:-1]
        value = self.values.get(path, (0, 0))
        return self.keys.get(path, value) if at_key else value

    def problem(self, spot: Spot, message: str) -> Problem:
        """A problem at `spot`, its source line without secrets and without terminal escapes."""
        line, column = spot
        veiled = self._veiled(line)
        before = veiled[:column].rstrip("\0") if veiled[column : column + 1] == "\0" else veiled[:column]
        shown, caret = _stars(veiled), len(_stars(before)) + 1
        return Problem(self.name, line + 1, column + 1, message, shown, 0 if caret == column + 1 else caret)

    def _veiled(self, line: int) -> str:
        """A line in which every character of a secret is NUL."""
        text = UNREADABLE.sub("\ufffd", self.lines[line])
        for begin, end in self.veils:
            if begin[0] <= line <= end[0]:
                start = begin[1] if begin[0] == line else 0
                stop = end[1] if end[0] == line else len(text)
                text = text[:start] + "\0" * (stop - start) + text[stop:]
        return text

    def veil(self, path: Path) -> None:
        """Hide all values at or below `path` from now on."""
        self.veils += (stretch for where, stretch in self.written.items() if where[: len(path)] == path)

    def veil_line(self, line: int, inside_secret: bool) -> None:
        """Hide what may be secret in a line that could not be parsed: after a telling key, or all of it."""
        text = self.lines[line]
        start = next((m.end() for m in _KEY_IN_LINE.finditer(text) if SECRET.search(m[1])), None)
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
        return re.sub("|".join(map(_whole, sorted(names, key=len, reverse=True))), lambda m: names[m[0]], message)


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


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(set(problems), key=lambda p: (p.path, p.line, p.column, p.message))
