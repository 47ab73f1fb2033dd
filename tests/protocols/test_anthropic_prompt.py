"""Messages requests as neutral prompts: every known member, and mistakes that name their place."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    InvalidRequest,
    Message,
    OtherBlock,
    Prompt,
    TextBlock,
    ThinkingBlock,
    ThinkingControl,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from tests.protocols.exchanges import PROTOCOL

CACHE = {"cache_control": {"type": "ephemeral"}}
WEB_SEARCH = {"name": "web_search", "type": "web_search_20250305", "max_uses": 8}


def prompt(*messages: dict[str, Any], **members: Any) -> Prompt:
    body = {"model": "m", "messages": messages, **members}
    return PROTOCOL.read(json.dumps(body).encode(), {}).prompt


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def blocks(*content: Any) -> tuple[Block, ...]:
    made = prompt(user(list(content))).messages
    return made[0].content if made else ()


def marked(block: Block, cache: str) -> Block:
    """The block with a cache mark, if blocks of its kind can have one."""
    return msgspec.structs.replace(block, cache=cache) if "cache" in block.__struct_fields__ else block


def refusal(*messages: Any, **members: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        prompt(*messages, **members)
    return caught.value.message


def test_a_request_of_an_agent() -> None:
    made = prompt(
        user([{"type": "text", "text": "Run ls.", **CACHE}]),
        {"role": "system", "content": "You are in /home.", "output_config": {"effort": "low"}},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "So be it.", "signature": "c2ln"},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls", "n": 1.0}},
            ],
        },
        user(
            [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt", **CACHE},
                {"type": "text", "text": "Next?"},
            ]
        ),
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329; cc_entrypoint=cli;"},
            {"type": "text", "text": "You are an agent.", **CACHE},
        ],
        tools=[
            {"name": "Bash", "description": "Runs.", "input_schema": {"type": "object"}, "eager_input_streaming": True},
            {"name": "DeferredToolPlaceholder", "input_schema": {"type": "object"}, "defer_loading": True},
            {
                "name": "Later",
                "input_schema": {"type": "object"},
                "defer_loading": True,
                "strict": True,
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
            WEB_SEARCH,
        ],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        metadata={"user_id": '{"session_id":"s"}'},
        thinking={"type": "adaptive", "display": "updates"},
        output_config={"effort": "high"},
        context_management={"edits": []},
        max_tokens=128000,
        temperature=0,
        top_p=0.9,
        top_k=5,
        stop_sequences=["</block>"],
        service_tier="standard_only",
        stream=True,
    )
    assert made == Prompt(
        system=(TextBlock("You are an agent.", "5m"),),
        messages=(
            Message("user", (TextBlock("Run ls.", "5m"),)),
            Message("system", (TextBlock("You are in /home."),)),
            Message(
                "assistant",
                (
                    ThinkingBlock("So be it.", "c2ln"),
                    ToolUseBlock("toolu_1", "Bash", msgspec.Raw(b'{"command": "ls", "n": 1.0}')),
                ),
            ),
            Message("user", (ToolResultBlock("toolu_1", (TextBlock("a.txt"),), cache="5m"), TextBlock("Next?"))),
        ),
        tools=(
            Tool("Bash", "Runs.", msgspec.Raw(b'{"type": "object"}')),
            Tool("Later", schema=msgspec.Raw(b'{"type": "object"}'), strict=True, cache="1h"),
            Tool("web_search", type="web_search_20250305", options=msgspec.Raw(json.dumps(WEB_SEARCH).encode())),
        ),
        tool_choice=ToolChoice("auto", parallel=False),
        max_tokens=128000,
        temperature=0.0,
        top_p=0.9,
        top_k=5,
        stop=("</block>",),
        thinking=ThinkingControl("adaptive", None, "low"),
        user='{"session_id":"s"}',
        service_tier="standard_only",
    )


def test_a_prompt_of_nothing_but_messages() -> None:
    assert prompt(user("hi")) == Prompt(messages=(Message("user", (TextBlock("hi"),)),))


def test_a_tier_of_service_that_is_no_word_is_none() -> None:
    assert prompt(user("hi"), service_tier=7) == prompt(user("hi"), service_tier=None) == prompt(user("hi"))


def test_null_is_absent() -> None:
    optional = ["system", "tools", "tool_choice", "temperature", "stop_sequences", "thinking", "metadata"]
    assert prompt(user("hi"), **dict.fromkeys(optional)) == prompt(user("hi"))


@pytest.mark.parametrize(
    ("content", "expected"), [("", ()), ([], ()), (None, ()), ([{"type": "text", "text": ""}], (TextBlock(""),))]
)
def test_turns_without_content_stay_turns(content: Any, expected: tuple[Block, ...]) -> None:
    made = prompt(user("hi"), {"role": "system", "content": content, "output_config": {"effort": "low"}})
    assert made.messages == (Message("user", (TextBlock("hi"),)), Message("system", expected))
    assert made.thinking.effort == "low"


def test_an_attribution_alone_leaves_no_system_prompt() -> None:
    assert prompt(system="x-anthropic-billing-header: cc_version=2").system == ()
    assert prompt(system="Be brief.").system == (TextBlock("Be brief."),)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
            ImageBlock("image/png", "iVBO"),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, ImageBlock(url="https://x/y.png")),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, OtherBlock("image")),
        (
            {
                "type": "document",
                "title": "T",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
            DocumentBlock("application/pdf", "JVBE", title="T"),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            DocumentBlock("text/plain", text="words"),
        ),
        (
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
            },
            DocumentBlock(text="a\nb"),
        ),
        ({"type": "document", "source": {"type": "content", "content": "a"}}, DocumentBlock(text="a")),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
            DocumentBlock(url="https://x/y.pdf"),
        ),
        ({"type": "document", "title": "T", "source": {"type": "file", "file_id": "f"}}, OtherBlock("document", "T")),
        (
            {
                "type": "search_result",
                "title": "T",
                "source": "https://x",
                "content": [{"type": "text", "text": "found"}],
            },
            TextBlock("T\nhttps://x\nfound"),
        ),
        ({"type": "thinking", "thinking": "", "signature": "s"}, ThinkingBlock("", "s")),
        ({"type": "redacted_thinking", "data": "abc"}, ThinkingBlock(redacted="abc")),
        ({"type": "tool_use", "id": "t", "name": "Pwd"}, ToolUseBlock("t", "Pwd", msgspec.Raw(b"{}"))),
        ({"type": "tool_result", "tool_use_id": "t"}, ToolResultBlock("t")),
        (
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "is_error": True,
                "content": [{"type": "tool_reference", "tool_name": "Edit"}],
            },
            ToolResultBlock("t", (OtherBlock("tool_reference", "Edit"),), is_error=True),
        ),
        (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "weather"}},
            OtherBlock("server_tool_use", "web_search\nweather"),
        ),
        (
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": [{"type": "web_search_result", "title": "T", "url": "https://x", "encrypted_content": "Eq"}],
            },
            OtherBlock("web_search_tool_result", "T\nhttps://x"),
        ),
        (
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": {"type": "e", "error_code": "unavailable"},
            },
            OtherBlock("web_search_tool_result", "unavailable"),
        ),
        ({"type": "compaction", "content": "What happened so far."}, OtherBlock("compaction", "What happened so far.")),
        ({"type": "container_upload", "file_id": "f"}, OtherBlock("container_upload")),
        ({"type": "novelty", "text": 7, "source": "x", "input": [True]}, OtherBlock("novelty")),
    ],
)
def test_content_blocks(block: dict[str, Any], expected: Block) -> None:
    assert blocks(block) == (expected,)
    assert blocks(block | CACHE) == (marked(expected, "5m"),)
    assert blocks(block | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}) == (marked(expected, "1h"),)
    for unmarked in (None, {}, {"type": "novel"}, {"type": 7, "ttl": []}):
        assert blocks(block | {"cache_control": unmarked}) == (expected,)


SEEN = {"type": "computer_20251124", "name": "computer", "display_width_px": 1024, "display_height_px": 768}


@pytest.mark.parametrize(
    ("definition", "properties", "commands"),
    [
        ({"type": "bash_20250124", "name": "bash"}, "command restart", ""),
        ({"type": "bash_20241022", "name": "bash"}, "command restart", ""),
        (
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
            "command path view_range file_text old_str new_str insert_line insert_text",
            "view create str_replace insert",
        ),
        (
            {"type": "text_editor_20250124", "name": "str_replace_editor"},
            "command path view_range file_text old_str new_str insert_line",
            "view create str_replace insert undo_edit",
        ),
        (
            {"type": "memory_20250818", "name": "memory"},
            "command path view_range file_text old_str new_str insert_line insert_text old_path new_path",
            "view create str_replace insert delete rename",
        ),
        (
            SEEN | {"type": "computer_20241022"},
            "action coordinate text start_coordinate",
            "key type mouse_move left_click left_click_drag right_click middle_click double_click screenshot "
            "cursor_position",
        ),
        (
            SEEN | {"enable_zoom": True},
            "action coordinate text start_coordinate scroll_direction scroll_amount duration region",
            "key type mouse_move left_click left_click_drag right_click middle_click double_click screenshot "
            "cursor_position left_mouse_down left_mouse_up triple_click scroll hold_key wait zoom",
        ),
    ],
)
def test_tools_that_the_client_runs_have_their_published_schema(
    definition: dict[str, Any], properties: str, commands: str
) -> None:
    (tool,) = prompt(tools=[definition | CACHE]).tools
    schema = json.loads(bytes(tool.schema))
    assert (tool.name, tool.type, tool.cache) == (definition["name"], definition["type"], "5m")
    assert tool.description
    assert list(schema["properties"]) == properties.split()
    first = next(iter(schema["properties"].values()))
    assert first.get("enum", []) == commands.split()
    assert json.loads(bytes(tool.options)) == definition | CACHE


def test_a_computer_says_how_large_its_screen_is_and_zooms_only_if_it_can() -> None:
    (tool,) = prompt(tools=[SEEN]).tools
    assert "1024 pixels wide and 768 high" in tool.description
    assert b"zoom" not in bytes(tool.schema)
    (odd,) = prompt(tools=[SEEN | {"display_width_px": "wide"}]).tools
    assert "wide" not in odd.description


@pytest.mark.parametrize(
    "type",
    [
        "web_search_20260318",
        "web_fetch_20250910",
        "code_execution_20250825",
        "tool_search_tool_bm25_20251119",
        "computer_toolset_20260801",
        "mcp_toolset",
        "novelty",
    ],
)
def test_tools_that_the_provider_runs_have_no_schema(type: str) -> None:
    (tool,) = prompt(tools=[{"type": type, "name": "x", "n": 1.0}]).tools
    assert tool == Tool("x", type=type, options=msgspec.Raw(b'{"type": "%b", "name": "x", "n": 1.0}' % type.encode()))


def test_what_a_client_says_of_a_known_tool_counts() -> None:
    own = {"type": "bash_20250124", "name": "sh", "description": "Mine.", "input_schema": {"type": "object"}}
    (tool,) = prompt(tools=[own]).tools
    assert (tool.description, tool.schema) == ("Mine.", msgspec.Raw(b'{"type": "object"}'))


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 31999}, ThinkingControl("on", 31999)),
        ({"type": "disabled"}, ThinkingControl("off")),
        ({"type": "adaptive"}, ThinkingControl("adaptive")),
        ({"type": "between_tools"}, ThinkingControl("adaptive")),
        ({"type": "novel"}, ThinkingControl("unset")),
    ],
)
def test_thinking(thinking: dict[str, Any], expected: ThinkingControl) -> None:
    assert prompt(thinking=thinking).thinking == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "any"}, ToolChoice("any")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "tool", "name": "Bash"}, ToolChoice("tool", "Bash")),
        ({"type": "novel"}, None),
    ],
)
def test_tool_choice(choice: dict[str, Any], expected: ToolChoice | None) -> None:
    assert prompt(tool_choice=choice).tool_choice == expected


def test_an_output_schema_in_both_places() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    schema = msgspec.Raw(b'{"type": "object"}')
    assert prompt(output_config={"effort": "low", "format": wanted}).output_schema == schema
    assert prompt(output_format=wanted).output_schema == schema
    assert prompt(output_config={"format": {"type": "text"}}).output_schema is None


@pytest.mark.parametrize(
    ("messages", "members", "expected"),
    [
        ([user([{"type": "text", "text": 5}])], {}, "messages[0].content[0].text: expected str, got int"),
        ([user("a"), user([{"type": "image"}])], {}, "messages[1].content[0]: object missing required field source"),
        ([user(["text"])], {}, "messages[0].content[0]: expected object, got str"),
        ([user({"type": "text"})], {}, "messages[0].content: expected str | array | null, got object"),
        (
            [user([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}])],
            {},
            "messages[0].content[0].content[0]: object missing required field text",
        ),
        (
            [user([{"type": "tool_use", "id": "t", "name": "n", "input": "{}"}])],
            {},
            "messages[0].content[0].input: expected object",
        ),
        ([{"role": "tool", "content": "a"}], {}, "messages[0].role: expected user, assistant or system, got 'tool'"),
        ([{"content": "a"}], {}, "messages[0]: object missing required field role"),
        ([], {"system": [{"type": "text", "text": None}]}, "system[0].text: expected str, got null"),
        ([], {"temperature": "hot"}, "temperature: expected float | null, got str"),
        ([], {"tools": [{"description": "nameless"}]}, "tools[0].name: a tool needs a name"),
        ([], {"tools": [{"name": "a", "input_schema": []}]}, "tools[0].input_schema: expected object"),
        ([], {"tools": [{"name": "a"}, {"name": 7}]}, "tools[1].name: expected str, got int"),
        ([], {"tools": ["a"]}, "tools[0]: expected object, got str"),
        ([], {"stop_sequences": ["a", 1]}, "stop_sequences[1]: expected str, got int"),
    ],
)
def test_mistakes_name_their_place(messages: list[Any], members: dict[str, Any], expected: str) -> None:
    assert refusal(*messages, **members) == expected


def test_messages_are_required() -> None:
    with pytest.raises(InvalidRequest, match="object missing required field messages"):
        _ = PROTOCOL.read(b'{"model":"m"}', {}).prompt


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"utf-8|UTF-8"):
        _ = PROTOCOL.read(
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"\xff"}]}]}', {}
        ).prompt


members = st.dictionaries(
    st.sampled_from(
        ["type", "text", "content", "source", "input", "name", "id", "thinking", "role", "data", "tool_use_id"]
    ),
    st.deferred(lambda: values),
    max_size=5,
)
types = st.sampled_from(["text", "image", "document", "search_result", "thinking", "tool_use", "tool_result", "novel"])
values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    types,
    members,
    st.lists(st.deferred(lambda: values), max_size=3),
)


@given(st.lists(st.builds(lambda more, kind: {**more, "type": kind}, members, types), max_size=4))
def test_whatever_the_blocks_are_they_are_read_or_refused_with_their_place(content: list[Any]) -> None:
    try:
        made = prompt(user(content))
    except InvalidRequest as error:
        place = error.message
    else:
        place = "messages[0].content["
        assert sum(len(message.content) for message in made.messages) <= len(content)
    assert place.startswith("messages[0].content[")
