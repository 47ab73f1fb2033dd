"""The way of one exchange: in which order the hooks run, what each may do, and which target answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock import (
    Event,
    Exchange,
    Forbidden,
    GatewayError,
    InvalidRequest,
    ModelInfo,
    Overloaded,
    Plugin,
    Principal,
    RateLimited,
    Response,
    Target,
    Text,
    Usage,
    hookimpl,
)
from penstock.testing import CUT, HANG, MakeUpstream, ScriptedUpstream
from tests.core import lines
from tests.core.lane import Render, Witness, along, answer, replies
from tests.core.lines import Strangers, spaced

BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def raises(hook: str, error: Exception) -> dict[str, Any]:
    """A step that fails in a hook."""

    def fail(*_: Any) -> None:
        raise error

    return {hook: fail}


# ---------------------------------------------------------------- the order of hooks


@BOTH
async def test_requests_go_down_and_answers_come_up(upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answers(lines.stream(*answer("hi")) if stream else lines.whole(*answer("hi")))
    diary: list[str] = []
    steps = [Witness(name=name, diary=diary) for name in "ab"]
    async with along(*steps, Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask(stream=stream)
    assert (said.status, said.text) == (200, "hi")
    assert diary == [
        *("a.on_request", "b.on_request", "a.on_attempt", "b.on_attempt"),
        *("b.on_response", "a.on_response", "b.on_complete", "a.on_complete"),
    ]
    assert (said.exchange.outcome, said.exchange.status, said.exchange.error) == ("ok", 200, None)


@BOTH
async def test_what_a_step_answers_travels_through_the_steps_above_it_only(stream: bool) -> None:
    diary: list[str] = []
    steps = [Witness(name=name, diary=diary) for name in "abc"]
    steps[1].does = replies(Response(answer("from b"), status=203, headers={"x-cache": "hit"}))
    async with along(*steps) as lane:
        said = await lane.ask(stream=stream)
    assert (said.status, said.headers["x-cache"], said.text) == (203, "hit", "from b")
    assert diary == ["a.on_request", "b.on_request", "a.on_response", "b.on_complete", "a.on_complete"]


@BOTH
async def test_a_refusal_travels_through_the_steps_above_it_only(stream: bool) -> None:
    diary: list[str] = []
    steps = [Witness(name=name, diary=diary) for name in "abc"]
    steps[1].does = raises("on_request", Forbidden("not you"))
    async with along(*steps) as lane:
        said = await lane.ask(stream=stream)
    assert (said.status, said.error) == (403, ("forbidden", "not you"))
    assert said.headers["request-id"] == said.exchange.id
    assert diary == ["a.on_request", "b.on_request", "a.on_error", "b.on_complete", "a.on_complete"]
    assert (said.exchange.outcome, said.exchange.status) == ("error", 403)


async def test_hooks_may_be_plain_or_async_and_name_what_they_need() -> None:
    class Sparse(Plugin):
        """Names a part of the arguments."""

        @hookimpl
        async def on_request(self) -> Response:
            await asyncio.sleep(0)
            return Response(answer("hi"))

    async with along(Sparse()) as lane:
        assert (await lane.ask()).text == "hi"


# ---------------------------------------------------------------- who asks


async def test_who_asks_decides_which_steps_follow() -> None:
    diary: list[str] = []

    def identify(exchange: Exchange) -> None:
        exchange.identify(Principal(user="ann", team=exchange.headers["x-team"]))

    a, b, c = (Witness(name=name, diary=diary) for name in "abc")
    other = Witness(name="b-of-red", diary=diary)
    last = Witness(name="d", diary=diary, does=replies(Response(answer("hi"))))
    a.does = {"on_request": identify}
    teams = {"red": [a, other, None, last], "blue": [a, None, c, last]}
    async with along(a, b, c, last, teams=teams) as lane:
        asked = {}
        for team in ("red", "blue", "unheard-of"):
            diary.clear()
            await lane.ask(headers={"x-team": team})
            asked[team] = [entry.partition(".")[0] for entry in diary if entry.endswith("on_request")]
            assert sorted(entry.partition(".")[0] for entry in diary if entry.endswith("on_complete")) == asked[team]
    assert asked == {"red": ["a", "b-of-red", "d"], "blue": ["a", "c", "d"], "unheard-of": ["a", "b", "c", "d"]}


# ---------------------------------------------------------------- targets


def aim(*targets: Target) -> dict[str, Any]:
    def set_targets(exchange: Exchange) -> None:
        exchange.targets = list(targets)

    return {"on_request": set_targets}


@BOTH
async def test_targets_are_tried_in_order_until_one_answers(make_upstream: MakeUpstream, stream: bool) -> None:
    first, second, third = await make_upstream(), await make_upstream(), await make_upstream()
    first.answers(lines.error(503, "busy"))
    second.answers(lines.error(429, "slow"))
    third.answers(lines.stream(*answer("third")) if stream else lines.whole(*answer("third")))
    diary: list[str] = []
    witness = Witness(name="a", diary=diary, does=aim(Target("1"), Target("2", "model-b"), Target("3", "model-c")))
    urls = {"1": first.url, "2": second.url, "3": third.url}
    async with along(witness, Render(), upstreams=urls) as lane:
        said = await lane.ask(stream=stream)
    assert said.text == "third"
    assert diary == [
        "a.on_request",
        *("a.on_attempt", "a.on_failure", "a.on_attempt", "a.on_failure", "a.on_attempt"),
        *("a.on_response", "a.on_complete"),
    ]
    assert [one.calls[0].json()["model"] for one in (first, second, third)] == ["model-a", "model-b", "model-c"]
    attempts = said.exchange.attempts
    assert [(attempt.number, attempt.status) for attempt in attempts] == [(1, 503), (2, 429), (3, 200)]
    assert [type(attempt.error) for attempt in attempts] == [Overloaded, RateLimited, type(None)]
    assert all(attempt.seconds > 0 for attempt in attempts)


async def test_an_error_that_no_other_target_mends_ends_the_attempts(make_upstream: MakeUpstream) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(lines.error(400, "bad tools"))
    diary: list[str] = []
    witness = Witness(name="a", diary=diary, does=aim(Target("1"), Target("2")))
    async with along(witness, Render(), upstreams={"1": first.url, "2": second.url}) as lane:
        said = await lane.ask()
    assert (said.status, said.error[0]) == (400, "invalid_request")
    assert "bad tools" in said.error[1]
    assert second.calls == []
    assert diary.count("a.on_failure") == 1


async def test_the_error_of_the_last_target_is_told(make_upstream: MakeUpstream) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(lines.error(503, "busy"))
    second.answers(lines.error(429, "slow"))
    witness = Witness(name="a", does=aim(Target("1"), Target("2")))
    async with along(witness, Render(), upstreams={"1": first.url, "2": second.url}) as lane:
        said = await lane.ask()
    assert (said.status, said.error[0]) == (429, "rate_limited")


async def test_a_step_may_veto_a_target(make_upstream: MakeUpstream) -> None:
    """A circuit breaker, say."""
    first, second = await make_upstream(), await make_upstream()
    second.answers(lines.stream(*answer("second")))

    def refuse(_: Exchange, attempt: Any) -> None:
        if attempt.target.upstream == "1":
            raise Overloaded("the circuit is open")

    witness = Witness(name="a", does={**aim(Target("1"), Target("2")), "on_attempt": refuse})
    async with along(witness, Render(), upstreams={"1": first.url, "2": second.url}) as lane:
        assert (await lane.ask()).text == "second"
    assert first.calls == []


async def test_an_upstream_that_lacks_something_is_passed_over(make_upstream: MakeUpstream) -> None:
    first, second = await make_upstream(), await make_upstream()
    second.answers(lines.stream(*answer("second")))
    witness = Witness(name="a", does=aim(Target("1"), Target("2")))
    urls, missing = {"1": first.url, "2": second.url}, {"1": "set ONE_API_KEY"}
    async with along(witness, Render(), upstreams=urls, missing=missing) as lane:
        said = await lane.ask()
        assert said.text == "second"
        assert str(said.exchange.attempts[0].error) == "upstream '1' cannot be used: set ONE_API_KEY"
    assert first.calls == []


async def test_an_upstream_that_breaks_off_before_it_has_begun_is_no_answer(make_upstream: MakeUpstream) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(lines.stream(answer("x")[0], Usage()).then(CUT))
    second.answers(lines.stream(*answer("second")))
    witness = Witness(name="a", does=aim(Target("1"), Target("2")))
    async with along(witness, Render(), upstreams={"1": first.url, "2": second.url}) as lane:
        assert (await lane.ask()).text == "second"


NOWHERE: dict[str, tuple[dict[str, str], int, str]] = {
    "no upstream": ({}, 404, "no step of the pipeline says where model 'model-a' goes"),
    "several": ({"1": "http://127.0.0.1:9", "2": "http://127.0.0.1:9"}, 404, "says where model 'model-a' goes"),
    "no request": ({"1": "http://127.0.0.1:9"}, 500, "the step 'translation' would"),
}


@pytest.mark.parametrize("name", NOWHERE)
async def test_a_pipeline_without_what_it_needs_says_what_would_help(name: str) -> None:
    urls, status, message = NOWHERE[name]
    async with along(upstreams=urls) as lane:
        said = await lane.ask()
    assert said.status == status
    assert message in said.error[1]


async def test_models_and_token_counts_are_answers_too(upstream: ScriptedUpstream) -> None:
    upstream.replies(200, {"tokens": 17})
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        assert (await lane.ask("count_tokens")).body == b"17"
        refused = await lane.ask("list_models")
        assert (refused.status, refused.error[1]) == (404, "this pipeline lists no models; the step 'models' would")
    listing = Witness(name="a", does=replies(Response(models=[ModelInfo(id="one"), ModelInfo(id="two")])))
    counting = Witness(name="a", does=replies(Response(tokens=5)))
    async with along(listing) as lane:
        assert (await lane.ask("list_models")).body == b'["one","two"]'
    async with along(counting) as lane:
        said = await lane.ask("count_tokens")
        assert (said.body, said.headers["content-type"]) == (b"5", "application/json")


# ---------------------------------------------------------------- errors, mended and not


async def test_a_step_may_make_an_error_clearer() -> None:
    broken = Witness(name="b", does=raises("on_request", InvalidRequest("nope")))
    clearer = Witness(name="a", does={"on_error": lambda _, error: RateLimited(f"{error}, try later")})
    async with along(clearer, broken) as lane:
        said = await lane.ask()
    assert (said.status, said.error) == (429, ("rate_limited", "nope, try later"))


@BOTH
async def test_a_step_may_answer_in_place_of_an_error(upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answers(lines.error(503))
    diary: list[str] = []
    above, mending, below = (Witness(name=name, diary=diary) for name in "abc")
    mending.does = {"on_error": lambda *_: Response(answer("mended"), headers={"x-stale": "1"})}
    async with along(above, mending, below, Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask(stream=stream)
    assert (said.status, said.text, said.headers["x-stale"]) == (200, "mended", "1")
    assert [entry for entry in diary if "error" in entry or "complete" in entry] == [
        *("c.on_error", "b.on_error", "c.on_complete", "b.on_complete", "a.on_complete"),
    ]
    assert (said.exchange.outcome, said.exchange.error) == ("ok", None)


async def test_an_answer_in_place_of_an_error_goes_up_as_any_other() -> None:
    below = Witness(name="c", does=raises("on_request", InvalidRequest("nope")))
    mending = Witness(name="b", does={"on_error": lambda *_: Response(answer("mended"))})
    marking = Witness(name="a", does={"on_response": lambda _, response: response.headers.update({"x-seen": "1"})})
    async with along(marking, mending, below) as lane:
        said = await lane.ask()
    assert (said.text, said.headers["x-seen"], said.exchange.outcome) == ("mended", "1", "ok")
    refusing = Witness(name="a", does=raises("on_response", RateLimited("not that")))
    last = Witness(name="z", does={"on_error": lambda _, error: Response(answer(f"instead of: {error}"))})
    async with along(last, refusing, mending, below) as lane:
        assert (await lane.ask()).text == "instead of: not that"


async def test_an_error_brings_headers_of_its_own() -> None:
    error = RateLimited("slow down", headers={"x-extra": "1", "request-id": "not this"})
    async with along(Witness(name="a", does=raises("on_request", error))) as lane:
        said = await lane.ask()
    assert (said.status, said.headers["x-extra"], said.headers["request-id"]) == (429, "1", said.exchange.id)


@pytest.mark.parametrize(
    "hook", ["on_request", "on_attempt", "on_failure", "on_response", "on_error", "on_complete", "on_event"]
)
async def test_a_mistake_in_a_step_is_located_in_the_log_and_nowhere_else(
    upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    class Hears(Witness):
        """Hears events as well."""

        @hookimpl
        def on_event(self, exchange: Exchange, event: Text) -> Any:
            return self.note("on_event", exchange, event)

    upstream.answers(lines.error(503) if hook in ("on_failure", "on_error") else lines.stream(*answer("hi")))
    mistaken = Hears(name="a", does=raises(hook, ZeroDivisionError("secret detail")))
    async with along(mistaken, Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask()
    if hook == "on_complete":
        assert said.text == "hi"
    else:
        assert said.error == ("internal", f"internal error in step 's0'; the log has request {said.exchange.id}")
        assert said.status == (200 if hook == "on_event" else 500)
        assert isinstance(said.exchange.error, GatewayError)
    assert b"secret detail" not in said.body
    assert b"Traceback" not in said.body
    (record,) = [record for record in caplog.records if "mistake" in record.getMessage()]
    assert record.getMessage().startswith(f"{said.exchange.id}: mistake in step 's0' at {__file__}:")
    assert record.exc_info


async def test_the_steps_above_hear_of_a_mistake_below() -> None:
    diary: list[str] = []
    above = Witness(name="a", diary=diary)
    broken = Witness(name="b", diary=diary, does=raises("on_request", KeyError("x")))
    async with along(above, broken) as lane:
        assert (await lane.ask()).status == 500
    assert diary == ["a.on_request", "b.on_request", "a.on_error", "b.on_complete", "a.on_complete"]


async def test_one_broken_completion_does_not_keep_the_others_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    diary: list[str] = []
    a, b, c = (Witness(name=name, diary=diary) for name in "abc")
    c.does = {**replies(Response(answer("hi"))), **raises("on_complete", KeyError("x"))}
    b.does = raises("on_complete", Overloaded("the ledger is full"))
    async with along(a, b, c) as lane:
        assert (await lane.ask()).text == "hi"
    assert diary[-3:] == ["c.on_complete", "b.on_complete", "a.on_complete"]
    assert "the ledger is full" in caplog.text


async def test_an_answer_without_anything_in_it_is_a_mistake() -> None:
    async with along(Witness(name="a", does=replies(Response()))) as lane:
        for stream in (True, False):
            said = await lane.ask(stream=stream)
            assert (said.status, said.error) == (500, ("internal", "a step gave an answer without events"))


# ---------------------------------------------------------------- answers on their way up


@BOTH
async def test_a_step_may_change_the_answer_it_sees(upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answers(lines.stream(*answer("hi")) if stream else lines.whole(*answer("hi")))

    def add(_: Exchange, response: Response) -> None:
        response.headers["x-added"] = "1"

    async with along(Witness(name="a", does={"on_response": add}), Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask(stream=stream)
    assert (said.headers["x-added"], said.text) == ("1", "hi")


async def test_a_step_may_give_another_status_to_the_answer_it_sees(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.stream(*answer("hi")))
    other = Witness(name="a", does={"on_response": lambda *_: Response(status=203, headers={"x-new": "1"})})
    async with along(other, Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask()
    assert (said.status, said.headers["x-new"], said.text) == (203, "1", "hi")


async def test_a_step_may_put_another_answer_in_place_and_the_upstream_is_left(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.stream(*answer("hi")[:3]).then(HANG))
    other = Witness(name="a", does={"on_response": lambda *_: Response(answer("better"))})
    async with along(other, Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask()
        assert said.text == "better"
        assert await upstream.calls[0].over() == "gone"


@BOTH
async def test_a_relayed_answer_leaves_as_its_bytes(upstream: ScriptedUpstream, stream: bool) -> None:
    reply = lines.stream(*answer("a", "b")) if stream else lines.whole(*answer("a", "b"))
    upstream.answers(reply)
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask(stream=stream)
    assert said.body == reply.payload
    assert (said.exchange.usage.output, said.exchange.stop_reason, said.exchange.served_model) == (2, "end_turn", "m")


@BOTH
async def test_an_answer_in_another_format_is_written_anew(upstream: ScriptedUpstream, stream: bool) -> None:
    reply = lines.stream(*answer("a", "b")) if stream else lines.whole(*answer("a", "b"))
    upstream.answers(reply)
    async with along(Render(), upstreams={"main": upstream.url}, speaks=Strangers()) as lane:
        said = await lane.ask(stream=stream)
    assert said.body != reply.payload
    assert said.events == answer("a", "b")


@pytest.mark.parametrize("asked", [True, False], ids=["stream", "whole"])
async def test_the_client_gets_the_form_it_asked_for(upstream: ScriptedUpstream, asked: bool) -> None:
    """Whatever form the upstream's answer has."""
    upstream.answers(lines.whole(*answer("hi")) if asked else lines.stream(*answer("hi")))
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask(stream=asked)
    assert said.headers["content-type"] == ("text/event-stream" if asked else "application/json")
    assert said.events == answer("hi")
    assert said.body.startswith(b'{"events"') is not asked


async def test_headers_of_the_same_format_are_passed_but_those_of_the_connection(upstream: ScriptedUpstream) -> None:
    kept = {"x_ratelimit_left": "9", "request_id": "req_from_upstream"}
    reply = lines.stream(*answer("hi")).with_headers(**kept, set_cookie="a=b", server="x")
    upstream.answers(reply, reply)
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        headers = (await lane.ask()).headers
    assert (headers["x-ratelimit-left"], headers["request-id"]) == ("9", "req_from_upstream")
    assert not {"set-cookie", "server", "transfer-encoding"} & set(headers)
    async with along(Render(), upstreams={"main": upstream.url}, speaks=Strangers()) as lane:
        said = await lane.ask()
    assert "x-ratelimit" not in said.headers
    assert said.headers["request-id"] == said.exchange.id


async def test_an_error_after_the_first_event_ends_the_stream(make_upstream: MakeUpstream) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(lines.stream(*answer("hi")[:3]).then(CUT))
    diary: list[str] = []
    witness = Witness(name="a", diary=diary, does=aim(Target("1"), Target("2")))
    async with along(witness, Render(), upstreams={"1": first.url, "2": second.url}) as lane:
        said = await lane.ask()
    assert said.status == 200
    assert said.body.splitlines()[:3] == [spaced(event).rstrip() for event in answer("hi")[:3]]
    assert said.error[0] == "upstream_failed"
    assert (second.calls, said.exchange.outcome) == ([], "error")
    assert diary == ["a.on_request", "a.on_attempt", "a.on_response", "a.on_complete"]


async def test_a_whole_answer_that_breaks_off_is_an_error(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.stream(*answer("hi")[:3]).then(CUT))
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask(stream=False)
    assert (said.status, said.error[0]) == (502, "upstream_failed")


# ---------------------------------------------------------------- answers that a step makes as it goes

EVENTS = answer("one", "two")


async def test_a_step_may_make_its_answer_as_it_goes() -> None:
    async def generate() -> AsyncIterator[Event]:
        for event in EVENTS:
            await asyncio.sleep(0)
            yield event

    step = Witness(name="a", does={"on_request": lambda _: Response(generate())})
    async with along(step) as lane:
        assert (await lane.ask()).events == EVENTS
        assert (await lane.ask(stream=False)).events == EVENTS


@BOTH
async def test_a_refusal_before_the_first_event_is_a_status(stream: bool) -> None:
    async def generate() -> AsyncIterator[Event]:
        yield EVENTS[0]
        await asyncio.sleep(0)
        raise RateLimited("slow down", retry_after=3)

    step = Witness(name="a", does={"on_request": lambda _: Response(generate())})
    async with along(step) as lane:
        said = await lane.ask(stream=stream)
    assert (said.status, said.error) == (429, ("rate_limited", "slow down"))


def cannot(after: int) -> AsyncIterator[Event]:
    async def generate() -> AsyncIterator[Event]:
        for event in EVENTS[:after]:
            yield event
        raise ZeroDivisionError("secret detail")

    return generate()


@pytest.mark.parametrize("after", [0, 3], ids=["at once", "later"])
async def test_a_mistake_in_a_generator_is_that_steps(caplog: pytest.LogCaptureFixture, after: int) -> None:
    silent = Witness(name="a")
    step = Witness(name="b", does={"on_request": lambda _: Response(cannot(after))})
    async with along(silent, step) as lane:
        said = await lane.ask()
    assert said.status == (200 if after else 500)
    assert said.error == ("internal", f"internal error in step 's1'; the log has request {said.exchange.id}")
    assert f"mistake in step 's1' at {__file__}:" in caplog.text
    assert b"secret detail" not in said.body


async def test_a_mistake_in_a_list_of_events_is_that_steps(caplog: pytest.LogCaptureFixture) -> None:
    step = Witness(name="a", does={"on_request": lambda _: Response(Text(0, f"{1 / n}") for n in (1, 0))})
    async with along(step) as lane:
        said = await lane.ask()
    assert (said.status, said.error[0]) == (500, "internal")
    assert "mistake in step 's0'" in caplog.text
