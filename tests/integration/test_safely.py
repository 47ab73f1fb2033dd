"""The words beside a step's name: when it takes part, what happens if it breaks, time limits, circuits."""

import asyncio
import json
from typing import Any

import pytest

from penstock.testing import MakeGateway, RunningGateway, ScriptedUpstream, messages
from penstock.testing.clock import Clock
from tests.integration.talk import Said, ask, prompt, until

STEP = '''
"""A step that does in its hooks what a client's headers say, and writes down which were called."""
import asyncio
import json
from penstock import Attempt, Exchange, GatewayError, Plugin, Principal, Response, Text, hookimpl


class Step(Plugin):
    """Breaks in the hook that `x-break` names, and hangs in that of `x-hang`, if it is `frail`."""

    frail: bool = False
    model: str = ""
    mark: str = ""

    def write(self, hook: str) -> None:
        with (self.folder / "diary.jsonl").open("a") as file:
            file.write(json.dumps([self.step, hook]) + "\\n")

    def act(self, hook: str, exchange: Exchange) -> None:
        self.write(hook)
        if self.frail and exchange.headers.get("x-break") == hook:
            json.loads("inner detail")

    async def wait(self, hook: str, exchange: Exchange) -> None:
        self.act(hook, exchange)
        if self.frail and exchange.headers.get("x-hang") == hook:
            await asyncio.get_running_loop().create_future()

    @hookimpl
    def startup(self) -> None:
        self.write("startup")

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if self.model:
            exchange.request.model = self.model
        await self.wait("on_request", exchange)

    @hookimpl
    async def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        await self.wait("on_attempt", exchange)

    @hookimpl
    async def on_failure(self, exchange: Exchange, attempt: Attempt, error: GatewayError) -> None:
        await self.wait("on_failure", exchange)

    @hookimpl
    async def on_response(self, exchange: Exchange, response: Response) -> None:
        await self.wait("on_response", exchange)

    @hookimpl
    def on_event(self, exchange: Exchange, event: Text) -> Text | None:
        self.act("on_event", exchange)
        return Text(event.index, event.text + self.mark) if self.mark else None

    @hookimpl
    async def on_error(self, exchange: Exchange, error: GatewayError) -> None:
        await self.wait("on_error", exchange)

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        await self.wait("on_complete", exchange)
'''
WHO = '''
"""Says who is asking."""
from penstock import Exchange, Plugin, Principal, hookimpl

class Who(Plugin):
    """Believes everything."""
    provides = frozenset({"principal"})

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.identify(Principal(user="ann", team=exchange.headers.get("x-team", "")))
'''
LATE = '''
"""Takes part on the way back only."""
from penstock import Plugin, Text, hookimpl

class Late(Plugin):
    """Shouts."""

    @hookimpl
    def on_event(self, event: Text) -> Text:
        return Text(event.index, event.text.upper())
'''
ONLOOKER = STEP.replace("    frail: bool = False", '    if_broken = "skip"\n\n    frail: bool = False')
FILES = {
    "../plugins/step.py": STEP,
    "../plugins/who.py": WHO,
    "../plugins/late.py": LATE,
    "../plugins/onlooker.py": ONLOOKER,
}
PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - who
  - step: {model: "{model}"}
    id: above
  - step: {frail: true, mark: "!"}
    id: subject
    WORDS
  - step: {}
    id: below
  - translation
"""
HOOKS = ["on_request", "on_attempt", "on_failure", "on_response", "on_event", "on_error", "on_complete"]
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def started(
    gateway: MakeGateway, upstream: ScriptedUpstream, words: str, pipeline: str = PIPELINE, model: str = "model-a"
) -> RunningGateway:
    """A gateway in which the step `subject` has these words beside its name."""
    text = pipeline.replace("WORDS", words.strip().replace("\n", "\n    "))
    gate = await gateway(text, url=upstream.url, files=FILES, model=model)
    (gate.place.folder / "diary.jsonl").write_text("")  # without the startups
    return gate


async def diary(gate: RunningGateway, completions: int) -> list[tuple[str, str]]:
    """Steps and hooks that were called, once so many are completed; then forgotten."""
    path = gate.place.folder / "diary.jsonl"
    await until(lambda: path.read_text().count("on_complete") >= completions)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("")
    return [(step, hook) for step, hook in lines]


def hooks_of(step: str, written: list[tuple[str, str]]) -> list[str]:
    """The hooks of one step, each once, in the order of their first call."""
    return list(dict.fromkeys(hook for name, hook in written if name == step))


def error_of(said: Said) -> tuple[str, str]:
    """Kind and message of an error, be it the answer or the end of a stream."""
    error = said.events[-1][1]["error"] if said.body.startswith(b"event:") else said.error
    return error["type"], error["message"]


# ---------------------------------------------------------------- when

TITLE = {"max_tokens": 1, "messages": [{"role": "user", "content": "quota"}]}


@BOTH
@pytest.mark.parametrize(
    ("condition", "headers", "body", "takes_part"),
    [
        ("{header: {X-Beta: 'yes'}}", {"x-beta": "yes"}, {}, True),
        ("{header: {x-beta: 'yes'}}", {"x-beta": "no"}, {}, False),
        ("{header: {x-beta: '*'}}", {}, {}, False),
        ("{not: {header: {x-beta: '*'}}}", {}, {}, True),
        ("{model: model-a}", {}, {"model": "as-named-by-the-client"}, True),
        ("{model: as-named-*}", {}, {"model": "as-named-by-the-client"}, False),
        ("{team: [red, blue]}", {"x-team": "blue"}, {}, True),
        ("{team: [red, blue]}", {"x-team": "green"}, {}, False),
        ("{not: {team: red}}", {"x-team": "red"}, {}, False),
        ("{kind: main}", {}, {}, True),
        ("{kind: [warmup, title]}", {}, {}, False),
        ("{kind: warmup}", {}, TITLE, True),
        ("{operation: count_tokens}", {}, {}, False),
        ("{model: model-*, not: {header: {x-beta: '*'}}}", {"x-beta": ""}, {}, False),
    ],
)
async def test_a_step_takes_part_or_none_of_its_hooks_is_called(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    condition: str,
    headers: dict[str, str],
    body: dict[str, Any],
    takes_part: bool,
    stream: bool,
) -> None:
    upstream.always(messages.stream("hello") if stream else messages.whole("hello"))
    gate = await started(gateway, upstream, f"when: {condition}")
    said = await ask(gate.url, prompt(stream=stream, **body), headers=headers)
    assert (said.status, said.text.replace("!", ""), "!" in said.text) == (200, "hello", takes_part)
    written = await diary(gate, 3 if takes_part else 2)
    all_hooks = ["on_request", "on_attempt", "on_response", "on_event", "on_complete"]
    assert hooks_of("subject", written) == (all_hooks if takes_part else [])
    assert hooks_of("above", written) == hooks_of("below", written) == all_hooks
    assert written.count(("above", "on_complete")) == written.count(("below", "on_complete")) == 1


async def test_steps_that_take_no_part_are_started_all_the_same(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await gateway(
        PIPELINE.replace("WORDS", "when: {model: nothing}"), url=upstream.url, files=FILES, model="model-a"
    )
    assert ["subject", "startup"] in [
        json.loads(line) for line in (gate.place.folder / "diary.jsonl").read_text().splitlines()
    ]


async def test_a_step_without_on_request_has_its_condition_judged_at_its_place(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.always(messages.whole("hello"))
    pipeline = PIPELINE.replace("  - translation", "  - late: {}\n    when: {model: model-b}\n  - translation")
    gate = await started(gateway, upstream, "", pipeline.replace("    WORDS\n", ""), model="model-b")
    assert (await ask(gate.url, prompt(model="other"))).text == "HELLO!"
    other = await started(gateway, upstream, "", pipeline.replace("    WORDS\n", ""))
    assert (await ask(other.url, prompt(model="model-b"))).text == "hello!"


async def test_a_team_of_its_own_plan_has_the_same_conditions(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.whole("hello"))
    teams = "teams:\n  red: {subject: {mark: '?'}}\n  blue: {below: false}\n"
    gate = await started(gateway, upstream, "when: {header: {x-beta: '*'}}", PIPELINE + teams)
    texts = {}
    for team in ("red", "blue", "green"):
        for headers in ({"x-beta": "1"}, {}):
            said = await ask(gate.url, prompt(), headers={"x-team": team, **headers})
            texts[team, bool(headers)] = said.text
    assert texts == {
        ("red", True): "hello?",
        ("red", False): "hello",
        ("blue", True): "hello!",
        ("blue", False): "hello",
        ("green", True): "hello!",
        ("green", False): "hello",
    }
    assert hooks_of("below", [line for line in await diary(gate, 13) if line[0] == "below"])[0] == "on_request"


async def test_several_conditions_are_judged_each_for_itself(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.whole("hello"))
    step = "  - step: {mark: '$'}\n    id: step-$\n    when: {header: {x-$: '*'}}\n"
    steps = "".join(step.replace("$", mark) for mark in "abc")
    pipeline = PIPELINE.replace("  - translation", f"{steps}  - translation")
    gate = await started(gateway, upstream, "when: {model: none}", pipeline)
    for wanted in ("", "a", "b", "c", "ab", "ac", "bc", "abc"):
        said = await ask(gate.url, prompt(), headers={f"x-{mark}": "1" for mark in wanted})
        assert said.text == "hello" + wanted[::-1]


# ---------------------------------------------------------------- on_error


@BOTH
@pytest.mark.parametrize("policy", ["fail", "skip", "deny"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_what_happens_if_a_step_breaks(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
    hook: str,
    policy: str,
    stream: bool,
) -> None:
    refused = hook in ("on_failure", "on_error")
    good = messages.stream("hel", "lo") if stream else messages.whole("hello")
    upstream.always(messages.error(529, "overloaded_error", "busy") if refused else good)
    gate = await started(gateway, upstream, f"on_error: {policy}")
    said = await ask(gate.url, prompt(stream=stream), headers={"x-break": hook})
    if hook == "on_complete" or (policy == "skip" and not refused):
        assert said.status == 200
        assert said.text.replace("!", "") == "hello"
        assert ("!" in said.text) == (hook == "on_complete")
    elif policy == "skip":
        assert (said.status, error_of(said)[0]) == (529, "overloaded_error")
    else:
        begun = stream and hook == "on_event"
        assert said.status == (200 if begun else 500 if policy == "fail" else 403)
        kind, message = error_of(said)
        assert kind == ("api_error" if policy == "fail" else "permission_error")
        assert "'subject'" in message
        assert "the log has request req_" in message
    assert b"inner detail" not in said.body
    assert b"JSONDecodeError" not in said.body
    plugin = gate.place.folder.parent / "plugins" / "step.py"
    line = STEP[: STEP.index("json.loads")].count("\n") + 1
    (told,) = [record.getMessage() for record in caplog.records if "mistake in" in record.getMessage()]
    consequence = {"fail": "", "skip": "; the exchange goes on without it", "deny": "; the exchange is refused"}[policy]
    place = f"mistake in step 'subject' at {plugin.resolve()}:{line}"
    assert told.partition(": ")[2] == place + ("" if hook == "on_complete" else consequence)
    written = await diary(gate, 3 if hook != "on_request" or policy == "skip" else 2)
    reached = ["above", "subject"] + (["below"] if hook != "on_request" or policy == "skip" else [])
    assert sorted(step for step, name in written if name == "on_complete") == sorted(reached)


async def test_a_step_that_broke_hears_no_more_but_the_end(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.stream("a", "b", "c"))
    gate = await started(gateway, upstream, "on_error: skip")
    for hook in ("on_request", "on_attempt", "on_response", "on_event"):
        said = await ask(gate.url, prompt(stream=True), headers={"x-break": hook})
        assert said.text == "abc"
        heard = [name for step, name in await diary(gate, 3) if step == "subject"]
        order = ["on_request", "on_attempt", "on_response", "on_event"]
        assert heard == [*order[: order.index(hook) + 1], "on_complete"]


async def test_a_plugin_says_what_happens_and_the_file_may_overrule_it(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.always(messages.whole("hello"))
    pipeline = PIPELINE.replace("step: {frail: true", "onlooker: {frail: true")
    gate = await started(gateway, upstream, "", pipeline.replace("    WORDS\n", ""))
    assert (await ask(gate.url, prompt(), headers={"x-break": "on_attempt"})).text == "hello"
    strict = await started(gateway, upstream, "on_error: deny", pipeline)
    assert (await ask(strict.url, prompt(), headers={"x-break": "on_attempt"})).status == 403


async def test_a_refusal_is_no_breaking(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    refusing = STEP.replace('json.loads("inner detail")', "raise __import__('penstock').RateLimited('slower')")
    pipeline = PIPELINE.replace("WORDS", "on_error: skip\n    circuit: {failures: 1}")
    gate = await gateway(pipeline, url=upstream.url, model="m", files={**FILES, "../plugins/step.py": refusing})
    for _ in range(3):
        said = await ask(gate.url, prompt(), headers={"x-break": "on_request"})
        assert (said.status, said.error["message"]) == (429, "slower")


# ---------------------------------------------------------------- timeout


@BOTH
@pytest.mark.parametrize("policy", ["fail", "skip", "deny"])
@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook != "on_event"])
async def test_a_hook_that_takes_too_long_has_broken(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
    hook: str,
    policy: str,
    stream: bool,
) -> None:
    refused = hook in ("on_failure", "on_error")
    good = messages.stream("hello") if stream else messages.whole("hello")
    upstream.always(messages.error(529, "overloaded_error", "busy") if refused else good)
    gate = await started(gateway, upstream, f"on_error: {policy}\ntimeout: 30ms")
    said = await ask(gate.url, prompt(stream=stream), headers={"x-hang": hook})
    expected = {"fail": 500, "deny": 403, "skip": 529 if refused else 200}[policy]
    assert said.status == (200 if hook == "on_complete" else expected)
    plugin = (gate.place.folder.parent / "plugins" / "step.py").resolve()
    line = STEP[: STEP.index("await asyncio.get_running_loop")].count("\n") + 1
    await until(lambda: "timeout in step 'subject'" in caplog.text)
    assert f"timeout in step 'subject' at {plugin}:{line}" in caplog.text
    assert f"{hook} took longer than 0.03 s" in caplog.text


async def test_a_client_that_leaves_a_slow_step_ends_it_at_once(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await started(gateway, upstream, "on_error: skip\ntimeout: 1h\ncircuit: {failures: 1}")
    path = gate.place.folder / "diary.jsonl"
    for stream in (True, False):
        leaving = asyncio.ensure_future(ask(gate.url, prompt(stream=stream), headers={"x-hang": "on_request"}))
        await until(lambda: '["subject", "on_request"]' in path.read_text())
        leaving.cancel()
        assert hooks_of("subject", await diary(gate, 2)) == ["on_request", "on_complete"]
    assert "timeout" not in caplog.text
    upstream.always(messages.whole("hello"))
    assert (await ask(gate.url, prompt())).text == "hello!"


# ---------------------------------------------------------------- circuit


@BOTH
@pytest.mark.parametrize(("policy", "status"), [("skip", 200), ("deny", 403), ("fail", 500)])
@pytest.mark.parametrize("hook", ["on_request", "on_attempt", "on_response", "on_event", "on_complete"])
async def test_a_step_that_keeps_breaking_is_left_alone_for_a_while(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    hook: str,
    policy: str,
    status: int,
    stream: bool,
) -> None:
    upstream.always(messages.stream("hello") if stream else messages.whole("hello"))
    gate = await started(gateway, upstream, f"on_error: {policy}\ncircuit: {{failures: 2, pause: 30s}}")
    breaking, calm = {"x-break": hook}, dict[str, str]()
    body = prompt(stream=stream)

    async def subject(headers: dict[str, str]) -> tuple[Said, list[str]]:
        said = await ask(gate.url, body, headers=headers)
        await until(lambda: ended(gate) == 0)
        return said, hooks_of("subject", await diary(gate, 1))

    for _ in range(2):
        assert hook in (await subject(breaking))[1]
    said, heard = await subject(calm)
    assert (said.status, heard) == (status, [])
    clock.advance(30)
    assert hook in (await subject(breaking))[1]  # one may try, and it fails
    assert (await subject(calm))[1] == []
    clock.advance(30)
    for _ in range(2):
        said, heard = await subject(calm)
        assert (said.status, said.text.replace("!", ""), heard[-1]) == (200, "hello", "on_complete")
    told = [record.getMessage() for record in caplog.records if record.name == "penstock"]
    assert [line for line in told if "paused" in line] == [
        f"step 'subject' broke 2 times in a row ({hook}): it is paused for 30 s"
    ]
    assert told.count("step 'subject' works again") == 1


def ended(gate: RunningGateway) -> int:
    """How many exchanges are under way."""
    return gate.host.current._exchanges


async def test_who_is_sent_away_by_a_circuit_learns_for_how_long(
    gateway: MakeGateway, upstream: ScriptedUpstream, clock: Clock
) -> None:
    gate = await started(gateway, upstream, "circuit: {failures: 1, pause: 30s}")
    await ask(gate.url, prompt(), headers={"x-break": "on_request"})
    clock.advance(10)
    said = await ask(gate.url, prompt())
    assert (said.status, said.headers["retry-after"]) == (500, "20")
    assert said.error["message"] == "step 'subject' is paused after repeated failures"


async def test_another_version_of_the_files_starts_with_a_closed_circuit(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.always(messages.whole("hello"))
    gate = await started(gateway, upstream, "circuit: {failures: 1, pause: 1h}")
    await ask(gate.url, prompt(), headers={"x-break": "on_request"})
    assert (await ask(gate.url, prompt())).status == 500
    assert await gate.reload()
    assert (await ask(gate.url, prompt())).status == 200
