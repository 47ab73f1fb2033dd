"""What the official SDKs know of requests and answers: whether a body is one that they would send or accept."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from anthropic.types import Message
from anthropic.types.beta import message_create_params
from google.genai import types as gemini
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter

from penstock.testing import Call
from tests.integration.talk import Said

_CHAT = (
    TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming),
    TypeAdapter(completion_create_params.CompletionCreateParamsStreaming),
)
_RESPONSES = (
    TypeAdapter(response_create_params.ResponseCreateParamsNonStreaming),
    TypeAdapter(response_create_params.ResponseCreateParamsStreaming),
)
_MESSAGES = (
    TypeAdapter(message_create_params.MessageCreateParamsNonStreaming),
    TypeAdapter(message_create_params.MessageCreateParamsStreaming),
)
_GEMINI: Mapping[str, TypeAdapter[Any]] = {
    "contents": TypeAdapter(list[gemini.Content]),
    "systemInstruction": TypeAdapter(gemini.Content),
    "tools": TypeAdapter(list[gemini.Tool]),
    "toolConfig": TypeAdapter(gemini.ToolConfig),
    "generationConfig": TypeAdapter(gemini.GenerationConfig),
    "safetySettings": TypeAdapter(list[gemini.SafetySetting]),
    "cachedContent": TypeAdapter(str),
    "serviceTier": TypeAdapter(str),
}


def check_request(protocol: str, call: Call) -> None:
    """That a request is one of its format, in the eyes of the official SDK. Raises ValidationError or KeyError."""
    body = call.json()
    if protocol == "gemini":
        for name, value in body.items():
            _exhaust(_GEMINI[name].validate_json(json.dumps(value)))
        return
    adapters: Mapping[str, Any] = {"openai-chat": _CHAT, "openai-responses": _RESPONSES, "anthropic": _MESSAGES}
    _exhaust(adapters[protocol][body.get("stream") is True].validate_python(body))


@asynccontextmanager
async def replayed(said: Said) -> AsyncIterator[AsyncAnthropic]:
    """The official SDK of the client, which gets this answer whatever it asks."""
    headers = {name: value for name, value in said.headers.items() if name.lower() != "transfer-encoding"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(said.status, headers=headers, content=said.body))
    async with AsyncAnthropic(
        api_key="key", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        yield client


async def message_of(said: Said) -> dict[str, Any]:
    """The message of an answer as the official SDK reads it. Raises APIError."""
    prompt: Any = {"model": "m", "max_tokens": 1, "messages": []}
    async with replayed(said) as client:
        message: Message
        if said.headers["content-type"].startswith("application/json"):
            message = await client.messages.create(**prompt)
        else:
            async with client.messages.stream(**prompt) as stream:
                message = await stream.get_final_message()
        return message.to_dict()


def _exhaust(value: object) -> None:
    """Look at everything: pydantic validates the items of an iterable only when they are asked for."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            _exhaust(item)
