"""Names under which Claude Code shows a model.

Its model list keeps only ids that contain `claude`, older versions only those that begin with it, and it takes an id
with a known Claude name inside for that model (claude-code-contract.md 7.4, 7.10). So other models get a name that
begins with `claude-` and has no family word in it, while a Claude model at a cloud keeps its own name in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

from penstock import Target

_CLAUDE = re.compile(r"(?:^|[./])(claude-.+)")
_FAMILY = re.compile("opus|sonnet|haiku|fable")


def aliases(targets: Iterable[Target], taken: Set[str]) -> dict[Target, str]:
    """An alias for each target, none of them twice or in `taken`; the same for the same targets in the same order."""
    names: dict[Target, str] = {}
    used = set(taken)
    for target in targets:
        base = name = _alias(target)
        number = 1
        while name in used:
            number += 1
            name = f"{base}-{number}"
        used.add(name)
        names[target] = name
    return names


def _alias(target: Target) -> str:
    upstream, model = _slug(target.upstream), target.model.lower()
    if claude := _CLAUDE.search(model):
        return f"{_slug(claude[1])}-via-{upstream}"
    return "claude-" + _FAMILY.sub(lambda word: word[0][0], f"{upstream}-{_slug(model)}")


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
