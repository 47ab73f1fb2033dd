"""Single hooks, played: what the playbook shows of each, with the real engine around them."""

from collections.abc import Iterable

import pytest

from penstock import (
    Attempt,
    BlockStop,
    EndpointRequest,
    Event,
    Exchange,
    Finish,
    Gateway,
    GatewayError,
    InvalidRequest,
    Overloaded,
    Plugin,
    Principal,
    RateLimited,
    Response,
    StashKey,
    Target,
    Text,
    Usage,
    hookimpl,
)
from penstock.problems import ConfigError
from penstock.protocol import Answer
from penstock.testing import Clock, MakePlaybook, ToolCall, events_of, recorded

HELD = StashKey[list[str]]()


class Redact(Plugin):
    """Take a word out of requests and answers, also where it comes in two parts."""

    word: str

    def __post_init__(self) -> None:
        self.diary: list[str] = []

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        async def endpoint(request: EndpointRequest) -> Answer:
            return Answer(200, {}, b"")

        gateway.add_route("redacted", endpoint)
        self.diary.append("startup")

    @hookimpl
    async def shutdown(self) -> None:
        self.diary.append("shutdown")

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response | None:
        exchange.stash[HELD] = []
        if exchange.request.model == "forbidden":
            raise InvalidRequest("not this model")
        if exchange.request.model == "canned":
            return Response(events_of("canned"), headers={"x-canned": "1"})
        exchange.request.model = exchange.request.model.replace(self.word, "***")
        exchange.targets = [Target("main", "other")]
        return None

    @hookimpl
    def on_event(self, exchange: Exchange, event: Text | BlockStop) -> Event | Iterable[Event]:
        if isinstance(event, BlockStop):
            held = exchange.stash[HELD]
            exchange.stash[HELD] = []
            return [Text(event.index, "".join(held).replace(self.word, "***")), event] if held else event
        exchange.stash[HELD].append(event.text)
        return ()

    @hookimpl
    def on_response(self, response: Response) -> None:
        response.headers["x-redacted"] = "yes"

    @hookimpl
    def on_attempt(self, attempt: Attempt) -> None:
        if attempt.target.model == "closed":
            raise Overloaded("the circuit is open")

    @hookimpl
    def on_failure(self, attempt: Attempt, error: GatewayError) -> None:
        self.diary.append(f"attempt {attempt.number}: {error.message}")

    @hookimpl
    def on_error(self, error: GatewayError) -> GatewayError | Response | None:
        if isinstance(error, RateLimited):
            return Response(events_of("wait a little"))
        return Overloaded(f"please try later: {error.message}") if isinstance(error, Overloaded) else None

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        self.diary.append(f"complete {exchange.outcome} {exchange.usage.output}")


# ---------------------------------------------------------------- what each scene shows


async def test_a_request_that_passes_shows_what_was_changed(playbook: MakePlaybook) -> None:
    played = await playbook(Redact(word="secret")).request("hi", model="my-secret-model")
    assert played.passed
    assert played.error is None
    assert played.exchange.request.model == "my-***-model"
    assert played.exchange.targets == [Target("main", "other")]
    assert played.exchange.outcome == "ok"


async def test_a_request_that_is_refused_or_answered(playbook: MakePlaybook) -> None:
    play = playbook(Redact(word="secret"))
    refused = await play.request(model="forbidden")
    assert refused.error is not None
    assert (refused.passed, refused.error.kind, refused.error.message) == (False, "invalid_request", "not this model")
    answered = await play.request(model="canned")
    assert answered.response is not None
    assert (answered.passed, answered.text) == (False, "canned")
    assert answered.response.headers == {"x-canned": "1"}  # its own answer is not shown to a step


@pytest.mark.parametrize("stream", [False, True])
async def test_events_are_what_leaves_the_plugin(playbook: MakePlaybook, stream: bool) -> None:
    play = playbook(Redact(word="secret"))
    played = await play.event(Text(0, "my sec"), Text(0, "ret"), stream=stream)
    assert played.text == "my ***"
    whole = await play.event(*events_of("a secret", ToolCall("Read", {"a": 1})))
    assert whole.text == "a ***"
    assert whole.tool_calls == [ToolCall("Read", {"a": 1})]
    assert whole.events[-1] == Finish("tool_use")
    assert Usage(input=11, output=7) in whole.events


async def test_an_untouched_event_is_all_there_is(playbook: MakePlaybook) -> None:
    usage = Usage(output=3)
    assert (await playbook(Listener()).event(usage)).events == (usage,)


class Listener(Plugin):
    """Hears, and does nothing."""

    @hookimpl
    def on_event(self, event: Event) -> None: ...


async def test_a_response_and_an_error_on_their_way_up(playbook: MakePlaybook) -> None:
    play = playbook(Redact(word="secret"))
    played = await play.response(Response(status=203, headers={"x-own": "1"}))
    assert played.response is not None
    assert (played.response.status, played.response.headers) == (203, {"x-own": "1", "x-redacted": "yes"})
    clearer = await play.error(Overloaded("full"))
    assert clearer.error is not None
    assert (clearer.error.message, clearer.response) == ("please try later: full", None)
    mended = await play.error(RateLimited("slow"))
    assert (mended.error, mended.text) == (None, "wait a little")


async def test_attempts_and_their_failures(playbook: MakePlaybook) -> None:
    plugin = Redact(word="secret")
    play = playbook(plugin)
    tried = await play.attempt()
    assert tried.attempt is not None
    assert tried.attempt.target == Target("main", "other")
    failed = await play.failure(Overloaded("full"))
    assert failed.error is not None
    assert failed.error.message == "please try later: full"
    assert "attempt 1: full" in plugin.diary


async def test_startup_completion_and_shutdown(playbook: MakePlaybook) -> None:
    plugin = Redact(word="secret")
    play = playbook(plugin)
    await play.complete()
    await play.error(InvalidRequest("no"))
    assert plugin.diary == ["startup", "complete ok 7", "complete error 0"]
    assert (plugin.step, plugin.folder.name) == ("redact", "pipelines")
    await play.close()
    assert plugin.diary[-1] == "shutdown"


async def test_other_operations_and_recorded_requests(playbook: MakePlaybook) -> None:
    play = playbook(Redact(word="secret"))
    assert (await play.request(operation="count_tokens")).exchange.operation == "count_tokens"
    assert (await play.request(operation="list_models")).passed
    played = await play.request(recorded("claude-code/first-turn"))
    assert played.exchange.request.stream
    assert [tool.name for tool in played.exchange.request.prompt.tools] == ["Agent", "Bash"]


class Greet(Plugin):
    """Needs to know who is asking, and when."""

    requires = frozenset({"principal"})

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response:
        assert exchange.principal is not None
        return Response(events_of(f"{exchange.principal.user} at {self.clock():g}"))


async def test_who_asks_and_when(playbook: MakePlaybook, clock: Clock) -> None:
    play = playbook(Greet(), principal=Principal(user="ann"))
    clock.advance(5)
    assert (await play.request()).text == "ann at 1005"
    assert (await play.request(principal=Principal(user="bob"))).text == "bob at 1005"
    assert (await playbook(Greet()).request()).text == "somebody at 1005"


class Asks(Plugin):
    """Asks for another opinion."""

    @hookimpl
    async def on_request(self, exchange: Exchange) -> Response | None:
        if exchange.asked_by:
            return None
        answer = await exchange.ask(self.step, model="other", prompt="what do you think?")
        return Response(events_of(f"they say {answer.text}"))


async def test_a_plugin_that_asks_is_answered(playbook: MakePlaybook) -> None:
    assert (await playbook(Asks()).request()).text == "they say hello"


# ---------------------------------------------------------------- what is wrong shows


class Broken(Plugin):
    """Makes one mistake, where it is told to."""

    where: str

    def fail(self, hook: str) -> None:
        if self.where == hook:
            raise ZeroDivisionError(hook)

    @hookimpl
    def startup(self) -> None:
        self.fail("startup")

    @hookimpl
    def on_request(self) -> None:
        self.fail("on_request")

    @hookimpl
    def on_event(self) -> None:
        self.fail("on_event")

    @hookimpl
    def on_response(self) -> None:
        self.fail("on_response")

    @hookimpl
    async def on_complete(self) -> None:
        self.fail("on_complete")


@pytest.mark.parametrize("hook", ["on_request", "on_event", "on_response", "on_complete"])
async def test_a_mistake_is_raised_as_it_is(playbook: MakePlaybook, hook: str) -> None:
    with pytest.raises(ZeroDivisionError, match=hook):
        await playbook(Broken(where=hook)).complete()


async def test_a_plugin_that_cannot_start(playbook: MakePlaybook) -> None:
    with pytest.raises(ConfigError, match="step 'broken' did not start: startup"):
        await playbook(Broken(where="startup")).request()


class Misspelled(Plugin):
    """Has a hook that does not exist."""

    @hookimpl
    def on_requst(self) -> None: ...


async def test_the_contract_of_hooks_is_checked(playbook: MakePlaybook) -> None:
    with pytest.raises(ConfigError, match="there is no hook 'on_requst'; did you mean 'on_request'"):
        await playbook(Misspelled()).request()
