"""What providers refuse of a conversation is mended on its way; what is intact is not touched."""

import base64
import io
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penstock import (
    Block,
    ImageBlock,
    Message,
    OtherBlock,
    Prompt,
    TextBlock,
    ThinkingBlock,
    ThinkingControl,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from penstock.testing import MakeGateway, RunningGateway, ScriptedUpstream, chat, messages
from penstock_repair import Repair
from penstock_repair.blocks import SILENT, UNNAMED, cleaned
from penstock_repair.conversation import INTERRUPTED, settled
from penstock_repair.ends import MISSING, ended
from penstock_repair.pictures import Limits, too_large
from penstock_repair.thinking import fitted
from tests.integration.talk import ask, log_lines, prompt

PIPELINE = """
path: /
upstreams:
  main: {protocol: {protocol}, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - repair{options}
  - translation
"""
GONE = "[result of a tool call that is no longer in this conversation]"
LOST = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": INTERRUPTED}], "is_error": True}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(id: str, name: str = "Bash") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {"n": 1.0}}


def result(id: str, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def user(*content: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if len(content) == 1 and isinstance(content[0], str) else [*content]}


def assistant(*content: dict[str, Any] | str) -> dict[str, Any]:
    return user(*content) | {"role": "assistant"}


def system(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "system", "content": content, **more}


async def start(
    gateway: MakeGateway, upstream: ScriptedUpstream, options: str = "", protocol: str = "anthropic"
) -> RunningGateway:
    upstream.always(chat.whole("hello") if protocol == "openai-chat" else messages.whole("hello"))
    return await gateway(PIPELINE, url=upstream.url, options=options, protocol=protocol)


async def mended(
    gateway: MakeGateway, upstream: ScriptedUpstream, body: dict[str, Any], options: str = ""
) -> tuple[dict[str, Any], dict[str, int]]:
    """What the upstream gets, and the repairs in the log."""
    gate = await start(gateway, upstream, options)
    said = await ask(gate.url, body)
    assert said.status == 200, said.body
    (line,) = await log_lines(gate)
    return upstream.calls[0].json(), line.get("repairs", {})


# ---------------------------------------------------------------- what is intact

INTACT: dict[str, list[dict[str, Any]]] = {
    "plain": [user("hi")],
    "prefill": [user("hi"), assistant("{")],
    "tools": [
        user("go"),
        assistant(text("so"), call("a"), call("b")),
        user(result("b", ""), result("a", [])),
        assistant(call("c")),
        user(result("c", [{"type": "tool_reference", "tool_name": "x"}], is_error=True), text("next")),
    ],
    "two messages in a row": [user("go"), assistant("x"), assistant(call("a")), user(result("a")), user("and")],
    "system": [user("hi"), system("be brief"), assistant("x"), user("y"), system([text("z")])],
    "directive": [user("hi"), system([], output_config={"effort": "low"}), user("more")],
    "the same id twice": [user("go"), assistant(call("a")), user(result("a")), assistant(call("a")), user(result("a"))],
    "unknown blocks": [user("go"), assistant({"type": "server_tool_use", "id": "s", "name": "w", "input": {}})],
    "nothing at all": [],
    "nothing but emptiness": [user("")],
}


@pytest.mark.parametrize("conversation", INTACT.values(), ids=INTACT)
async def test_an_intact_request_leaves_as_its_bytes(
    gateway: MakeGateway, upstream: ScriptedUpstream, conversation: list[dict[str, Any]]
) -> None:
    body = json.dumps(prompt() | {"messages": conversation}, indent=1).encode()
    gate = await start(gateway, upstream)
    await ask(gate.url, body)
    (line,) = await log_lines(gate)
    assert upstream.calls[0].body == body
    assert "repairs" not in line


async def test_what_cannot_be_read_is_left_to_the_upstream(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    body = json.dumps(prompt() | {"messages": [{"role": "tool", "content": ""}]}).encode()
    gate = await start(gateway, upstream)
    await ask(gate.url, body)
    assert upstream.calls[0].body == body


# ---------------------------------------------------------------- conversations

MENDED: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]] = {
    "a call at the end": (
        [user("go"), assistant(call("a"))],
        [user("go"), assistant(call("a")), user(LOST)],
        {"orphan_call": 1},
    ),
    "a call that the user talked over": (
        [user("go"), assistant(call("a")), user("stop")],
        [user("go"), assistant(call("a")), user(LOST, text("stop"))],
        {"orphan_call": 1},
    ),
    "one of two calls": (
        [user("go"), assistant(call("b"), call("a")), user(result("b"), text("x"))],
        [user("go"), assistant(call("b"), call("a")), user(result("b"), LOST, text("x"))],
        {"orphan_call": 1},
    ),
    "a call before a system message": (
        [user("go"), assistant(call("a")), system("new")],
        [user("go"), assistant(call("a")), user(LOST), system("new")],
        {"orphan_call": 1},
    ),
    "a result without a call": (
        [user(result("x", [text("words"), text("more")]), text("go"))],
        [user(text(f"{GONE}\nwords\n\nmore"), text("go"))],
        {"orphan_result": 1},
    ),
    "a result without a call keeps its picture": (
        [user(result("x", [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]))],
        [user(text(GONE), {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})],
        {"orphan_result": 1},
    ),
    "two results of one call": (
        [user("go"), assistant(call("a")), user(result("a"), result("a", "again"))],
        [user("go"), assistant(call("a")), user(result("a"))],
        {"duplicate_result": 1},
    ),
    "a result behind words": (
        [user("go"), assistant(call("a")), user(text("look"), result("a", more=1))],
        [user("go"), assistant(call("a")), user(result("a", more=1), text("look"))],
        {"moved_result": 1},
    ),
    "a result in a later message of the same turn": (
        [user("go"), assistant(call("a")), user("look"), user(result("a"))],
        [user("go"), assistant(call("a")), user(result("a"), text("look"))],
        {"moved_result": 1},
    ),
    "a result that came too late": (
        [user("go"), assistant(call("a")), user("wait"), assistant("yes"), user(result("a"), text("now"))],
        [user("go"), assistant(call("a")), user(result("a"), text("wait")), assistant("yes"), user(text("now"))],
        {"moved_result": 1},
    ),
    "a system message between a call and its result": (
        [user("go"), assistant(call("a")), system("new"), user(result("a"))],
        [user("go"), assistant(call("a")), user(result("a")), system("new")],
        {"moved_system": 1},
    ),
    "a system message at the beginning": (
        [system("first"), user("go")],
        [user("go"), system("first")],
        {"moved_system": 1},
    ),
    "blank texts": (
        [user(text("go"), text(""), text(" \n")), assistant(call("a")), user(result("a", [text(""), text("x")]))],
        [user(text("go")), assistant(call("a")), user(result("a", [text("x")]))],
        {"empty_text": 3},
    ),
    "empty turns": (
        [user("go"), assistant(""), user(), user("now"), system([text("")])],
        [user("go"), user("now")],
        {"empty_text": 1, "empty_turn": 3},
    ),
    "an empty turn between two calls": (
        [user("go"), assistant(call("a")), user(""), assistant("x")],
        [user("go"), assistant(call("a")), user(LOST), assistant("x")],
        {"orphan_call": 1},
    ),
    "a failure without words": (
        [user("go"), assistant(call("a")), user(result("a", "", is_error=True))],
        [user("go"), assistant(call("a")), user(result("a", SILENT, is_error=True))],
        {"empty_error": 1},
    ),
    "a tool without a name": (
        [user("go"), assistant(call("a", "")), user(result("a"))],
        [user("go"), assistant(call("a", UNNAMED)), user(result("a"))],
        {"empty_tool_name": 1},
    ),
    "blocks on the wrong side": (
        [
            user(
                "go",
            ),
            assistant(result("x", "r")),
            user(call("a")),
        ],
        [user("go"), assistant(text(f"{GONE}\nr")), user(text('[call of the tool Bash: {"n": 1.0}]'))],
        {"misplaced_block": 2},
    ),
    "the assistant begins": (
        [assistant("hello"), user("hi")],
        [user(text(MISSING)), assistant("hello"), user("hi")],
        {"first_turn": 1},
    ),
    "space at the end": (
        [user("go"), assistant(text("so "), text("it is \n"))],
        [user("go"), assistant(text("so "), text("it is"))],
        {"prefill": 1},
    ),
    "nothing but space at the end": ([user("go"), assistant(" ")], [user("go")], {"empty_text": 1, "empty_turn": 1}),
}


@pytest.mark.parametrize(("sent", "expected", "repairs"), MENDED.values(), ids=MENDED)
async def test_conversations_are_mended(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    sent: list[dict[str, Any]],
    expected: list[dict[str, Any]],
    repairs: dict[str, int],
) -> None:
    body = prompt(future=[1.0]) | {"messages": sent}
    got, counted = await mended(gateway, upstream, body)
    assert got == body | {"messages": expected}
    assert counted == repairs


async def test_the_other_turns_keep_their_bytes(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    kept = b'{ "role":"user","content" : [{"type":"text", "text":"\\u0061", "cache_control":{"type":"ephemeral"}}]}'
    body = b'{"model":"m", "temperature":1e0,"messages":[%b,{"role":"assistant","content":" "}]}' % kept
    gate = await start(gateway, upstream)
    await ask(gate.url, body)
    assert upstream.calls[0].body == b'{"model":"m", "temperature":1e0,"messages":[%b]}' % kept


async def test_other_formats_and_counts_get_the_mended_conversation(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await start(gateway, upstream, protocol="openai-chat")
    broken = [
        user("go"),
        assistant(call("a", "")),
        user(
            "x",
        ),
    ]
    await ask(gate.url, prompt() | {"messages": broken})
    sent = upstream.calls[0].json()["messages"]
    assert [(entry["role"], entry.get("content")) for entry in sent] == [
        ("user", "go"),
        ("assistant", None),
        ("tool", f"Error: {INTERRUPTED}"),
        ("user", "x"),
    ]
    counted = await ask(gate.url, prompt() | {"messages": broken}, path="/v1/messages/count_tokens")
    assert counted.json()["input_tokens"] > 0
    assert [line["repairs"] for line in await log_lines(gate, 2)] == [{"empty_tool_name": 1, "orphan_call": 1}] * 2


async def test_repairs_of_the_answer_are_counted_beside_those_of_the_request(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await start(gateway, upstream)
    upstream.answers(messages.whole("hello", stop="tool_use"))
    await ask(gate.url, prompt() | {"messages": [assistant("hello"), user("hi")]})
    (line,) = await log_lines(gate)
    assert line["repairs"] == {"first_turn": 1, "stop_reason": 1}


async def test_a_repair_is_logged_once(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await start(gateway, upstream)
    with caplog.at_level(logging.INFO):
        await ask(gate.url, prompt() | {"messages": [user("go"), assistant(call("a"), call("b")), user(" ")]})
    lines = [record.getMessage() for record in caplog.records if "mended" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith("mended the conversation: empty_text 1, orphan_call 2")


# ---------------------------------------------------------------- thinking


@pytest.mark.parametrize(
    ("budget", "most", "expected"),
    [
        (2000, 3000, {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}),
        (9000, 3000, {"type": "enabled", "budget_tokens": 2999, "display": "omitted"}),
        (3000, 3000, {"type": "enabled", "budget_tokens": 2999, "display": "omitted"}),
        (10, 3000, {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}),
        (9000, 1025, {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}),
        (9000, 1024, {"type": "disabled"}),
        (9000, 0, {"type": "enabled", "budget_tokens": 9000, "display": "omitted"}),
    ],
)
async def test_a_budget_fits_into_the_answer(
    gateway: MakeGateway, upstream: ScriptedUpstream, budget: int, most: int, expected: dict[str, Any]
) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget, "display": "omitted"}
    got, counted = await mended(gateway, upstream, prompt(thinking=thinking) | {"max_tokens": most})
    assert got["thinking"] == expected
    assert got["max_tokens"] == most
    assert counted == ({} if expected == thinking else {"thinking_budget": 1})


def test_budgets_between_tool_calls_may_exceed_an_answer() -> None:
    control = ThinkingControl("on", 9000)
    of = Prompt(max_tokens=3000, thinking=control, tools=(Tool("t"),))
    repairs: Counter[str] = Counter()
    assert fitted(of, repairs, interleaved=True) is control
    assert not repairs
    assert fitted(of, repairs, interleaved=False) == ThinkingControl("on", 2999)


# ---------------------------------------------------------------- pictures


def picture(width: int, height: int, kind: str = "PNG", mode: str = "RGB", noise: int = 0) -> dict[str, Any]:
    """A picture as an agent sends it; `noise` bytes of it are random, so that it cannot be packed."""
    made = Image.new(mode, (width, height))
    if noise:
        made = Image.frombytes("RGB", (width, height), random.Random(noise).randbytes(width * height * 3))
    out = io.BytesIO()
    made.save(out, kind)
    data = base64.b64encode(out.getvalue()).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind.lower()}", "data": data}}


def opened(block: dict[str, Any]) -> Image.Image:
    source = block["source"]
    made = Image.open(io.BytesIO(base64.b64decode(source["data"])))
    assert source["media_type"] == f"image/{str(made.format).lower()}"
    return made


@pytest.mark.parametrize(
    ("kind", "mode", "becomes"),
    [
        ("PNG", "RGBA", "PNG"),
        ("PNG", "P", "PNG"),
        ("GIF", "P", "PNG"),
        ("JPEG", "RGB", "JPEG"),
        ("WEBP", "RGB", "JPEG"),
    ],
)
async def test_a_picture_with_too_many_pixels_is_scaled_down(
    gateway: MakeGateway, upstream: ScriptedUpstream, kind: str, mode: str, becomes: str
) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    body = prompt() | {"messages": [user(picture(900, 300, kind, mode) | mark, text("what is it?"))]}
    got, counted = await mended(gateway, upstream, body, ": {image_edge: 600}")
    block, words = got["messages"][0]["content"]
    assert opened(block).size == (600, 200)
    assert opened(block).format == becomes
    assert block["cache_control"] == mark["cache_control"]
    assert words == text("what is it?")
    assert counted == {"image": 1}


async def test_a_picture_with_too_many_bytes_is_scaled_down_until_it_fits(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    body = prompt() | {"messages": [user(picture(700, 700, noise=1)), assistant("x"), user("y")]}
    got, counted = await mended(gateway, upstream, body, ": {image_bytes: 200000}")
    (block,) = got["messages"][0]["content"]
    assert len(block["source"]["data"]) <= 200_000
    assert opened(block).width == opened(block).height >= 200
    assert got["messages"][1:] == body["messages"][1:]
    assert counted == {"image": 1}


async def test_many_pictures_have_to_be_smaller(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    small = picture(10, 10)
    shown = user(result("a", [picture(300, 30), text("seen")]), small)
    body = prompt() | {"messages": [user("go"), assistant(call("a")), shown]}
    gate = await start(gateway, upstream, ": {many_images: 2, many_images_edge: 100}")
    for more in ([], [small], [small]):
        await ask(gate.url, body | {"messages": [*body["messages"], user(*more, text("z"))]})
    first, second, third = (sent.json()["messages"][2]["content"] for sent in upstream.calls)
    assert first == shown["content"]
    assert opened(second[0]["content"][0]).size == (100, 10)
    assert second[0]["content"][1] == text("seen")
    assert second[1] == small
    assert third == second, "a longer conversation begins like the shorter one"


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (
            base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\x40\0\0\0\x20\0").decode(),
            "",
            " of 16384 x 8192 pixels",
        ),
        ("AAAA" * 50, ": {image_bytes: 100}", ""),
        ("no base64, but long enough", ": {image_bytes: 10}", ""),
        (picture(900, 900, noise=1)["source"]["data"], ": {image_bytes: 500}", " of 900 x 900 pixels"),
    ],
    ids=["bomb", "nonsense", "not base64", "too small to be seen"],
)
async def test_words_take_the_place_of_a_picture_that_cannot_be_made_smaller(
    gateway: MakeGateway, upstream: ScriptedUpstream, data: str, options: str, words: str
) -> None:
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    got, _ = await mended(gateway, upstream, prompt() | {"messages": [user(block)]}, options)
    assert got["messages"] == [user(text(f"[A picture{words} was left out here: it is too large.]"))]


async def test_a_picture_whose_size_nobody_has_read_is_not_unpacked_if_it_is_too_large(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    out = io.BytesIO()
    Image.new("L", (9000, 8000)).save(out, "JPEG")
    preview = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    data = base64.b64encode(out.getvalue()[:2] + preview * 5 + out.getvalue()[2:]).decode()
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data}}
    body = prompt() | {"messages": [user(block)]}
    got, _ = await mended(gateway, upstream, body, ": {image_bytes: 100000}")
    assert got["messages"] == [user(text("[A picture was left out here: it is too large.]"))]


async def test_without_the_library_words_take_the_place_of_a_picture(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    body = prompt() | {"messages": [user(picture(900, 300)), user(picture(60, 30))]}
    got, _ = await mended(gateway, upstream, body, ": {image_edge: 600}")
    words = text("[A picture of 900 x 300 pixels was left out here: it is too large.]")
    assert got["messages"] == [user(words), body["messages"][1]]


def test_the_defaults_are_what_the_largest_provider_documents() -> None:
    plugin = Repair()
    limits = Limits(plugin.image_bytes, plugin.image_edge, plugin.many_images, plugin.many_images_edge)
    assert limits == Limits(5 * 1024 * 1024, 8000, 20, 2000)
    assert (
        too_large([Message("user", (ImageBlock("image/png", "A" * limits.bytes), ImageBlock(url="u")))], limits) == []
    )


# ---------------------------------------------------------------- any conversation

ids = st.sampled_from("abc")
inner: st.SearchStrategy[Block] = st.builds(TextBlock, st.sampled_from(["", " ", "x"])) | st.just(OtherBlock("o", "w"))
blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(TextBlock, st.sampled_from(["", "\n", "x", "y "])),
    st.builds(ToolUseBlock, ids, st.sampled_from(["", "Bash"]), st.just(msgspec.Raw(b"{}"))),
    st.builds(ToolResultBlock, ids, st.lists(inner, max_size=2).map(tuple), st.booleans()),
    st.builds(ThinkingBlock, st.just("t"), st.just("s")),
    st.just(OtherBlock("server_tool_use")),
)
turns = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.lists(blocks, max_size=4).map(tuple))


def refusals(conversation: Sequence[Message]) -> list[str]:
    """What the Messages API would complain of; system messages may stand anywhere but before the user's."""
    found: list[str] = []
    sides: list[tuple[str, list[Block]]] = []
    past_system = False
    for message in conversation:
        if message.role == "system":
            past_system = past_system or bool(message.content)
            continue
        found += ["empty turn"] * (not message.content)
        found += ["system before user"] * (message.role == "user" and past_system)
        past_system = False
        if not sides or sides[-1][0] != message.role:
            sides.append((message.role, []))
        sides[-1][1].extend(message.content)
    found += ["the assistant begins"] * (bool(sides) and sides[0][0] != "user")
    calls: list[str] = []
    for role, content in sides:
        results = [block.tool_use_id for block in content if isinstance(block, ToolResultBlock)]
        front = [block for block in content[: len(results)] if isinstance(block, ToolResultBlock)]
        found += ["results are not those of the calls"] * (sorted(results) != sorted(calls))
        found += ["results are not first"] * (len(front) != len(results))
        calls = [block.id for block in content if isinstance(block, ToolUseBlock)]
        found += ["a call of the user"] * bool(calls and role == "user")
        found += ["blank text"] * any(isinstance(block, TextBlock) and not block.text.strip() for block in content)
        found += ["no name"] * any(isinstance(block, ToolUseBlock) and not block.name for block in content)
    found += ["no result"] * bool(calls)
    return found


def repaired(conversation: Sequence[Message]) -> tuple[tuple[Message, ...], Counter[str]]:
    repairs: Counter[str] = Counter()
    return ended(settled(cleaned(conversation, repairs), repairs), repairs), repairs


@given(st.lists(turns, max_size=7))
def test_whatever_was_wrong_is_right_afterwards(conversation: list[Message]) -> None:
    made, repairs = repaired(conversation)
    if any(message.content for message in made):
        assert refusals(made) == []
    again, more = repaired(made)
    assert again == made
    assert not more
    assert bool(repairs) == (made != tuple(conversation))
    assert all(count > 0 for count in repairs.values())
