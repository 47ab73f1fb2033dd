"""Requests as the official clients of each format would type them."""

from collections.abc import Callable, Mapping
from typing import Any

from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as responses_params
from pydantic import TypeAdapter

from tests.protocols.golden import exhaust

_CHAT = (chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming)
_RESPONSES = (responses_params.ResponseCreateParamsNonStreaming, responses_params.ResponseCreateParamsStreaming)


def _typed(plain: Any, streamed: Any) -> Callable[[Any], None]:
    adapters: tuple[TypeAdapter[Any], TypeAdapter[Any]] = (TypeAdapter(plain), TypeAdapter(streamed))

    def check(body: Any) -> None:
        exhaust(adapters[body.get("stream") is True].validate_python(body))

    return check


def _gemini(body: Any) -> None:
    from google.genai import types

    kinds: Mapping[str, Any] = {
        "contents": list[types.Content],
        "systemInstruction": types.Content,
        "tools": list[types.Tool],
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
    }
    assert body.keys() <= kinds.keys()
    for name, member in body.items():
        TypeAdapter(kinds[name]).validate_python(member)


def _relayed(body: Any) -> None:
    """What a client sends in this format is relayed as it is."""


TYPED: Mapping[str, Callable[[Any], None]] = {
    "openai-chat": _typed(*_CHAT),
    "openai-chat, routed": _typed(*_CHAT),
    "openai-responses": _typed(*_RESPONSES),
    "gemini": _gemini,
    "anthropic": _relayed,
    "anthropic, not Claude": _relayed,
}
"""By the title of the format."""
