"""What a request of each format brings back of a session: its tool loop in neutral words, and what was sealed."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from penstock.testing import Thought

STAND_IN = "skip_thought_signature_validator"
"""What Google documents for calls that another model has made."""

Entry = tuple[str, str]
"""`call` or `result`, and the name of the file that is written."""


class History(NamedTuple):
    """How to read a request of one format: its tool loop, its sealed thoughts, and how a thought looks there.

    Without `last_words` what was sealed beside the words that end a turn need not come back.
    """

    loop: Callable[[Any], Iterator[Entry]]
    sealed: Callable[[Any], Iterator[str]]
    form: str
    last_words: bool = True

    def thought(self, thought: Thought) -> str:
        """A thought as `sealed` finds it."""
        return self.form.format(thought)


def _call(input: Mapping[str, Any]) -> Entry:
    return "call", Path(input["file_path"]).name


def _result(content: Any) -> Entry:
    found = re.search(r"File created successfully at: \S*/([\w-]+)", json.dumps(content))
    return "result", found[1] if found else json.dumps(content)


def _blocks(body: Any) -> Iterator[Any]:
    for message in body["messages"]:
        yield from message["content"] if isinstance(message["content"], list) else ()


def _messages_loop(body: Any) -> Iterator[Entry]:
    for block in _blocks(body):
        if block["type"] == "tool_use":
            yield _call(block["input"])
        elif block["type"] == "tool_result":
            yield _result(block["content"])


def _messages_sealed(body: Any) -> Iterator[str]:
    for block in _blocks(body):
        if block["type"] == "thinking":
            yield f"{block['thinking']} {block['signature']}"
        assert block["type"] != "redacted_thinking"


def _chat_loop(body: Any) -> Iterator[Entry]:
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            yield _call(json.loads(call["function"]["arguments"]))
        if message["role"] == "tool":
            yield _result(message["content"])


def _chat_sealed(body: Any) -> Iterator[str]:
    yield from filter(None, (message.get("reasoning_content") for message in body["messages"]))


def _responses_loop(body: Any) -> Iterator[Entry]:
    for item in body["input"]:
        if item["type"] == "function_call":
            yield _call(json.loads(item["arguments"]))
        elif item["type"] == "function_call_output":
            yield _result(item["output"])


def _responses_sealed(body: Any) -> Iterator[str]:
    """Each item has to stand directly before what it has led to."""
    for item, following in zip(body["input"], body["input"][1:], strict=False):
        if item["type"] == "reasoning":
            assert following["type"] == "function_call" or following.get("role") == "assistant"
            yield f"{''.join(part['text'] for part in item['summary'])} {item['encrypted_content']}"


def _contents_loop(body: Any) -> Iterator[Entry]:
    for part in _parts(body):
        if "functionCall" in part:
            yield _call(part["functionCall"]["args"])
        elif "functionResponse" in part:
            yield _result(part["functionResponse"]["response"]["output"])


def _contents_sealed(body: Any) -> Iterator[str]:
    """The first call of each step has to be signed, and only that one."""
    for content in body["contents"]:
        signed = ["thoughtSignature" in part for part in content["parts"] if "functionCall" in part]
        assert signed == [True, False][: len(signed)]
    signatures = (part.get("thoughtSignature", STAND_IN) for part in _parts(body))
    yield from (signature for signature in signatures if signature != STAND_IN)


def _parts(body: Any) -> Iterator[Any]:
    for content in body["contents"]:
        yield from content["parts"]


HISTORIES = {
    "anthropic": History(_messages_loop, _messages_sealed, "{0.text} {0.signature}"),
    "openai-chat": History(_chat_loop, _chat_sealed, "{0.text}"),
    "openai-responses": History(_responses_loop, _responses_sealed, "{0.text} {0.signature}"),
    "gemini": History(_contents_loop, _contents_sealed, "{0.signature}", last_words=False),
}
"""By upstream protocol."""
