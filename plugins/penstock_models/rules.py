"""The operator's rules: which of them takes a model name, and where it sends it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import translate

from penstock import Target, Targets


class Rules:
    """Routes and slots, ready to be asked for a name."""

    def __init__(self, routes: Mapping[str, Targets], slots: Mapping[str, Targets]) -> None:
        """`routes` are exact names and shell patterns in the order of the file, `slots` are by family word."""
        self.exact = {name: targets for name, targets in routes.items() if not _is_pattern(name)}
        self.slots = dict(slots)
        patterns = sorted(filter(_is_pattern, routes), key=lambda name: name == "*")  # "*" is for everything else
        self.patterns = {name: routes[name] for name in patterns}
        self._matchers = [(re.compile(translate(name)), targets) for name, targets in self.patterns.items()]

    def loose(self, model: str) -> Targets | None:
        """What a slot, else the first matching pattern, says of a name."""
        lower = model.lower()
        for family, targets in self.slots.items():
            if "claude" in lower and family in lower:
                return targets
        return next((targets for matcher, targets in self._matchers if matcher.match(model)), None)

    def find(self, model: str) -> Targets | None:
        """What the rules say of a name, exact routes first."""
        return self.exact.get(model) or self.loose(model)

    def named(self) -> Iterator[Target]:
        """Every target whose model is known from the rules alone."""
        for name, targets in self.exact.items():
            yield from (filled(target, name) for target in targets)
        for targets in (*self.slots.values(), *self.patterns.values()):
            yield from (target for target in targets if target.model)

    def shapes(self) -> Iterator[tuple[str, Targets]]:
        """Slots and patterns as words for a person: what names they take."""
        for family, targets in self.slots.items():
            yield f"claude-{family}-*", targets
        yield from self.patterns.items()


def filled(target: Target, model: str) -> Target:
    """The target with the model it is asked for when the client named `model`."""
    return target if target.model else Target(target.upstream, model)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")
