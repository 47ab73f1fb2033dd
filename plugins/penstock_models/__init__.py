"""Model names to targets: routes, Claude Code's slots, aliases, and the list of models on offer."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Literal

from penstock import Exchange, ModelInfo, NotFound, Plugin, Response, Target, Targets, Upstream, hookimpl

from .catalogue import Catalogue
from .rules import Rules

__all__ = ["Models"]

_LISTED = 10  # names in a message


class Models(Plugin):
    """Send each model name to its upstreams, and tell clients which names there are.

    `routes` maps exact names and shell patterns to targets: `upstream` (keeps the client's name), `upstream/model`, or
    a list of them to try in order. `slots` (opus, sonnet, haiku, fable) takes every name with `claude` and that word in
    it, whatever its version. `direct: true` lets clients address `upstream/model` or `upstream,model` themselves; with
    it, routes are no restriction.

    The first of these that knows a name decides: an exact route; an alias from the model list; a direct address; a
    slot; a pattern, in the order of the file, but `*` last. An alias leads to the one model it stands for, without
    fallback, and exists only for models that the client may reach by these rules.

    Targets whose upstream lacks something (a key, say) are skipped. A name that leads nowhere is NotFound.
    """

    provides = frozenset({"targets"})

    routes: dict[str, Targets] = {}
    slots: dict[Literal["opus", "sonnet", "haiku", "fable"], Targets] = {}
    direct: bool = False

    def __post_init__(self) -> None:
        if not all(name.strip() for name in self.routes):
            raise ValueError("routes: a model name cannot be empty")
        self._rules = Rules(self.routes, {str(slot): targets for slot, targets in self.slots.items()})
        self._catalogue: Catalogue | None = None

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response | None:
        if exchange.operation == "list_models":
            return Response(models=self._offered(exchange))
        if exchange.operation in ("generate", "count_tokens"):
            exchange.targets = self._targets(exchange)
        return None

    def _targets(self, exchange: Exchange) -> list[Target]:
        model, catalogue = exchange.request.model, self._catalogue_of(exchange.upstreams)
        targets = catalogue.resolve(model)
        if not targets:
            raise NotFound(_unknown(model, [info.id for info in self._offered(exchange)], catalogue))
        usable = catalogue.usable(targets)
        if not usable:
            raise NotFound(f"model {model!r} needs {_needs(targets, exchange.upstreams)}")
        return usable

    def _offered(self, exchange: Exchange) -> list[ModelInfo]:
        # Claude Code names the version of its API; it drops every id without `claude` from the list.
        return self._catalogue_of(exchange.upstreams).models(claude="anthropic-version" in exchange.headers)

    def _catalogue_of(self, upstreams: Mapping[str, Upstream]) -> Catalogue:
        if self._catalogue is None or self._catalogue.upstreams is not upstreams:
            self._catalogue = Catalogue(self._rules, self.direct, upstreams)
        return self._catalogue


def _needs(targets: Iterable[Target], upstreams: Mapping[str, Upstream]) -> str:
    names = dict.fromkeys(target.upstream for target in targets)
    return ", or ".join(f"upstream {name!r}: {upstreams[name].missing}" for name in names)


def _unknown(model: str, offered: list[str], catalogue: Catalogue) -> str:
    names = [*offered, *catalogue.shapes()]
    if not names:
        return f"model {model!r} is not offered here, nor is any other: no route leads to a usable upstream"
    near = difflib.get_close_matches(model, offered, n=1)
    there_are = f"did you mean {near[0]!r}? There are" if near else "there are"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"model {model!r} is not offered here; {there_are}: {', '.join(names[:_LISTED])}{more}"
