"""A prompt as the body of a Responses request, or of one that only counts its tokens."""

import hashlib
from typing import Any

import msgspec

from penstock import Exchange, Prompt, Target

from ..schemas import is_strict
from ..seals import maker_of
from ..sizes import output_limit
from ..translated import streams
from ..words import joined
from .items import render_items
from .quirks import ResponsesQuirks
from .reasoning import reasoning_fields
from .tools import SOURCES, ToolFields, tool_fields, tool_names

_LEAST_OUTPUT = 16  # tokens; less is refused
_TIERS = {"auto": "auto", "standard_only": "default"}

# What an input token count takes (official SDK, `responses.input_tokens.count`).
_COUNTED = ("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text")


def request_body(exchange: Exchange, target: Target, quirks: ResponsesQuirks) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of a request to `target`, and what it leaves out. Raises InvalidRequest."""
    prompt = exchange.request.prompt
    names = tool_names(prompt, quirks)
    tools = tool_fields(prompt, names, quirks)
    body: dict[str, Any] = {"model": target.model or exchange.request.model}
    if quirks.instructions and (instructions := joined(prompt.system)):
        body["instructions"] = instructions
    body["input"], unseen = render_items(prompt, names, maker_of(exchange, target), quirks)
    body |= tools.fields | reasoning_fields(prompt.thinking, quirks)
    if prompt.output_schema is not None:
        body["text"] = {"format": _format(prompt.output_schema)}
    body |= _limits(prompt, output_limit(exchange, target))
    body |= _service(exchange, tools, quirks)
    for name in quirks.drop:
        body.pop(name, None)
    if exchange.operation == "count_tokens":
        return {name: body[name] for name in _COUNTED if name in body}, ()
    return body | quirks.extra_body, (*unseen, *tools.dropped, *(("stop sequences",) if prompt.stop else ()))


def _limits(prompt: Prompt, model_limit: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"temperature": prompt.temperature, "top_p": prompt.top_p}
    if prompt.max_tokens is not None:
        # An agent asks for what its own model could write, and 0 is Anthropic's way to fill a cache.
        fields["max_output_tokens"] = max(_LEAST_OUTPUT, min(prompt.max_tokens, model_limit or prompt.max_tokens))
    return {name: value for name, value in fields.items() if value is not None}


def _service(exchange: Exchange, tools: ToolFields, quirks: ResponsesQuirks) -> dict[str, Any]:
    """How the server should handle the request: keep nothing, and give what has to come back."""
    request = exchange.request
    fields: dict[str, Any] = {"store": False}
    encrypted = ["reasoning.encrypted_content"] if quirks.reasoning else []
    if include := [*encrypted, *([SOURCES] if tools.searches else [])]:
        fields["include"] = include
    if quirks.prompt_cache_key and request.session:
        fields["prompt_cache_key"] = hashlib.sha256(request.session.encode()).hexdigest()
    tier = _TIERS.get(request.prompt.service_tier)
    if quirks.service_tier and tier:
        fields["service_tier"] = tier
    if streams(exchange, quirks.streaming):
        fields["stream"] = True
    return fields


def _format(schema: msgspec.Raw) -> dict[str, Any]:
    strict = is_strict(msgspec.json.decode(schema))
    return {"type": "json_schema", "name": "answer", "schema": schema, "strict": strict}
