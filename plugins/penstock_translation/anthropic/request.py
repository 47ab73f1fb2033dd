"""A client's request on its way to an upstream of this format: its own bytes, but for what that upstream refuses."""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock import Exchange, InvalidRequest, Request, Target
from penstock_translation.anthropic.mistakes import BROKEN
from penstock_translation.anthropic.prompt import ATTRIBUTION, read_prompt
from penstock_translation.anthropic.quirks import Quirks
from penstock_translation.anthropic.turns import drop_unsealed_thinking, may_hold_unsealed_thinking, system_as_user
from penstock_translation.sizes import output_limit

# How the beta values begin that belong to a field: the two travel together, or neither does.
_BETAS: Mapping[str, tuple[str, ...]] = {
    "context_management": ("context-management-",),
    "safeguards": ("dangerous-tool-use-", "afk-mode-"),
    "tags": ("request-tags-",),
}
_LEAST_BUDGET = 1024  # tokens; the format knows no smaller one


class _Text(msgspec.Struct):
    text: str = ""


class _Thinking(msgspec.Struct):
    thinking: dict[str, Any] | None = None


_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Text)
_THINKING = msgspec.json.Decoder(_Thinking)


def render_body(exchange: Exchange, target: Target, quirks: Quirks) -> bytes:
    """The document for a target; what is not edited keeps its bytes."""
    request, body = exchange.request, exchange.request.body
    unsealed = quirks.claude and may_hold_unsealed_thinking(body)
    fitted = _fitted(exchange, target, quirks)
    fields = {name: value for name, value in fitted.items() if name not in quirks.unsent}
    if unsealed or quirks.unsent or quirks.system_messages == "user":
        request = _edited(Request(body, read_prompt, model=request.model), quirks, unsealed)
        body = request.body
    return request.body_with(**fields) if fields else body


def betas(value: str, quirks: Quirks) -> str:
    """The header `anthropic-beta` without the values of fields that are not sent."""
    unsent = tuple(prefix for field in quirks.unsent for prefix in _BETAS.get(field, ()))
    if not unsent:
        return value
    return ",".join(beta for part in value.split(",") if not (beta := part.strip()).startswith(unsent))


def _edited(document: Request, quirks: Quirks, unsealed: bool) -> Request:
    """The document, a copy for one attempt, after the edits: the next upstream may take what this one does not."""
    for field in quirks.unsent:
        document.drop(field)
    try:
        if not quirks.claude:
            _drop_attribution(document)
        if unsealed:
            drop_unsealed_thinking(document)
        if quirks.system_messages == "user":
            system_as_user(document)
    except (*BROKEN, InvalidRequest):  # what cannot be read stays: the upstream will say what is wrong
        pass
    return document


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


def _fitted(exchange: Exchange, target: Target, quirks: Quirks) -> dict[str, object]:
    """An agent asks for what the model it has named could write; another one may be able to write less."""
    request = exchange.request
    renamed = target.model not in ("", request.model)
    fields: dict[str, object] = {"model": target.model} if renamed else {}
    limit = output_limit(exchange, target) if renamed or not quirks.claude else 0
    if limit and (request.max_tokens or 0) > limit:
        fields |= {"max_tokens": limit, **_thinking_within(limit, request.body)}
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
    return {"thinking": {**thinking, "budget_tokens": limit - 1} if limit > _LEAST_BUDGET else {"type": "disabled"}}
