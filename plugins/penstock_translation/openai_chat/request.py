"""A prompt as the body of a Chat Completions request."""

import hashlib
from typing import Any

from msgspec.structs import replace

from penstock import Exchange, Prompt, Target, TextBlock, ThinkingControl

from ..seals import maker_of
from ..sizes import output_limit
from ..translated import streams
from .messages import render_messages
from .quirks import ChatQuirks
from .sampling import limit_fields, sampling_fields
from .structured import Form, answer_form
from .thinking import asks_to_think, can_switch_off, thinking_fields
from .tools import FORCED, is_forced, tool_fields, tool_names
from .wording import in_words


def request_body(exchange: Exchange, target: Target, quirks: ChatQuirks, dropped: list[str]) -> dict[str, Any]:
    """The body of a request to `target`; `dropped` takes what is left out. Raises InvalidRequest."""
    stream = streams(exchange, quirks.streaming)
    prompt, form = _reconciled(in_words(exchange.request.prompt, quirks, dropped), quirks, dropped)
    names = tool_names(prompt, quirks)
    body: dict[str, Any] = {
        "model": target.model or exchange.request.model,
        "messages": render_messages(prompt, names, maker_of(exchange, target), quirks),
    }
    body |= sampling_fields(prompt, asks_to_think(prompt.thinking, quirks), quirks)
    body |= limit_fields(prompt, output_limit(exchange, target), quirks, dropped)
    body |= thinking_fields(prompt.thinking, quirks)
    body |= tool_fields(prompt, names, stream, quirks, dropped)
    body |= form.fields
    body |= _labels(prompt, exchange.request.session, quirks)
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    for name in quirks.drop:
        body.pop(name, None)
    return body | quirks.extra_body


def _reconciled(prompt: Prompt, quirks: ChatQuirks, dropped: list[str]) -> tuple[Prompt, Form]:
    """The prompt without demands that contradict each other here, and the form of its answer."""
    demands = {"tool_choice": is_forced(prompt, quirks), "response_format": prompt.output_schema is not None}
    excluded = [name for name, made in demands.items() if made and name in quirks.thinking_excludes]
    if excluded and can_switch_off(quirks):
        prompt = replace(prompt, thinking=ThinkingControl("off"))
        excluded = []
    if "tool_choice" in excluded and prompt.tool_choice is not None:
        prompt = replace(prompt, tool_choice=replace(prompt.tool_choice, mode="auto"))
        dropped.append(FORCED)
    form = answer_form(prompt, "response_format" not in excluded, quirks)
    if form.words:
        prompt = replace(prompt, system=(*prompt.system, TextBlock(form.words)))
    return prompt, form


def _labels(prompt: Prompt, session: str, quirks: ChatQuirks) -> dict[str, str]:
    """What a vendor may know of the conversation, of whose it is, and of how urgent it is."""
    labels = {
        quirks.session_field: _digest(session),
        quirks.user_field: _digest(prompt.user),
        "service_tier": quirks.service_tiers.get(prompt.service_tier, ""),
    }
    return {name: label for name, label in labels.items() if name and label}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32] if text else ""
