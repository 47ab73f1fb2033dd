"""The words of a prompt, read and changed; what is not different leaves as the client wrote it."""

import json

import msgspec
import pytest
from msgspec import Raw

from penstock import (
    DocumentBlock,
    Exchange,
    ImageBlock,
    Message,
    Plugin,
    Prompt,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    hookimpl,
    map_strings,
    map_texts,
    texts_of,
)
from penstock.testing import MakePipeline, ScriptedUpstream

PROMPT = Prompt(
    system=(TextBlock("You help Bob.", cache="5m"),),
    messages=(
        Message("user", (TextBlock("I am Bob"), ImageBlock(media_type="image/png", data="Qm9i"))),
        Message(
            "assistant",
            (
                ThinkingBlock("Bob it is", signature="seal"),
                ToolUseBlock("t1", "Read", Raw(b'{"Bob": [ "/Bob", 1.0 ]}')),
            ),
        ),
        Message("user", (ToolResultBlock("t1", (TextBlock("Bob's file"),)), DocumentBlock(text="About Bob"))),
    ),
)


def test_all_words_are_found() -> None:
    assert texts_of(PROMPT) == ["You help Bob.", "I am Bob", "/Bob", "Bob's file", "About Bob"]


def test_words_change_and_nothing_else() -> None:
    changed = map_texts(PROMPT, lambda text: text.replace("Bob", "Eve"))
    assert texts_of(changed) == ["You help Eve.", "I am Eve", "/Eve", "Eve's file", "About Eve"]
    assert changed.system[0].cache == "5m"
    assert changed.messages[0].content[1] == PROMPT.messages[0].content[1]
    thinking, call = changed.messages[1].content
    assert thinking == PROMPT.messages[1].content[0]
    assert isinstance(call, ToolUseBlock)
    assert json.loads(bytes(call.input)) == {"Bob": ["/Eve", 1.0]}


def test_what_is_not_different_is_equal() -> None:
    assert map_texts(PROMPT, lambda text: text.replace("Ann", "Eve")) == PROMPT


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        ('"Bob"', '"Eve"'),
        ('{"Bob": 1, "a": {"b": ["Bob",null,1.50]}}', '{"Bob":1,"a":{"b":["Eve",null,1.5]}}'),
        ('{"a" :"\\u0042ob"}', '{"a":"Eve"}'),
        ('{ "Bob" : 1.50 }', '{ "Bob" : 1.50 }'),
    ],
)
def test_strings_of_a_document(document: str, changed: str) -> None:
    new = map_strings(Raw(document.encode()), lambda text: text.replace("Bob", "Eve"))
    assert bytes(new).decode() == changed


def test_half_a_document_is_none() -> None:
    with pytest.raises(msgspec.DecodeError):
        map_strings(Raw(b'{"a": "Bo'), str.upper)


class Rename(Plugin):
    """Call Bob Eve."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.request.prompt = map_texts(exchange.request.prompt, lambda text: text.replace("Bob", "Eve"))


@pytest.mark.parametrize("name", ["Ann", "Bob"])
async def test_the_rest_keeps_the_clients_bytes(pipeline: MakePipeline, upstream: ScriptedUpstream, name: str) -> None:
    body = (
        '{"model":"m","max_tokens":100, "temperature":1e0,"metadata":{"user_id":"Bob"},"messages":[{"role":"user",'
        f'"content":[{{"text":"I am {name}","type":"text"}},'
        '{"type":"text","text":"second" ,"cache_control":{"type":"ephemeral"}}]}]}'
    )
    upstream.answers("hello")
    gate = pipeline("plugins: [rename]", rename=Rename)
    assert (await gate.client().send(body.encode())).status == 200
    assert upstream.calls[0].body.decode() == body.replace("I am Bob", "I am Eve")
