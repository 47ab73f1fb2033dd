"""A prompt as the body of a Chat Completions request."""

from typing import Any

import msgspec

from penstock import Exchange, InvalidRequest, Prompt, Target
from penstock_translation.openai_chat.messages import render_messages
from penstock_translation.openai_chat.quirks import ChatQuirks
from penstock_translation.openai_chat.thinking import thinking_fields
from penstock_translation.openai_chat.tools import tool_fields, tool_names
from penstock_translation.seals import maker_of
from penstock_translation.sizes import output_limit
from penstock_translation.untyped import items, members


def render_body(exchange: Exchange, target: Target, quirks: ChatQuirks) -> bytes:
    """The JSON body of a request to `target`. Raises InvalidRequest if the client's document is not a prompt."""
    try:
        return msgspec.json.encode(_body(exchange, target, quirks))
    except UnicodeDecodeError as error:  # parts of the client's document are looked at here for the first time
        raise InvalidRequest(f"the request body is not UTF-8: {error}") from None
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply") from None


def _body(exchange: Exchange, target: Target, quirks: ChatQuirks) -> dict[str, Any]:
    prompt, stream = exchange.request.prompt, exchange.request.stream
    names = tool_names(prompt, quirks)
    body: dict[str, Any] = {
        "model": target.model or exchange.request.model,
        "messages": render_messages(prompt, names, maker_of(exchange, target), quirks),
    }
    body |= _limits(prompt, output_limit(exchange, target), quirks)
    body |= thinking_fields(prompt.thinking, quirks)
    body |= tool_fields(prompt, names, stream, quirks)
    if prompt.output_schema is not None:
        body["response_format"] = _response_format(prompt.output_schema)
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    for name in quirks.drop:
        body.pop(name, None)
    return body | quirks.extra_body


def _limits(prompt: Prompt, model_limit: int, quirks: ChatQuirks) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "top_k": prompt.top_k,
        "stop": prompt.stop[: quirks.stop_limit] or None,
    }
    if prompt.max_tokens is not None:
        # An agent asks for what its own model could write, and 0 is Anthropic's way to fill a cache.
        most = min(prompt.max_tokens, model_limit or prompt.max_tokens)
        fields[quirks.max_tokens_field] = max(1, most)
    return {name: value for name, value in fields.items() if value is not None}


def _response_format(schema: msgspec.Raw) -> dict[str, Any]:
    strict = _is_strict(msgspec.json.decode(schema))
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}


def _is_strict(schema: Any) -> bool:
    """Whether every object in a schema is closed and needs all its properties, as OpenAI's strict mode demands."""
    own = members(schema)
    properties = members(own.get("properties"))
    required = {name for name in items(own.get("required")) if isinstance(name, str)}
    is_object = bool(properties) or own.get("type") == "object"
    if is_object and not (own.get("additionalProperties") is False and required.issuperset(properties)):
        return False
    return all(map(_is_strict, own.values() or items(schema)))
