"""A prompt as the path and the body of a request in Google's format."""

from typing import Any
from urllib.parse import quote

import msgspec

from penstock import Exchange, Prompt, Target

from ..seals import maker_of
from ..sizes import output_limit
from ..untyped import members
from .contents import render_contents
from .quirks import GeminiQuirks
from .schema import openapi_schema
from .thinking import thinking_config
from .tools import tool_fields, tool_names

_HOTTEST = 2.0

Field = dict[str, Any]


def request_path(exchange: Exchange, target: Target, streamed: bool) -> str:
    """The path below the base URL. Whatever is in a model's name, it stays one segment."""
    model = quote(_model(exchange, target), safe="", errors="replace")
    if exchange.operation == "count_tokens":
        return f"/models/{model}:countTokens"
    return f"/models/{model}:" + ("streamGenerateContent?alt=sse" if streamed else "generateContent")


def request_body(exchange: Exchange, target: Target, quirks: GeminiQuirks) -> tuple[Field, tuple[str, ...]]:
    """The body of a request to `target`, and what it leaves out. Raises InvalidRequest."""
    body, dropped = _body(exchange, target, quirks)
    if exchange.operation == "count_tokens":
        return _counted(body, _model(exchange, target), quirks), ()
    return body, dropped


def _model(exchange: Exchange, target: Target) -> str:
    return (target.model or exchange.request.model).removeprefix("models/")


def _body(exchange: Exchange, target: Target, quirks: GeminiQuirks) -> tuple[Field, tuple[str, ...]]:
    prompt = exchange.request.prompt
    names = tool_names(prompt, quirks)
    contents, unseen = render_contents(prompt.messages, names, maker_of(exchange, target), quirks)
    tools = tool_fields(prompt, names, quirks)
    config, unsaid = _config(prompt, output_limit(exchange, target), tools.functions, quirks)
    body: Field = {"contents": contents}
    if system := [{"text": block.text} for block in prompt.system if block.text.strip()]:
        body["systemInstruction"] = {"parts": system}
    body |= tools.fields
    if config:
        body["generationConfig"] = config
    if tier := quirks.service_tiers.get(prompt.service_tier):
        body["serviceTier"] = tier
    for name, value in quirks.extra_body.items():
        both = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = body[name] | value if both else value
    return body, (*unseen, *tools.dropped, *unsaid)


def _counted(body: Field, model: str, quirks: GeminiQuirks) -> Field:
    """What an upstream counts the tokens of: everything that makes the prompt longer."""
    counted: Field = {name: body[name] for name in ("contents", "systemInstruction", "tools") if name in body}
    return (
        {"generateContentRequest": {"model": f"models/{model}", **counted}} if quirks.count_whole_request else counted
    )


def _config(prompt: Prompt, model_limit: int, functions: bool, quirks: GeminiQuirks) -> tuple[Field, tuple[str, ...]]:
    """The `generationConfig`, and what it leaves out."""
    dropped: list[str] = []
    stops = [stop for stop in prompt.stop if stop]
    if len(stops) > quirks.stop_limit:
        dropped.append(f"stop sequences beyond the first {quirks.stop_limit}")
    config: Field = {
        "maxOutputTokens": _limit(prompt.max_tokens, model_limit, quirks),
        "temperature": None if prompt.temperature is None else max(0.0, min(prompt.temperature, _HOTTEST)),
        "topP": prompt.top_p,
        "topK": prompt.top_k,
        "stopSequences": stops[: quirks.stop_limit] or None,
        "thinkingConfig": thinking_config(prompt.thinking, quirks) or None,
    }
    if prompt.output_schema is not None and functions and not quirks.schema_beside_tools:
        dropped.append("structured output beside tools")
    elif prompt.output_schema is not None:
        config |= _format(prompt.output_schema, quirks)
    return {name: value for name, value in config.items() if value is not None and name not in quirks.drop}, (*dropped,)


def _limit(wanted: int | None, model_limit: int, quirks: GeminiQuirks) -> int | None:
    """An agent asks for what its own model could write, and 0 is Anthropic's way to fill a cache."""
    if wanted is None:
        return None
    most = max(wanted, quirks.least_output)
    return min(most, model_limit) if model_limit else most


def _format(schema: msgspec.Raw, quirks: GeminiQuirks) -> Field:
    form: Field = {"responseMimeType": "application/json"}
    if quirks.schema == "json":
        plain = members(msgspec.json.decode(schema))
        return form | {"responseJsonSchema": {name: value for name, value in plain.items() if name != "$schema"}}
    reduced = openapi_schema(schema)
    return form | ({"responseSchema": reduced} if reduced else {})
