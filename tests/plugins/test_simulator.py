"""The simulator: who gets a simulated answer, what each model does, and answers from a script."""

import asyncio
import json
import re
from collections.abc import AsyncIterable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest

from penstock import (
    BlockStart,
    BlockStop,
    Database,
    Event,
    Exchange,
    Finish,
    Gateway,
    GatewayError,
    HttpClient,
    InvalidRequest,
    Message,
    ModelInfo,
    NotFound,
    Operation,
    OverBudget,
    Overloaded,
    Prices,
    Prompt,
    PromptTooLong,
    RateLimited,
    Request,
    Response,
    Schema,
    Signature,
    Start,
    Text,
    TextBlock,
    Thinking,
    Tool,
    ToolChoice,
    ToolInput,
    ToolResultBlock,
    Upstream,
    UpstreamFailed,
    Usage,
)
from penstock.options import decode_hook
from penstock.plugin import Handler, Identify
from penstock_simulator import Simulator

T = TypeVar("T")

NOBODY = cast(Any, None)  # these hooks never ask a protocol


class Station(Gateway):
    """A gateway that notes what it should watch."""

    def __init__(self) -> None:
        self.upstreams = {}
        self.watched: list[Path] = []

    def watch(self, path: Path) -> None:
        self.watched.append(path)

    def serve_protocol(self, name: str) -> None:
        raise NotImplementedError

    def add_route(
        self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",), *, shared: bool = False
    ) -> None:
        raise NotImplementedError

    def http(self, allow: Iterable[str] = ()) -> HttpClient:
        raise NotImplementedError

    def identify_by(self, identify: Identify) -> None:
        raise NotImplementedError

    def price_by(self, prices: Prices) -> None:
        raise NotImplementedError

    def read_file(self, path: Path, kind: type[T]) -> T:
        raise NotImplementedError

    def database(self, schema: Schema) -> Database:
        raise NotImplementedError

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        raise NotImplementedError


def simulator(folder: Path = Path(), **options: object) -> Simulator:
    plugin = msgspec.convert(options, Simulator, dec_hook=decode_hook({}))
    vars(plugin)["folder"] = folder
    return plugin


def upstream(name: str, missing: str = "") -> Upstream:
    return Upstream(name=name, protocol=NOBODY, missing=missing)


def exchange(
    model: str = "sim/echo",
    prompt: Prompt | None = None,
    *,
    operation: Operation = "generate",
    headers: Mapping[str, str] | None = None,
    upstreams: tuple[Upstream, ...] = (),
    body: bytes = b"{}",
) -> Exchange:
    return Exchange(
        pipeline="test",
        protocol=NOBODY,
        operation=operation,
        request=Request(body, lambda _: prompt or said("hello there"), model=model),
        headers=headers or {},
        upstreams={each.name: each for each in upstreams},
        started=0.0,
    )


def said(*texts: str, **more: Any) -> Prompt:
    return Prompt(messages=(Message("user", tuple(TextBlock(text) for text in texts)),), **more)


def tool(name: str, schema: object, type: str = "") -> Tool:
    return Tool(name, schema=msgspec.Raw(json.dumps(schema).encode()), type=type)


def stream(response: Response | None) -> AsyncIterable[Event]:
    assert response is not None
    assert isinstance(response.events, AsyncIterable)
    return response.events


async def events(asked: Exchange, plugin: Simulator | None = None) -> list[Event]:
    return [event async for event in stream(await (plugin or simulator()).on_request(asked))]


async def broken_off(asked: Exchange, plugin: Simulator) -> tuple[list[Event], GatewayError]:
    """The events until the answer failed, and how it did."""
    happened: list[Event] = []
    try:
        async for event in stream(await plugin.on_request(asked)):
            happened.append(event)
    except GatewayError as error:
        return happened, error
    raise AssertionError("the answer did not break off")


def text(happened: list[Event]) -> str:
    return "".join(event.text for event in happened if isinstance(event, Text))


async def answer(asked: Exchange, plugin: Simulator | None = None) -> str:
    return text(await events(asked, plugin))


def inputs(happened: list[Event]) -> list[tuple[str, Any]]:
    """The tool calls: name and decoded input."""
    calls: dict[int, list[str]] = {}
    names = {event.index: event.name for event in happened if isinstance(event, BlockStart) and event.name}
    for event in happened:
        if isinstance(event, ToolInput):
            calls.setdefault(event.index, []).append(event.json)
    return [(names[index], json.loads("".join(parts))) for index, parts in calls.items()]


WRITE = tool(
    "Write",
    {
        "type": "object",
        "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["file_path", "content"],
    },
)
BASH = tool("Bash", {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]})

# ---------------------------------------------------------------- whom it answers


async def test_every_answer_says_that_it_is_simulated() -> None:
    asked = exchange("sim/echo")
    response = await simulator().on_request(asked)
    assert response is not None
    assert response.headers == {"x-penstock-simulated": "1"}
    assert (asked.simulated, asked.served_model) == (True, "sim/echo")
    happened = [event async for event in stream(response)]
    assert text(happened) == "[simulated] You said: hello there"


async def test_an_answer_is_a_well_formed_stream_word_by_word() -> None:
    happened = await events(exchange("sim/echo", said("a  b\nc"), body=b'{"a":"' + b"x" * 400 + b'"}'))
    start, opened, *words, closed, usage, finish = happened
    assert isinstance(start, Start)
    assert start.model == "sim/echo"
    assert start.id.startswith("msg_")
    assert (opened, closed, finish) == (BlockStart(0), BlockStop(0), Finish("end_turn"))
    assert [word.text for word in words if isinstance(word, Text)] == [
        "[simulated] ",
        "You ",
        "said: ",
        "a  ",
        "b\n",
        "c",
    ]
    assert isinstance(usage, Usage)
    assert (usage.input, usage.estimated, usage.output) == (102, True, 8)
    assert (start.usage.input, start.usage.output) == (102, 0)


async def test_a_real_name_is_answered_only_while_no_upstream_is_usable() -> None:
    nobody = (upstream("zai", "set ZAI_API_KEY"), *(upstream(name, f"set {name}") for name in "abc"))
    asked = exchange("claude-opus-5-5", upstreams=nobody)
    assert await answer(asked) == (
        "[simulated] No provider is configured yet: zai (set ZAI_API_KEY), a (set a), b (set b) and 1 more. "
        "Set up one of them and start again. You said: hello there"
    )
    assert (asked.simulated, asked.served_model) == (True, "sim/echo")
    usable = exchange("claude-opus-5-5", upstreams=(*nobody, upstream("local")))
    assert await simulator().on_request(usable) is None
    assert not usable.simulated


async def test_without_any_upstream_it_says_so() -> None:
    assert (await answer(exchange("gpt-6"))).startswith(
        "[simulated] No provider is configured: add an upstream to the pipeline. You said"
    )


@pytest.mark.parametrize("name", ["sim/echo", "claude-sim-echo"])
async def test_its_own_names_are_answered_beside_real_upstreams(name: str) -> None:
    asked = exchange(name, upstreams=(upstream("local"),))
    assert await answer(asked) == "[simulated] You said: hello there"
    assert asked.served_model == "sim/echo"


async def test_an_unknown_simulated_model_is_refused_with_those_there_are() -> None:
    for name in ("sim/nonsense", "claude-sim-nonsense"):
        with pytest.raises(NotFound, match=r"'sim/nonsense' is not offered here; there are: sim/echo, sim/tools"):
            await simulator().on_request(exchange(name))


async def test_tokens_are_counted_for_the_names_it_answers() -> None:
    body = b'{"m":"' + b"x" * 392 + b'"}'
    counted = await simulator().on_request(exchange("sim/echo", operation="count_tokens", body=body))
    assert counted is not None
    assert counted.tokens == 100
    real = exchange("glm-5", operation="count_tokens", upstreams=(upstream("local"),))
    assert await simulator().on_request(real) is None


async def test_lists_and_probes_are_left_to_others() -> None:
    for operation in cast(list[Operation], ["list_models", "probe"]):
        assert await simulator().on_request(exchange("", operation=operation)) is None


def test_its_models_stand_at_the_end_of_the_list() -> None:
    for headers, prefix in ({}, "sim/"), ({"anthropic-version": "2023-06-01"}, "claude-sim-"):
        response = Response(models=[ModelInfo(id="glm-5")])
        simulator().on_response(exchange("", operation="list_models", headers=headers), response)
        assert response.models is not None
        first, echo, *others = response.models
        assert first.id == "glm-5"
        assert (echo.id, echo.name, echo.description) == (f"{prefix}echo", "Simulator: echo", "says what it was told")
        assert {other.id for other in others} == {
            prefix + name
            for name in ("tools", "thinking", "slow", "long", "429", "overloaded", "error", "too-long", "cut")
        }


def test_other_answers_pass_as_they_are() -> None:
    response = Response(tokens=3)
    simulator().on_response(exchange(operation="count_tokens"), response)
    assert response.models is None


# ---------------------------------------------------------------- what the models do


async def test_echo_says_the_users_last_words_and_not_the_clients_notes() -> None:
    prompt = Prompt(
        system=(TextBlock("You are an agent."),),
        messages=(
            Message("user", (TextBlock("first"),)),
            Message("assistant", (TextBlock("yes?"),)),
            Message("user", (TextBlock("<system-reminder>\nbe kind\n</system-reminder>"), TextBlock("second"))),
            Message("system", (TextBlock("environment"),)),
        ),
    )
    assert await answer(exchange("sim/echo", prompt)) == "[simulated] You said: second"


async def test_echo_without_words() -> None:
    assert await answer(exchange("sim/echo", Prompt())) == "[simulated] You said nothing in words."


async def test_tools_writes_two_small_files_at_once() -> None:
    prompt = said(
        "go", system=(TextBlock("<env>\nWorking directory: /home/dev/my project\n</env>"),), tools=(BASH, WRITE)
    )
    happened = await events(exchange("sim/tools", prompt))
    assert text(happened).startswith("[simulated] ")
    assert [(name, call["file_path"]) for name, call in inputs(happened)] == [
        ("Write", "/home/dev/my project/penstock-demo.txt"),
        ("Write", "/home/dev/my project/penstock-demo-2.txt"),
    ]
    starts = [event for event in happened if isinstance(event, BlockStart)]
    assert [(start.index, start.kind) for start in starts] == [(0, "text"), (1, "tool_use"), (2, "tool_use")]
    assert starts[1].id != starts[2].id
    assert sum(isinstance(event, ToolInput) for event in happened) > 2  # in pieces, as models send them
    assert happened[-1] == Finish("tool_use")


async def test_the_working_directory_may_stand_in_the_conversation_or_nowhere() -> None:
    for words, folder in (
        ("- Primary working directory: /srv/app.\n", "/srv/app"),
        ("hello", "/tmp"),
        (
            "working directory: /",
            "",
        ),
    ):
        happened = await events(exchange("sim/tools", said(words, tools=(WRITE,))))
        assert inputs(happened)[0][1]["file_path"] == f"{folder}/penstock-demo.txt"


async def test_other_tools_get_what_their_schemas_want() -> None:
    search = tool(
        "search",
        {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "minimum": 3}},
            "required": ["query", "limit"],
        },
    )
    happened = await events(exchange("sim/tools", said("go", tools=(search,))))
    assert inputs(happened) == [
        ("search", {"query": "simulated", "limit": 3}),
        ("search", {"query": "simulated-2", "limit": 3}),
    ]


async def test_a_shell_is_only_made_to_speak() -> None:
    shell = tool(
        "shell",
        {"properties": {"command": {"type": "array", "items": {"type": "string"}}}, "required": ["command"]},
    )
    happened = await events(exchange("sim/tools", said("go", tools=(BASH, shell))))
    assert inputs(happened) == [("Bash", {"command": "echo simulated"}), ("shell", {"command": ["echo", "simulated"]})]


async def test_a_tool_that_needs_more_than_a_path_and_a_content_is_not_taken_for_a_writer() -> None:
    publish = tool(
        "publish",
        {
            "properties": {"path": {"type": "string"}, "content": {"type": "string"}, "repo": {"type": "string"}},
            "required": ["path", "content", "repo"],
        },
    )
    happened = await events(exchange("sim/tools", said("go", tools=(publish, BASH))))
    assert [name for name, _ in inputs(happened)] == ["publish", "Bash"]
    assert inputs(happened)[0][1] == {"path": "simulated", "content": "simulated", "repo": "simulated"}


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        (ToolChoice("auto", parallel=False), ["Write"]),
        (ToolChoice("tool", name="Bash"), ["Bash", "Bash"]),
        (ToolChoice("none"), []),
    ],
)
async def test_the_clients_choice_of_tools_is_kept(choice: ToolChoice, called: list[str]) -> None:
    happened = await events(exchange("sim/tools", said("go", tools=(BASH, WRITE), tool_choice=choice)))
    assert [name for name, _ in inputs(happened)] == called


async def test_tools_that_run_at_a_provider_are_not_called() -> None:
    happened = await events(exchange("sim/tools", said("go", tools=(tool("web", {}, "web_search_20250305"),))))
    assert text(happened) == "[simulated] There is no tool that I could call."
    assert happened[-1] == Finish("end_turn")


async def test_after_the_results_it_says_them_and_ends() -> None:
    results = (
        ToolResultBlock("1", (TextBlock("written\n"),)),
        ToolResultBlock("2", (TextBlock("x" * 300),), is_error=True),
        ToolResultBlock("3", (ToolResultBlock("4"),)),
        ToolResultBlock("5"),
    )
    prompt = Prompt(messages=(Message("user", results), Message("system", ())), tools=(WRITE,))
    happened = await events(exchange("sim/tools", prompt))
    assert text(happened) == (
        "[simulated] The tools have answered:\n1. written\n2. failed: "
        + "x" * 200
        + "...\n3. (ToolResultBlock)\n4. nothing"
    )
    assert happened[-1] == Finish("end_turn")


async def test_a_tool_without_a_json_schema_is_the_clients_mistake() -> None:
    broken = tool("broken", {"type": "object", "properties": [], "required": ["a"]})
    with pytest.raises(InvalidRequest, match="the schema of tool 'broken' is not a valid JSON Schema"):
        await events(exchange("sim/tools", said("go", tools=(broken,))))


async def test_thinking_comes_sealed_before_the_text() -> None:
    happened = await events(exchange("sim/thinking"))
    kinds = [event.kind for event in happened if isinstance(event, BlockStart)]
    assert kinds == ["thinking", "text"]
    thought = "".join(event.text for event in happened if isinstance(event, Thinking))
    assert thought.startswith("[simulated] ")
    seal = happened.index(Signature(0, "simulated"))
    assert happened[seal + 1] == BlockStop(0)
    assert text(happened) == "[simulated] I have thought about it."


async def test_slow_pauses_before_the_first_event_and_before_each_word() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    times: list[float] = []
    async for event in stream(await Simulator(pause=0.02).on_request(exchange("sim/slow"))):
        if isinstance(event, Start | Text):
            times.append(loop.time())
    assert len(times) == 10
    assert all(later - earlier > 0.018 for earlier, later in zip([started, *times], times, strict=False))


@pytest.mark.parametrize(("model", "words"), [("sim/long", 1000), ("sim/long-5000", 5000), ("claude-sim-long-7", 7)])
async def test_long_says_as_many_words_as_it_is_told(model: str, words: int) -> None:
    happened = await events(exchange(model))
    assert len(text(happened).split()) == words + 1
    assert sum(isinstance(event, Text) for event in happened) == words + 1


@pytest.mark.parametrize("model", ["sim/long-0", "sim/long-100001", "sim/long-99999999999", "sim/long-x"])
async def test_long_has_its_limits(model: str) -> None:
    with pytest.raises(NotFound, match=re.escape(model)):
        await simulator().on_request(exchange(model))


@pytest.mark.parametrize(
    ("model", "kind", "status", "retry_after"),
    [
        ("sim/429", RateLimited, 429, 1),
        ("sim/overloaded", Overloaded, 503, None),
        ("sim/error", UpstreamFailed, 502, None),
    ],
)
async def test_refusals_look_like_those_of_upstreams(
    model: str, kind: type[GatewayError], status: int, retry_after: float | None
) -> None:
    asked = exchange(model)
    with pytest.raises(kind) as caught:
        await simulator().on_request(asked)
    assert (caught.value.status, caught.value.retry_after) == (status, retry_after)
    assert caught.value.message.startswith("[simulated] ")
    assert caught.value.headers == {"x-penstock-simulated": "1"}
    assert asked.simulated


async def test_too_long_has_the_wording_that_makes_agents_compact() -> None:
    with pytest.raises(PromptTooLong, match=r"^prompt is too long: 200001 tokens > 200000 maximum$"):
        await simulator().on_request(exchange("sim/too-long"))


async def test_cut_breaks_off_inside_a_block() -> None:
    happened, error = await broken_off(exchange("sim/cut"), simulator())
    assert isinstance(error, UpstreamFailed)
    assert error.message.startswith("[simulated] ")
    assert text(happened).startswith("[simulated] ")
    assert isinstance(happened[-1], Text)


# ---------------------------------------------------------------- structured answers

TITLE = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "sim/echo", "sim/tools", "sim/thinking"])
async def test_a_request_for_json_gets_json(model: str) -> None:
    prompt = said("a title, please", output_schema=msgspec.Raw(json.dumps(TITLE).encode()), tools=(WRITE,))
    assert json.loads(await answer(exchange(model, prompt))) == {"title": "simulated"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"type": ["null", "boolean"]}, False),
        ({"type": "null"}, None),
        ({"type": ["null"]}, None),
        ({"const": 7}, 7),
        ({"enum": ["b", "c"]}, "b"),
        ({}, "simulated"),
        (True, "simulated"),
        ({"type": "string", "minLength": 12}, "simulated..."),
        ({"type": "string", "maxLength": 3}, "sim"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 2}, [0, "simulated"]),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "number", "minimum": 0.5, "maximum": 0.9}, 0.5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, 0.25),
        ({"type": "integer", "minimum": 5, "maximum": 2}, 0),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
                ]
            },
            {"a": 0, "b": False},
        ),
        (
            {
                "$ref": "#/$defs/a~1b",
                "$defs": {"a/b": {"properties": {"x": {"$ref": "#/$defs/n"}}, "required": ["x"]}, "n": {"const": 1}},
            },
            {"x": 1},
        ),
        ({"$ref": "#/$defs/missing/deeper"}, "simulated"),
    ],
)
async def test_the_json_fits_the_schema(schema: object, value: object) -> None:
    prompt = said("go", output_schema=msgspec.Raw(json.dumps(schema).encode()))
    assert json.loads(await answer(exchange("sim/echo", prompt))) == value


async def test_a_schema_without_end_is_answered_all_the_same() -> None:
    twice = {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}
    prompt = said("go", output_schema=msgspec.Raw(json.dumps(twice).encode()))
    assert "simulated" in await answer(exchange("sim/echo", prompt))


async def test_an_output_schema_that_is_none_is_the_clients_mistake() -> None:
    prompt = said("go", output_schema=msgspec.Raw(b'{"type": "object", "required": 5}'))
    with pytest.raises(InvalidRequest, match="the output schema is not a valid JSON Schema"):
        await events(exchange("sim/echo", prompt))


# ---------------------------------------------------------------- answers from a script


def scripted(folder: Path, *entries: object) -> Simulator:
    (folder / "script.json").write_text(json.dumps(entries))
    plugin = simulator(folder, script="script.json")
    plugin.startup(Station())
    return plugin


def test_the_script_is_watched_for_changes(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text("[]")
    station = Station()
    simulator(tmp_path, script="script.json").startup(station)
    assert station.watched == [tmp_path / "script.json"]
    simulator().startup(station)
    assert len(station.watched) == 1


async def test_the_first_entry_that_fits_answers(tmp_path: Path) -> None:
    plugin = scripted(
        tmp_path,
        {"match": "^bye", "answer": [{"type": "text", "text": "see you"}]},
        {"model": "claude-*", "answer": [{"type": "text", "text": "as Claude"}]},
        {"match": "hello", "times": 2, "answer": [{"type": "text", "text": "twice"}]},
        {"match": "hello", "answer": [{"type": "text", "text": "always"}]},
    )
    assert await answer(exchange("sim/any", said("bye bye")), plugin) == "[simulated] see you"
    assert await answer(exchange("claude-opus-5-5"), plugin) == "[simulated] as Claude"
    assert [await answer(exchange("sim/echo"), plugin) for _ in range(4)] == [
        "[simulated] twice",
        "[simulated] twice",
        "[simulated] always",
        "[simulated] always",
    ]
    assert await answer(exchange("claude-sim-echo", said("else")), plugin) == "[simulated] You said: else"


async def test_a_script_never_speaks_for_a_usable_upstream(tmp_path: Path) -> None:
    plugin = scripted(tmp_path, {"answer": [{"type": "text", "text": "mine"}]})
    assert await plugin.on_request(exchange("claude-opus-5-5", upstreams=(upstream("local"),))) is None


async def test_an_entry_says_all_of_an_answer(tmp_path: Path) -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "one"},
        {"type": "text", "text": "one"},
        {"type": "tool_use", "name": "Read", "input": {"file_path": "/x"}},
        {"type": "tool_use", "name": "Read", "id": "toolu_mine"},
    ]
    usage = {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 8}
    happened = await events(exchange("sim/x"), scripted(tmp_path, {"answer": blocks, "usage": usage}))
    assert text(happened) == "[simulated] oneone"
    assert Signature(0, "simulated") in happened
    assert inputs(happened) == [("Read", {"file_path": "/x"}), ("Read", {})]
    starts = [event for event in happened if isinstance(event, BlockStart)]
    assert starts[3].id.startswith("toolu_")
    assert starts[4].id == "toolu_mine"
    assert happened[-2:] == [
        Usage(input=5, output=6, cache_read=7, cache_write=8, estimated=True),
        Finish("tool_use"),
    ]


async def test_an_entry_may_choose_its_stop_reason_and_answer_json(tmp_path: Path) -> None:
    entry = {"answer": [{"type": "text", "text": '{"title": "T"}'}], "stop_reason": "max_tokens"}
    prompt = said("go", output_schema=msgspec.Raw(json.dumps(TITLE).encode()))
    happened = await events(exchange("sim/x", prompt), scripted(tmp_path, entry))
    assert json.loads(text(happened)) == {"title": "T"}
    assert happened[-1] == Finish("max_tokens")


async def test_an_entry_may_refuse_after_a_delay(tmp_path: Path) -> None:
    plugin = scripted(
        tmp_path,
        {"times": 1, "delay": 0.02, "error": {"kind": "rate_limited", "message": "slowly", "retry_after": 2}},
        {"times": 1, "error": {"kind": "prompt_too_long", "tokens": 9, "maximum": 8}},
        {"error": {"kind": "over_budget"}},
    )
    started = asyncio.get_running_loop().time()
    with pytest.raises(RateLimited, match=r"^\[simulated\] slowly$") as caught:
        await plugin.on_request(exchange("sim/x"))
    assert asyncio.get_running_loop().time() - started > 0.018
    assert caught.value.retry_after == 2
    with pytest.raises(PromptTooLong, match="9 tokens > 8 maximum"):
        await plugin.on_request(exchange("sim/x"))
    with pytest.raises(OverBudget, match="an error from the script"):
        await plugin.on_request(exchange("sim/x"))


async def test_an_entry_with_an_answer_and_an_error_breaks_off(tmp_path: Path) -> None:
    entry = {"answer": [{"type": "text", "text": "I was"}], "error": {"kind": "overloaded"}}
    happened, error = await broken_off(exchange("sim/x"), scripted(tmp_path, entry))
    assert isinstance(error, Overloaded)
    assert text(happened) == "[simulated] I was"
    assert not any(isinstance(event, BlockStop | Finish) for event in happened)


TEXT = {"type": "text", "text": "x"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("{", "not JSON: "),
        ("{}", "expected a list of entries"),
        ('["x"]', "entry 1: Expected `object`, got `str`"),
        ("[{}]", "entry 1: an entry needs an `answer` or an `error`"),
        ([{"answer": [TEXT]}, {"answer": [TEXT], "match": "("}], "entry 2: `match` is not a regular expression: "),
        ([{"answer": [TEXT], "mtach": "x"}], "entry 1: Object contains unknown field `mtach`"),
        ([{"answer": [{"type": "image"}]}], "entry 1: Invalid value 'image' - at `answer[0].type`"),
        ([{"answer": [{"type": "tool_use", "name": "x", "input": 1}]}], "at `answer[0].input`"),
        ([{"answer": [TEXT], "times": 0}], "entry 1: Expected `int` >= 1 - at `times`"),
        ([{"answer": [TEXT], "usage": {"input": 1}}], "unknown field `input` - at `usage`"),
        ([{"error": {"kind": "lost"}}], "entry 1: Invalid enum value 'lost' - at `error.kind`"),
    ],
)
def test_a_bad_script_refuses_to_start_and_says_where(tmp_path: Path, script: Any, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(script if isinstance(script, str) else json.dumps(script))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        simulator(tmp_path, script="bad.json").startup(Station())
    assert str(caught.value).startswith(f"script {file}: ")


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json: cannot be read: No such file"):
        simulator(tmp_path, script="nowhere.json").startup(Station())
