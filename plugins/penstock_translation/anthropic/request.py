"""A client's request on its way to an upstream of this format: its own bytes, but for what that upstream refuses."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from penstock import Exchange, InvalidRequest, Request, Target

from ..seals import maker_of
from ..sizes import output_limit
from .mistakes import BROKEN
from .prompt import ATTRIBUTION, read_prompt
from .quirks import Quirks
from .thinking import LEAST_BUDGET, may_need_rest, rest_in_loop, shape_thinking
from .tools import adapt_tools
from .turns import (
    TurnEdit,
    edit_turns,
    for_claude,
    for_maker,
    may_hold_foreign,
    may_hold_ours,
    system_as_user,
)

_Edit = Callable[[Request], None]

# How the beta values begin that belong to a field: the two travel together, or neither does.
_BETAS: Mapping[str, tuple[str, ...]] = {
    "context_management": ("context-management-",),
    "safeguards": ("dangerous-tool-use-", "afk-mode-"),
    "tags": ("request-tags-",),
    "output_config": ("effort-",),
}


class _Text(msgspec.Struct):
    text: str = ""


class _Thinking(msgspec.Struct):
    thinking: dict[str, Any] | None = None


_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Text)
_THINKING = msgspec.json.Decoder(_Thinking)


def render_body(exchange: Exchange, target: Target, quirks: Quirks) -> tuple[bytes, tuple[str, ...]]:
    """The document for a target, in which all that is not edited keeps its bytes, and what was left out, in words."""
    request, dropped = exchange.request, list[str]()
    edits = list(_edits(exchange, target, quirks, dropped))
    if edits or quirks.unsent:
        request = _edited(Request(request.body, read_prompt, model=request.model), quirks, edits)
    fitted = _fitted(exchange, target, quirks, request.body)
    fields = {name: value for name, value in fitted.items() if name not in quirks.unsent}
    return request.body_with(**fields) if fields else request.body, tuple(dropped)


def betas(value: str, quirks: Quirks) -> str:
    """The header `anthropic-beta` without the values of fields that are not sent."""
    effortless = {"output_config"} if quirks.shapes_thinking and not quirks.efforts else set[str]()
    unsent = tuple(prefix for field in quirks.unsent | effortless for prefix in _BETAS.get(field, ()))
    if not unsent:
        return value
    return ",".join(beta for part in value.split(",") if not (beta := part.strip()).startswith(unsent))


def _edits(exchange: Exchange, target: Target, quirks: Quirks, dropped: list[str]) -> Iterator[_Edit]:
    """What has to be done to the document, each of them only where it is worth it; `dropped` takes what is left out."""
    if not quirks.claude:
        yield _drop_attribution
        yield partial(_adapt_tools, quirks=quirks, dropped=dropped)
    if turn_edits := list(_turn_edits(exchange, target, quirks)):
        yield partial(edit_turns, edits=turn_edits)
    if quirks.claude and may_need_rest(exchange.request):
        yield rest_in_loop
    if quirks.shapes_thinking:
        yield partial(shape_thinking, quirks=quirks, most=_most(exchange, target))


def _turn_edits(exchange: Exchange, target: Target, quirks: Quirks) -> Iterator[TurnEdit]:
    body = exchange.request.body
    if quirks.claude:
        if may_hold_foreign(body):
            yield for_claude
    elif may_hold_ours(body):
        yield partial(for_maker, maker=maker_of(exchange, target))
    if quirks.system_messages == "user":
        yield system_as_user


def _edited(document: Request, quirks: Quirks, edits: Iterable[_Edit]) -> Request:
    """The document, a copy for one attempt, after the edits: the next upstream may take what this one does not."""
    for field in quirks.unsent:
        document.drop(field)
    for edit in edits:
        with suppress(*BROKEN, InvalidRequest):  # what cannot be read stays: the upstream will say what is wrong
            edit(document)
    return document


def _adapt_tools(document: Request, quirks: Quirks, dropped: list[str]) -> None:
    dropped += [f"the tool {type}" for type in adapt_tools(document, server_tools=quirks.server_tools)]


def _most(exchange: Exchange, target: Target) -> int:
    """How many tokens the answer can have, 0 for unknown."""
    limits = (exchange.request.max_tokens or 0, output_limit(exchange, target))
    return min((limit for limit in limits if limit > 0), default=0)


def _drop_attribution(document: Request) -> None:
    """It varies, so it would spoil prefix caches, and nobody but Anthropic reads it."""
    system = document.fields.get("system", b"")
    if not bytes(system).startswith(b"["):
        return
    first, *rest = _ENTRIES.decode(system) or [msgspec.Raw(b"{}")]
    if not _ENTRY.decode(first).text.startswith(ATTRIBUTION):
        return
    if rest:
        document.set("system", rest)
    else:
        document.drop("system")


def _fitted(exchange: Exchange, target: Target, quirks: Quirks, body: bytes) -> dict[str, object]:
    """An agent asks for what the model it has named could write; another one may be able to write less."""
    request = exchange.request
    renamed = target.model not in ("", request.model)
    fields: dict[str, object] = {"model": target.model} if renamed else {}
    limit = output_limit(exchange, target) if renamed or not quirks.claude else 0
    if limit and (request.max_tokens or 0) > limit:
        fields |= {"max_tokens": limit, **_thinking_within(limit, body)}
    return fields


def _thinking_within(limit: int, body: bytes) -> dict[str, object]:
    """A budget has to be smaller than `max_tokens`."""
    try:
        thinking = _THINKING.decode(body).thinking or {}
    except BROKEN:
        return {}
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < limit:
        return {}
    return {"thinking": {**thinking, "budget_tokens": limit - 1} if limit > LEAST_BUDGET else {"type": "disabled"}}
