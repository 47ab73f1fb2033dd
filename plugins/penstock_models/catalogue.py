"""What a set of rules offers with a set of upstreams: where each name leads, and the list of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from penstock import ModelInfo, Target, Upstream, split_target

from .aliases import aliases
from .rules import Rules, filled


class Catalogue:
    """Names and models for one mapping of upstreams; made once, asked often."""

    def __init__(self, rules: Rules, direct: bool, upstreams: Mapping[str, Upstream]) -> None:
        self.upstreams = upstreams
        self._rules = rules
        self._direct = direct
        known = {Target(up.name, info.id): info for up in upstreams.values() for info in up.models}
        self._known = known | {target: ModelInfo(id=target.model) for target in rules.named() if target not in known}
        named = set(rules.named())
        names = aliases(self._known, {*rules.exact, *(target.model for target in self._known)})
        self._alias = {target: name for target, name in names.items() if target in named or self._reaches(target)}
        self._targets = {name: target for target, name in self._alias.items()}

    def resolve(self, model: str) -> tuple[Target, ...]:
        """Where a name leads, in the order to try; empty if no rule takes it."""
        if exact := self._rules.exact.get(model):
            return exact
        if alias := self._targets.get(model):
            return (alias,)
        upstream, real = split_target(model)
        if self._direct and real and upstream in self.upstreams:
            return (Target(upstream, real),)
        return self._rules.loose(model) or ()

    def usable(self, targets: Iterable[Target]) -> list[Target]:
        """Those whose upstream lacks nothing."""
        return [target for target in targets if not self.upstreams[target.upstream].missing]

    def models(self, claude: bool) -> list[ModelInfo]:
        """The models on offer, each once under each name; `claude` for a client that wants `claude` in every id."""
        listed: dict[str, ModelInfo] = {}
        for name, target in (*self._routes(claude), *self._others(claude)):
            listed.setdefault(name, self._info(name, target))
        return list(listed.values())

    def shapes(self) -> list[str]:
        """The slots and patterns that take further names."""
        return [shape for shape, targets in self._rules.shapes() if self.usable(targets)]

    def _reaches(self, target: Target) -> bool:
        """Whether a client can get this model by a name of its own choice, and not only where a rule names it."""
        found = self._rules.find(target.model) or ()
        return self._direct or any(filled(each, target.model) == target for each in found)

    def _routes(self, claude: bool) -> Iterator[tuple[str, Target]]:
        for name in self._rules.exact:
            target = self._first(name)
            if target is not None and (not claude or "claude" in name.lower()):
                yield name, target

    def _others(self, claude: bool) -> Iterator[tuple[str, Target]]:
        addressed = self._direct and not claude
        shown: set[Target] = set() if addressed else {target for _, target in self._routes(claude)}
        for target in self.usable(self._alias):
            if addressed:
                yield f"{target.upstream}/{target.model}", target
            elif target not in shown:
                yield self._name(target, claude), target

    def _name(self, target: Target, claude: bool) -> str:
        """The model's own id where that leads to it and the client shows it, else its alias."""
        fits = not claude or target.model.startswith("claude-")
        return target.model if fits and self._first(target.model) == target else self._alias[target]

    def _first(self, name: str) -> Target | None:
        usable = self.usable(self.resolve(name))
        return filled(usable[0], name) if usable else None

    def _info(self, name: str, target: Target) -> ModelInfo:
        upstream, known = self.upstreams[target.upstream], self._known[target]
        return ModelInfo(
            id=name,
            name=f"{known.name or known.id} ({upstream.title or upstream.name})",
            description=f"served by {upstream.name} as {known.id}",
            upstream=upstream.name,
            context=known.context,
            output=known.output,
        )
