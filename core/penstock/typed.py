"""Convert plain data of a document to typed Structs, and find every fault of it, not only the first."""

from __future__ import annotations

import enum
import re
import types
from collections import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from penstock.document import Document
from penstock.options import Secret
from penstock.problems import Path, Problem, in_order, suggest

T = TypeVar("T")
DecHook = Callable[[type[Any], Any], Any]


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
    if unreadable := document.spoiled.get(()):
        return None, [unreadable]
    for secret in _secrets(type, value_path):
        document.veil(secret)
    merged = data is not msgspec.UNSET
    value = data if merged else _at(document.data, value_path)
    walker = _Walker(dec_hook, noun)
    if not walker.refusal(value, type):
        return msgspec.convert(value, type, dec_hook=dec_hook, str_keys=True), []
    faults = walker.faults(value, type, value_path)
    return None, in_order(_blame(document, fault, () if merged else fault.path) for fault in faults)


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
    if not fault.at_key and fault.path in document.spoiled:
        return document.spoiled[fault.path]
    message = document.source.scrub(fault.message, scope)
    return document.source.problem(document.source.spot(fault.path, fault.at_key), message)


def _secrets(kind: Any, path: Path, outer: tuple[Any, ...] = ()) -> Iterator[Path]:
    """Where values of this type may hold secrets."""
    for part in _parts(kind):
        if part is Secret:
            yield path
        elif isinstance(part, type) and issubclass(part, msgspec.Struct) and part not in outer:
            for field in msgspec.structs.fields(part):
                yield from _secrets(field.type, (*path, field.encode_name), (*outer, part))


def _parts(kind: Any) -> Iterator[Any]:
    """A type and all types that it is made of."""
    yield kind
    for part in get_args(kind):
        yield from _parts(part)


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
        return found + [_Fault(path, f"missing required {self.noun} {name!r}", at_key=True) for name in missing]

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
        return [fault for i, (item, hint) in enumerate(pairs) for fault in self.faults(item, hint, (*path, i))]


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
    return [member.value for member in cast(Iterable[enum.Enum], shape)] if isinstance(shape, enum.EnumMeta) else []


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
