"""The test kit at work: short pipelines, questions and answers, clients, time that is moved, failures."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from penstock import (
    Exchange,
    Forbidden,
    InvalidRequest,
    NotFound,
    OverBudget,
    Overloaded,
    Plugin,
    RateLimited,
    Response,
    StashKey,
    Text,
    TimedOut,
    Unauthenticated,
    Usage,
    hookimpl,
)
from penstock.problems import ConfigError
from penstock.testing import (
    HANG,
    Answer,
    Clock,
    Failure,
    MakeClient,
    MakeGateway,
    MakePipeline,
    MakeUpstream,
    ScriptedUpstream,
    Thought,
    ToolCall,
    assert_valid_stream,
    events_of,
    json_reply,
    messages,
    recorded,
    recorded_names,
)
from penstock.testing.shortened import link_plugins, plugin_folder

FORMATS = ("anthropic", "openai-chat", "openai-responses", "gemini")
SEEN = StashKey[str]()


class Guard(Plugin):
    """Refuse what is too long, and note who asks."""

    longest: int = 10

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.stash[SEEN] = exchange.headers.get("x-user", "nobody")
        if len(exchange.request.prompt.messages[-1].content) > self.longest:
            raise InvalidRequest("too long")

    @hookimpl
    def on_event(self, event: Text) -> Text:
        return Text(event.index, event.text.upper())

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        exchange.stash[SEEN] += " is done"


# ---------------------------------------------------------------- asking


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("speaks", FORMATS)
async def test_a_short_pipeline_and_a_short_answer_in_any_format(
    pipeline: MakePipeline, upstream: ScriptedUpstream, speaks: str, stream: bool
) -> None:
    upstream.answers([Thought("hm"), "hello", ToolCall("Read", {"path": "é"}, "c1")])
    gate = pipeline("plugins: [logging]", speaks=speaks)
    answer = await gate.ask("hi", stream=stream, tools=["Read"], system="be brief")
    assert answer.ok
    assert (answer.status, answer.text, answer.stop_reason) == (200, "hello", "tool_use")
    assert answer.thinking == ("" if speaks == "gemini" and not answer.thinking else "hm")
    assert [(call.name, call.input) for call in answer.tool_calls] == [("Read", {"path": "é"})]
    assert answer.usage.prompt == 11
    assert answer.usage.output >= 7
    assert answer.headers["content-type"] == ("text/event-stream" if stream else "application/json")
    assert b"be brief" in upstream.calls[0].body
    if stream:
        assert_valid_stream(answer.body)


async def test_all_steps_are_through_when_the_answer_is_there(
    pipeline: MakePipeline, upstream: ScriptedUpstream
) -> None:
    upstream.always("hello")
    gate = pipeline("plugins: [{guard: {longest: 1}}]", guard=Guard)
    answers = await asyncio.gather(*(gate.ask("hi", headers={"X-User": f"u{n}"}) for n in range(5)))
    assert [answer.exchange.stash[SEEN] for answer in answers] == [f"u{n} is done" for n in range(5)]
    assert {answer.text for answer in answers} == {"HELLO"}
    assert answers[0].exchange.outcome == "ok"
    assert answers[0].exchange.usage == Usage(input=11, output=7)


class Asks(Plugin):
    """Asks the model something of its own first."""

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if not exchange.asked_by:
            answer = await exchange.ask(self.step, model="small", prompt="who is it?")
            exchange.stash[SEEN] = answer.text


async def test_what_a_plugin_asks_is_not_taken_for_the_clients_exchange(
    pipeline: MakePipeline, upstream: ScriptedUpstream
) -> None:
    upstream.answers("somebody", "hello")
    answer = await pipeline("plugins: [asks]", asks=Asks).ask("hi")
    assert (answer.text, answer.exchange.stash[SEEN], answer.exchange.parent) == ("hello", "somebody", "")
    assert [call.json()["model"] for call in upstream.calls] == ["small", "model-a"]


async def test_further_fields_and_whole_bodies_reach_the_upstream(
    pipeline: MakePipeline, upstream: ScriptedUpstream
) -> None:
    upstream.always("hello")
    gate = pipeline("plugins: [logging]")
    await gate.ask("hi", model="model-b", max_tokens=5, temperature=0.5)
    await gate.ask([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}])
    await gate.ask({"model": "own", "max_tokens": 1, "messages": []}, stream=True)
    first, second, third = (call.json() for call in upstream.calls)
    assert (first["model"], first["max_tokens"], first["temperature"]) == ("model-b", 5, 0.5)
    assert [turn["content"] for turn in second["messages"]] == ["one", "two"]
    assert third == {"model": "own", "max_tokens": 1, "messages": [], "stream": True}


@pytest.mark.parametrize("name", [name for name in recorded_names() if recorded(name).path.startswith("/v1/messages")])
async def test_recorded_requests_can_be_asked(pipeline: MakePipeline, upstream: ScriptedUpstream, name: str) -> None:
    counts = name.endswith("count-tokens")
    upstream.always(json_reply({"input_tokens": 3}) if counts else "hello")
    answer = await pipeline("plugins: [logging]").ask(recorded(name))
    assert answer.status == 200, answer.body
    assert answer.json() == {"input_tokens": 3} if counts else answer.text == "hello"
    assert upstream.calls[0].json()["messages"]


async def test_a_recorded_request_of_another_format_is_refused(pipeline: MakePipeline) -> None:
    with pytest.raises(LookupError, match="codex/first-turn was sent to /v1/responses, which 'anthropic' has not"):
        await pipeline("plugins: [logging]").ask(recorded("codex/first-turn"))


# ---------------------------------------------------------------- the pipeline


async def test_a_full_pipeline_stays_what_it_is(pipeline: MakePipeline, make_upstream: MakeUpstream) -> None:
    other = await make_upstream()
    other.answers("from the other")
    text = """
path: /team
upstreams:
  other: {protocol: openai-chat, url: "{other}", key: "${KEY}"}
plugins:
  - models: {routes: {"*": other/model-x}}
  - translation: {clients: [anthropic]}
"""
    gate = pipeline(text, other=other.url, env={"KEY": "k-$${y}"})
    answer = await gate.ask("hi")
    assert answer.text == "from the other"
    assert gate.host.current.pipelines[0].path == "/team"
    assert [step.id for step in gate.host.current.pipelines[0].instances] == ["witness", "models", "translation"]
    assert other.calls[0].header("authorization") == "Bearer k-$${y}"
    assert other.calls[0].json()["model"] == "model-x"


async def test_mistakes_in_the_text_are_told_as_the_gateway_tells_them(pipeline: MakePipeline) -> None:
    for text, message in (
        ("plugins: [{cache: {tttl: 1m}}]", "unknown option 'tttl'; did you mean 'ttl'?"),
        ("plugins: [{cache: {ttl: 1m}]", "not valid YAML"),
        ("plugin: [cache]", "unknown key 'plugin'; did you mean 'plugins'?"),
        ("plugins: [{cache: {}, on_error: skp}]", "skp"),
        ("plugins: [cash]", "unknown plugin 'cash'; did you mean 'cache'?"),
        ("plugins: [{cache: {ttl: '${LIFE}'}}]", "the environment variable LIFE is not set"),
    ):
        with pytest.raises(ConfigError) as caught:
            await pipeline(text).ask("hi")
        assert message in str(caught.value)


def test_a_class_must_be_where_a_file_can_name_it(pipeline: MakePipeline) -> None:
    class Hidden(Plugin):
        """Made in a function."""

    with pytest.raises(ValueError, match="put it at the top of its module"):
        pipeline("plugins: [hidden]", hidden=Hidden)


LOCAL = """
from penstock import Exchange, Plugin, Response, hookimpl

class Local(Plugin):
    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        response.headers["x-local"] = "WORD"
"""


async def test_local_plugins_are_files_of_the_test(pipeline: MakePipeline, upstream: ScriptedUpstream) -> None:
    upstream.always("hello")
    gate = pipeline("plugins: [local]", files={"../plugins/local.py": LOCAL})
    assert (await gate.ask()).headers["x-local"] == "WORD"
    gate.place.write(LOCAL.replace("WORD", "other"), "../plugins/local.py")
    assert await gate.reload("plugins: [local, logging]")
    answer = await gate.ask()
    assert answer.headers["x-local"] == "other"
    assert answer.exchange.outcome == "ok"


def test_plugins_of_the_project_are_never_written_to(pipeline: MakePipeline, tmp_path: Path) -> None:
    project = tmp_path / "project" / "plugins"
    project.mkdir(parents=True)
    (project / "local.py").write_text("original")
    link_plugins(project, tmp_path / "plugins")
    gate = pipeline("plugins: [local]")
    assert (tmp_path / "plugins" / "local.py").read_text() == "original"
    gate.place.write("changed", "../plugins/local.py")
    assert (tmp_path / "plugins" / "local.py").read_text() == "changed"
    assert (project / "local.py").read_text() == "original"


def test_where_the_local_plugins_of_a_test_are(tmp_path: Path) -> None:
    assert plugin_folder(tmp_path / "plugins/guard/test_guard.py", Path("/x")) == tmp_path / "plugins"
    assert plugin_folder(tmp_path / "tests/test_guard.py", tmp_path) == tmp_path / "plugins"


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("speaks", FORMATS)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_upstream_fails_as_told(
    pipeline: MakePipeline, upstream: ScriptedUpstream, speaks: str, stream: bool
) -> None:
    upstream.fails(Overloaded, RateLimited("slow down", retry_after=3), 429, 500, TimedOut, NotFound)
    gate = pipeline("plugins: [logging]", speaks=speaks)
    kinds = []
    for _ in range(6):
        answer = await gate.ask("hi", stream=stream)
        assert answer.error is not None
        assert answer.text == ""
        kinds.append(answer.error.kind)
    assert kinds == ["overloaded", "rate_limited", "rate_limited", "upstream_failed", "timed_out", "not_found"]


async def test_an_error_says_kind_status_and_message(pipeline: MakePipeline, upstream: ScriptedUpstream) -> None:
    upstream.fails(RateLimited("slow down", retry_after=3))
    gate = pipeline("plugins: [{guard: {longest: 0}}]", guard=Guard)
    assert (await gate.ask("hi", system="x")).error == Failure("invalid_request", 400, "too long")
    gate = pipeline("plugins: [logging]")
    answer = await gate.ask("hi")
    assert answer.error == Failure("rate_limited", 429, "slow down")
    assert answer.headers["retry-after"] == "3"
    assert not answer.ok


class Door(Plugin):
    """Knows nobody."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        raise Forbidden("not you") if exchange.headers.get("x-user") else Unauthenticated("who are you?")


async def test_a_refusal_of_a_plugin_is_told_as_the_client_reads_it(pipeline: MakePipeline) -> None:
    gate = pipeline("plugins: [door]", door=Door)
    assert (await gate.ask()).error == Failure("unauthenticated", 401, "who are you?")
    assert (await gate.ask(headers={"x-user": "ann"}, stream=True)).error == Failure("forbidden", 403, "not you")


class Poor(Plugin):
    """Has no money."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        raise OverBudget("the budget is spent")


async def test_kinds_with_the_same_status_differ(pipeline: MakePipeline) -> None:
    answer = await pipeline("plugins: [poor]", poor=Poor).ask("hi")
    assert answer.error == Failure("over_budget", 429, "the budget is spent")


class Breaks(Plugin):
    """Fails in the middle of an answer."""

    @hookimpl
    def on_event(self, event: Text) -> None:
        raise Overloaded("enough")


async def test_a_stream_that_breaks_off_has_its_error(pipeline: MakePipeline, upstream: ScriptedUpstream) -> None:
    upstream.answers("hello")
    answer = await pipeline("plugins: [breaks]", breaks=Breaks).ask("hi", stream=True)
    assert (answer.status, answer.stop_reason) == (200, "")
    assert answer.error == Failure("overloaded", 200, "enough")
    with pytest.raises(AssertionError, match=r"frame \d+ \(error, byte \d+\): the answer ends in an error"):
        assert_valid_stream(answer.body)


async def test_bytes_that_are_no_request_come_to_no_exchange(pipeline: MakePipeline) -> None:
    answer = await pipeline("plugins: [logging]").client().send(b"{")
    assert answer.error is not None
    assert (answer.error.kind, answer.error.status) == ("invalid_request", 400)
    with pytest.raises(LookupError, match="no exchange"):
        _ = answer.exchange


async def test_a_foreign_path_is_not_answered_in_short(upstream: ScriptedUpstream) -> None:
    upstream.answers("hello")
    upstream.fails(Overloaded)
    async with aiohttp.ClientSession() as session:
        for status, message in ((500, "nobody knows in which format /odd is answered"), (503, "the script fails")):
            async with session.post(f"{upstream.url}/odd") as response:
                assert response.status == status
                assert message in await response.text()


# ---------------------------------------------------------------- clients


async def test_a_client_of_a_format(pipeline: MakePipeline, client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.always("hello")
    with pytest.raises(LookupError, match="there is no gateway yet"):
        client("anthropic")
    gate = pipeline("plugins: [{models: {routes: {'*': main}}}]")
    assert (await client("anthropic").ask("hi")).text == "hello"
    assert (await client(gate=gate).models()).json()["data"] == []
    assert (await gate.client().count("hi")).status == 200
    with pytest.raises(LookupError, match="serves no client of 'gemini'; it serves: anthropic"):
        await client("gemini").ask("hi")


class Replacement(Plugin):
    """Takes the place of the step that serves clients, and serves none."""


async def test_a_pipeline_that_serves_nobody(pipeline: MakePipeline) -> None:
    gate = pipeline("plugins: [translation]", translation=Replacement)
    with pytest.raises(LookupError, match="serves no client: the step 'translation' would"):
        await gate.ask("hi")


async def test_leaving_early(pipeline: MakePipeline, client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello").at(b"event: message_delta", HANG))
    pipeline("plugins: [logging]")
    async with client().opened("hi") as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        assert b"message_start" in await stream.read()
    assert (await stream.exchange()).outcome == "cancelled"
    assert await upstream.calls[0].over() == "gone"


async def test_a_gateway_of_a_whole_file_is_asked_alike(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("hello")
    upstream.fails(503)
    text = 'path: /\nupstreams: {main: {protocol: anthropic, url: "{url}", key: k}}\nplugins: [translation]'
    upstream.answers(messages.error(429, "rate_limit_error", "slow"))
    gate = await gateway(text, url=upstream.url)
    answer: Answer = await gate.ask("hi")
    assert answer.text == "hello"
    assert (await gate.ask("hi")).error == Failure("overloaded", 503, "the script fails with 503")
    assert (await gate.ask("hi", stream=True)).error == Failure("rate_limited", 429, "slow")
    with pytest.raises(LookupError, match="not made by `pipeline`"):
        _ = answer.exchange


# ---------------------------------------------------------------- time


async def test_time_moves_when_told(pipeline: MakePipeline, upstream: ScriptedUpstream, clock: Clock) -> None:
    upstream.answers("one", "two")
    gate = pipeline("plugins: [{cache: {ttl: 1m}}]")
    assert [(await gate.ask("hi")).text for _ in range(2)] == ["one", "one"]
    clock.advance(59)
    assert (await gate.ask("hi")).text == "one"
    clock.advance(1)
    assert (await gate.ask("hi")).text == "two"
    assert len(upstream.calls) == 2


async def test_limits_refill_on_the_clock(pipeline: MakePipeline, upstream: ScriptedUpstream, clock: Clock) -> None:
    upstream.always("hello")
    gate = pipeline("plugins: [{limits: {requests_per_minute: 2, per: pipeline}}]")
    assert [(await gate.ask("hi")).status for _ in range(3)] == [200, 200, 429]
    clock.advance(30)
    assert [(await gate.ask("hi")).status for _ in range(2)] == [200, 429]


class Times(Plugin):
    """Tells the time."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response:
        return Response(events_of(f"{self.clock()} {exchange.started}"))


async def test_plugins_and_exchanges_have_the_time_of_the_test(pipeline: MakePipeline, clock: Clock) -> None:
    gate = pipeline("plugins: [times]", times=Times)
    assert (await gate.ask()).text == "1000.0 1000.0"
    clock.advance(0.5)
    assert (await gate.ask()).text == "1000.5 1000.5"
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)


async def test_without_the_clock_time_passes(pipeline: MakePipeline) -> None:
    gate = pipeline("plugins: [times]", times=Times)
    texts = {(await gate.ask()).text for _ in range(200)}
    assert len(texts) > 1
