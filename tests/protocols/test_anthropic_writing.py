"""New prompts written into Messages documents: what changed is said, and all else keeps the client's bytes."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    InvalidRequest,
    Message,
    OtherBlock,
    Prompt,
    Request,
    TextBlock,
    ThinkingBlock,
    ThinkingControl,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from tests.protocols.exchanges import PROTOCOL

T = TypeVar("T")

EPHEMERAL = {"type": "ephemeral"}
ATTRIBUTION = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329;"}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(id: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "Bash", "input": {"n": 1.0}, **more}


def result(id: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def request(*messages: Any, **members: Any) -> Request:
    """A request as an agent with odd spacing writes it."""
    return PROTOCOL.read(json.dumps({"model": "m", "messages": messages, **members}, indent=1).encode(), {})


def written(of: Request) -> dict[str, Any]:
    """The document; what it says when it is read again is checked on the way."""
    assert PROTOCOL.read(of.body, {}).prompt == of.prompt
    document: dict[str, Any] = json.loads(of.body)
    return document


def swapped(items: tuple[T, ...], place: int, *instead: T) -> tuple[T, ...]:
    return (*items[:place], *instead, *items[place + 1 :])


def say(of: Request, *messages: Message) -> list[dict[str, Any]]:
    of.prompt = replace(of.prompt, messages=messages)
    turns: list[dict[str, Any]] = written(of)["messages"]
    return turns


def user_of(*content: Block) -> Message:
    return Message("user", content)


def change(of: Request, place: int, *content: Block) -> Any:
    """What the turn at a place holds after its blocks were replaced."""
    messages = of.prompt.messages
    return say(of, *swapped(messages, place, replace(messages[place], content=content)))[place]["content"]


# ---------------------------------------------------------------- messages


def test_the_same_prompt_changes_nothing() -> None:
    of = request(user("hi"), {"role": "assistant", "content": []})
    body = of.body
    of.prompt = replace(of.prompt)
    assert of.body is body


def test_other_turns_keep_their_bytes() -> None:
    of = request(user("one"), assistant([call("a")]), user([result("a", "done"), text("two")]))
    kept = [bytes(turn) for turn in msgspec.json.decode(of.fields["messages"], type=list[msgspec.Raw])]
    first, second, third = of.prompt.messages
    of.prompt = replace(of.prompt, messages=(first, Message("system", (TextBlock("new"),)), second, third))
    for turn in kept:
        assert turn in of.body
    assert [turn["role"] for turn in written(of)["messages"]] == ["user", "system", "assistant", "user"]


def test_turns_are_removed_and_moved() -> None:
    of = request(user("one"), assistant("two"), user("three"))
    first, second, third = of.prompt.messages
    assert [turn["content"] for turn in say(of, third, second)] == ["three", "two"]
    assert [turn["content"] for turn in say(of, second, first)] == ["two", [text("one")]]


def test_a_text_stays_a_text_while_it_can() -> None:
    assert change(request(user("one")), 0, TextBlock("two")) == "two"
    assert change(request(user("one")), 0, TextBlock("two", "5m")) == [text("two", cache_control=EPHEMERAL)]
    assert change(request(user("one")), 0) == []
    assert change(request(user("")), 0, TextBlock("said")) == "said"
    of = request(user("one"))
    assert change(of, 0, *of.prompt.messages[0].content, TextBlock("two")) == [text("one"), text("two")]


def test_what_replaces_another_keeps_what_only_this_format_knows() -> None:
    turn = user([text("one", citations=[1], cache_control=EPHEMERAL)], future=True)
    of = request(turn)
    assert change(of, 0, TextBlock("two", "5m")) == [text("two", citations=[1], cache_control=EPHEMERAL)]
    assert change(of, 0, TextBlock("two", "1h")) == [
        text("two", citations=[1], cache_control={"type": "ephemeral", "ttl": "1h"})
    ]
    assert change(of, 0, TextBlock("two")) == [text("two", citations=[1])]
    assert written(of)["messages"][0]["future"] is True


def test_an_unknown_kind_of_mark_stays() -> None:
    mark = {"type": "ephemeral", "ttl": "7d", "scope": "global"}
    assert change(request(user([text("one", cache_control=mark)])), 0, TextBlock("two", "5m")) == [
        text("two", cache_control=mark)
    ]


def test_blocks_of_a_tools_result() -> None:
    reference = {"type": "tool_reference", "tool_name": "Edit", "more": 1}
    of = request(user([result("a", [text("one", more=1), reference], is_error=False, more=2), text("x")]))
    first, other = of.prompt.messages[0].content
    assert isinstance(first, ToolResultBlock)
    changed = replace(first, content=(TextBlock("two"), first.content[1]))
    assert change(of, 0, changed, other) == [
        result("a", [text("two", more=1), reference], is_error=False, more=2),
        text("x"),
    ]
    assert change(of, 0, replace(first, content=(), is_error=True), other) == [
        {"type": "tool_result", "tool_use_id": "a", "is_error": True, "more": 2},
        text("x"),
    ]


def test_a_result_in_words_stays_words() -> None:
    of = request(user([result("a", "one")]))
    (block,) = of.prompt.messages[0].content
    assert isinstance(block, ToolResultBlock)
    assert change(of, 0, replace(block, content=(TextBlock("two"),))) == [result("a", "two")]


def test_blocks_that_nobody_else_can_write_are_moved_and_left_out_but_not_made() -> None:
    odd = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    of = request(assistant([odd, text("found")]), user("next"))
    first, second = of.prompt.messages
    turns = say(
        of, Message("assistant", (first.content[1],)), replace(second, content=(*second.content, *first.content[:1]))
    )
    assert turns == [assistant([text("found")]), user([text("next"), odd])]
    reference = {"type": "tool_reference", "tool_name": "Edit"}
    of = request(user([result("a", [reference, text("")])]), user("next"))
    (inner,) = of.prompt.messages[0].content
    assert isinstance(inner, ToolResultBlock)
    assert say(of, user_of(replace(inner, content=inner.content[:1]), TextBlock("new")), of.prompt.messages[1])[
        0
    ] == user([result("a", [reference]), text("new")])
    with pytest.raises(TypeError, match="'novelty' can be kept, moved and left out, but not made"):
        of.prompt = replace(of.prompt, messages=(Message("user", (OtherBlock("novelty", "x"),)),))


def test_a_search_result_can_be_marked_and_replaced() -> None:
    found = {"type": "search_result", "title": "T", "source": "https://x", "content": [{"type": "text", "text": "w"}]}
    of = request(user([found]))
    (block,) = of.prompt.messages[0].content
    assert isinstance(block, TextBlock)
    assert change(of, 0, replace(block, cache="5m")) == [found | {"cache_control": EPHEMERAL}]
    assert change(of, 0, TextBlock("words")) == [text("words")]


MEDIA: list[tuple[Block, dict[str, Any]]] = [
    (ImageBlock("image/png", "iVBO"), {"source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}),
    (ImageBlock(url="https://x/y.png"), {"source": {"type": "url", "url": "https://x/y.png"}}),
    (
        DocumentBlock("application/pdf", "JVBE", title="T"),
        {"source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": "T"},
    ),
    (DocumentBlock(url="https://x/y.pdf"), {"source": {"type": "url", "url": "https://x/y.pdf"}}),
    (
        DocumentBlock("text/plain", text="words"),
        {"source": {"type": "text", "media_type": "text/plain", "data": "words"}},
    ),
    (DocumentBlock(text="words"), {"source": {"type": "content", "content": "words"}}),
]


@pytest.mark.parametrize(("block", "members"), MEDIA)
def test_pictures_and_documents(block: Block, members: dict[str, Any]) -> None:
    kind = "image" if isinstance(block, ImageBlock) else "document"
    assert change(request(user("x")), 0, block) == [{"type": kind, **members}]


def test_a_document_of_blocks_keeps_them_when_only_its_title_changes() -> None:
    source = {"type": "content", "content": [text("a"), text("b")]}
    of = request(user([{"type": "document", "source": source, "citations": {"enabled": True}}]))
    (block,) = of.prompt.messages[0].content
    assert isinstance(block, DocumentBlock)
    assert change(of, 0, replace(block, title="T")) == [
        {"type": "document", "source": source, "citations": {"enabled": True}, "title": "T"}
    ]


def test_thinking_and_calls() -> None:
    made = change(
        request(user("x")),
        0,
        ThinkingBlock("So.", "c2ln"),
        ThinkingBlock(redacted="abc"),
        ToolUseBlock("a", "Bash", msgspec.Raw(b'{"n":1.0}'), "5m"),
    )
    assert made == [
        {"type": "thinking", "thinking": "So.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "abc"},
        call("a", cache_control=EPHEMERAL),
    ]


def test_a_renamed_call_keeps_its_caller() -> None:
    of = request(assistant([call("a", caller={"type": "direct"})]))
    (block,) = of.prompt.messages[0].content
    assert isinstance(block, ToolUseBlock)
    assert change(of, 0, replace(block, name="Shell", id="b")) == [
        call("b", caller={"type": "direct"}) | {"name": "Shell"}
    ]


# ---------------------------------------------------------------- system and tools


def test_the_attribution_stays_first_whatever_the_system_prompt_becomes() -> None:
    of = request(system=[ATTRIBUTION, text("one", more=1), text("two")])
    one, two = of.prompt.system
    of.prompt = replace(of.prompt, system=(TextBlock("new"), two))
    assert written(of)["system"] == [ATTRIBUTION, text("new", more=1), text("two")]
    of.prompt = replace(of.prompt, system=(TextBlock("before"), *of.prompt.system))
    assert written(of)["system"][:2] == [ATTRIBUTION, text("before")]
    of.prompt = replace(of.prompt, system=())
    assert written(of)["system"] == [ATTRIBUTION]
    assert one not in of.prompt.system


def test_a_system_prompt_in_words() -> None:
    of = request(system="one")
    of.prompt = replace(of.prompt, system=(TextBlock("two"),))
    assert written(of)["system"] == "two"
    of.prompt = replace(of.prompt, system=())
    assert "system" not in written(of)
    of.prompt = replace(of.prompt, system=(TextBlock("three", "5m"),))
    assert written(of)["system"] == [text("three", cache_control=EPHEMERAL)]
    alone = request(system=ATTRIBUTION["text"])
    alone.prompt = replace(alone.prompt, system=(TextBlock("new"),))
    assert written(alone)["system"] == [ATTRIBUTION, text("new")]


def test_tools() -> None:
    schema = {"type": "object"}
    bash = {"name": "Bash", "input_schema": schema, "defer_loading": True}
    hidden = {"name": "DeferredToolPlaceholder", "input_schema": schema}
    search = {"name": "web_search", "type": "web_search_20250305", "max_uses": 8}
    of = request(tools=[bash, {"name": "Edit", "input_schema": schema}, hidden, search])
    first, _, last = of.prompt.tools
    new = Tool("Read", "Reads.", msgspec.Raw(b'{"type":"object","a":1.0}'), strict=True, cache="1h")
    of.prompt = replace(of.prompt, tools=(replace(first, description="Runs."), last, new))
    assert written(of)["tools"] == [
        bash | {"description": "Runs."},
        search,
        {
            "name": "Read",
            "description": "Reads.",
            "input_schema": {"type": "object", "a": 1.0},
            "strict": True,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        hidden,
    ]
    of.prompt = replace(of.prompt, tools=())
    assert written(of)["tools"] == [hidden]


def test_built_in_tools_are_written_by_their_definition() -> None:
    of = request(tools=[{"name": "web_search", "type": "web_search_20250305", "max_uses": 8}])
    (search,) = of.prompt.tools
    options = msgspec.Raw(b'{"type":"web_search_20250305","name":"web_search","max_uses":3}')
    bash = Tool("bash", type="bash_20250124", options=msgspec.Raw(b'{"type":"bash_20250124","name":"bash"}'))
    of.prompt = replace(of.prompt, tools=(replace(search, options=options), bash))
    assert json.loads(of.body)["tools"] == [
        {"name": "web_search", "type": "web_search_20250305", "max_uses": 3},
        {"name": "bash", "type": "bash_20250124"},
    ]
    of.prompt = replace(of.prompt, tools=())
    assert "tools" not in written(of)


# ---------------------------------------------------------------- all the rest


@pytest.mark.parametrize(
    ("members", "changes", "expected"),
    [
        ({}, {"max_tokens": 7, "temperature": 0.0, "top_k": 3}, {"max_tokens": 7, "temperature": 0, "top_k": 3}),
        ({"top_p": 0.9, "max_tokens": 7}, {"top_p": None}, {"max_tokens": 7}),
        ({}, {"stop": ("a",), "service_tier": "auto"}, {"stop_sequences": ["a"], "service_tier": "auto"}),
        ({"stop_sequences": ["a"], "service_tier": "auto"}, {"stop": (), "service_tier": ""}, {}),
        ({"metadata": {"user_id": "u", "x": 1}}, {"user": "v"}, {"metadata": {"user_id": "v", "x": 1}}),
        ({"metadata": {"user_id": "u"}}, {"user": ""}, {}),
        ({}, {"tool_choice": ToolChoice("tool", "Bash")}, {"tool_choice": {"type": "tool", "name": "Bash"}}),
        (
            {"tool_choice": {"type": "any", "x": 1}},
            {"tool_choice": ToolChoice("auto", parallel=False)},
            {"tool_choice": {"type": "auto", "x": 1, "disable_parallel_tool_use": True}},
        ),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": None}, {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000, "display": "omitted"}},
            {"thinking": ThinkingControl("on", 2000)},
            {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000, "display": "omitted"}},
            {"thinking": ThinkingControl("adaptive")},
            {"thinking": {"type": "adaptive", "display": "omitted"}},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000, "display": "omitted"}},
            {"thinking": ThinkingControl("off")},
            {"thinking": {"type": "disabled"}},
        ),
        ({"thinking": {"type": "disabled"}}, {"thinking": ThinkingControl()}, {}),
        ({}, {"thinking": ThinkingControl(effort="low")}, {"output_config": {"effort": "low"}}),
        ({"output_config": {"effort": "low"}}, {"thinking": ThinkingControl()}, {}),
        (
            {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}, "x": 1}}},
            {"output_schema": msgspec.Raw(b'{"a":1.0}')},
            {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1.0}, "x": 1}}},
        ),
        (
            {"output_format": {"type": "json_schema", "schema": {}}},
            {"output_schema": msgspec.Raw(b'{"a":1}')},
            {"output_format": {"type": "json_schema", "schema": {"a": 1}}},
        ),
        (
            {
                "output_format": {"type": "json_schema", "schema": {}},
                "output_config": {"format": None, "effort": "low"},
            },
            {"output_schema": None},
            {"output_config": {"effort": "low"}},
        ),
    ],
)
def test_fields(members: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]) -> None:
    of = request(user("hi"), **members)
    of.prompt = replace(of.prompt, **changes)
    assert written(of) == {"model": "m", "messages": [user("hi")], **expected}


def test_a_budget_needs_a_mode() -> None:
    of = request()
    with pytest.raises(TypeError, match="a budget needs a mode"):
        of.prompt = replace(of.prompt, thinking=ThinkingControl(budget=5))


def test_an_effort_is_changed_where_the_newest_one_stands() -> None:
    directive = {"role": "system", "content": [], "output_config": {"effort": "low", "x": 1}}
    of = request(user("hi"), directive, output_config={"effort": "high"})
    assert of.prompt.thinking.effort == "low"
    of.prompt = replace(of.prompt, thinking=ThinkingControl(effort="max"))
    assert written(of)["messages"][1]["output_config"] == {"effort": "max", "x": 1}
    of.prompt = replace(of.prompt, thinking=ThinkingControl())
    assert written(of)["messages"][1]["output_config"] == {"x": 1}
    assert "output_config" not in written(of)


def test_an_effort_outlives_the_turn_that_named_it() -> None:
    of = request(user("hi"), {"role": "system", "content": [], "output_config": {"effort": "low"}})
    of.prompt = replace(of.prompt, messages=of.prompt.messages[:1])
    assert written(of)["output_config"] == {"effort": "low"}


def test_all_verbs_work_together() -> None:
    of = request(user("one"), max_tokens=9)
    of.prompt = replace(of.prompt, max_tokens=5)
    of.model = "other"
    of.set("future", 1)
    of.prompt = replace(of.prompt, messages=(*of.prompt.messages, Message("assistant", (TextBlock("two"),))))
    assert of.max_tokens == 5
    document = {"model": "other", "max_tokens": 5, "future": 1, "messages": [user("one"), assistant([text("two")])]}
    assert written(of) == document
    assert json.loads(of.body_with(model="third")) == document | {"model": "third"}


def test_what_is_nested_too_deeply_to_be_edited_is_refused() -> None:
    of = request(user("x"))
    block: Block = TextBlock("deep")
    for _ in range(2000):
        block = ToolResultBlock("a", (block,))
    with pytest.raises(InvalidRequest, match="cannot be edited"):
        of.prompt = replace(of.prompt, messages=(Message("user", (block,)),))


# ---------------------------------------------------------------- any document, any change

words = st.text(max_size=5)
caches = st.sampled_from(["", "5m", "1h"])
raws = st.dictionaries(words, st.integers() | words, max_size=2).map(
    lambda value: msgspec.Raw(msgspec.json.encode(value))
)
texts = st.builds(TextBlock, words, caches)
parts: st.SearchStrategy[Block] = st.one_of(
    texts,
    st.builds(ImageBlock, words, words, cache=caches),
    st.builds(lambda url: ImageBlock(url=url), words.filter(bool)),
    st.builds(DocumentBlock, words, words.filter(bool), title=words, cache=caches),
    st.builds(lambda kind, text, title: DocumentBlock(kind, text=text, title=title), words, words, words),
)
blocks: st.SearchStrategy[Block] = st.one_of(
    parts,
    st.builds(ThinkingBlock, words, words),
    st.builds(lambda data: ThinkingBlock(redacted=data), words.filter(bool)),
    st.builds(ToolUseBlock, words, words, raws, caches),
    st.builds(ToolResultBlock, words, st.lists(parts, max_size=2).map(tuple), st.booleans(), caches),
)
turns = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.lists(blocks, max_size=3).map(tuple))
tools = st.builds(Tool, words.map("t".__add__), words, raws, strict=st.none() | st.booleans(), cache=caches)
prompts = st.builds(
    Prompt,
    system=st.lists(texts, max_size=2).map(tuple),
    messages=st.lists(turns, max_size=4).map(tuple),
    tools=st.lists(tools, max_size=3).map(tuple),
    tool_choice=st.none()
    | st.builds(ToolChoice, st.sampled_from(["auto", "any", "tool", "none"]), words, st.booleans()),
    max_tokens=st.none() | st.integers(0, 9),
    temperature=st.none() | st.floats(0, 1),
    stop=st.lists(words, max_size=2).map(tuple),
    thinking=st.builds(ThinkingControl, effort=words)
    | st.builds(ThinkingControl, st.sampled_from(["off", "on", "adaptive"]), st.none() | st.integers(0, 9), words),
    output_schema=st.none() | raws,
    user=words,
    service_tier=words,
)

odd_blocks = st.sampled_from(
    [
        text("a", more=1),
        text("", cache_control=EPHEMERAL),
        {"type": "novelty", "x": [1.0]},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        result("a", "words", more=1),
        result("a", [text("x", more=2), {"type": "tool_reference", "tool_name": "t"}]),
        call("a", caller={}),
        {"type": "search_result", "title": "T", "source": "s", "content": []},
    ]
)
odd_turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.none() | words | st.lists(odd_blocks, max_size=4),
    },
    optional={
        "output_config": st.sampled_from([{}, {"effort": "low"}, {"effort": "high", "x": 1}]),
        "more": st.just(1),
    },
)
documents = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(odd_turns, max_size=5)},
    optional={
        "system": words
        | st.builds(
            lambda first, rest: first + rest,
            st.sampled_from([[], [ATTRIBUTION], [{"type": "novelty"}]]),
            st.lists(st.sampled_from([text("s"), text("", x=1)]), max_size=3),
        ),
        "tools": st.lists(st.sampled_from([{"name": "a", "x": 1}, {"name": "DeferredToolPlaceholder"}]), max_size=3),
        "thinking": st.sampled_from([{"type": "novel"}, {"type": "adaptive", "display": "omitted"}]),
        "output_config": st.sampled_from([{"effort": "low"}, {"format": {"type": "text"}}]),
        "output_format": st.just({"type": "json_schema", "schema": {}}),
        "metadata": st.just({"user_id": "u", "x": 1}),
        "max_tokens": st.integers(0, 9),
    },
)


def mixed(draw: st.DrawFn, old: Sequence[T], new: Sequence[T]) -> tuple[T, ...]:
    """Some of both, in any order."""
    items = [*old, *new]
    places = draw(st.lists(st.integers(0, len(items) - 1), max_size=len(items) + 1, unique=True)) if items else []
    return tuple(items[place] for place in (sorted(places) if draw(st.booleans()) else places))


@st.composite
def edits(draw: st.DrawFn, old: Prompt) -> Prompt:
    new = draw(prompts)
    fresh = (
        [
            replace(message, content=mixed(draw, message.content, draw(st.lists(blocks, max_size=2))))
            for message in draw(st.lists(st.sampled_from(old.messages), max_size=3))
        ]
        if old.messages
        else []
    )
    return replace(
        new if draw(st.booleans()) else replace(old, messages=new.messages, system=new.system, tools=new.tools),
        messages=mixed(draw, old.messages, [*fresh, *new.messages]),
        system=mixed(draw, old.system, new.system),
        tools=mixed(draw, old.tools, new.tools),
    )


@given(documents, st.booleans(), st.data())
def test_whatever_is_changed_is_what_the_document_says(
    document: dict[str, Any], spaced: bool, data: st.DataObject
) -> None:
    body = json.dumps(document, indent=1 if spaced else None).encode()
    of = PROTOCOL.read(body, {})
    of.prompt = replace(of.prompt)
    assert of.body == body
    for _ in range(2):
        of.prompt = data.draw(edits(of.prompt))
        assert PROTOCOL.read(of.body, {}).prompt == of.prompt
