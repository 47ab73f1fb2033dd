"""The step `cache`: what is answered a second time, for whom, and what never is."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from penstock import Start, StoreUnavailable, Text, Usage
from penstock.problems import ConfigError
from penstock.store import MemoryStore
from penstock.testing import (
    CUT,
    HANG,
    PATIENCE,
    MakeGateway,
    MakeProcess,
    Reply,
    RunningGateway,
    ScriptedUpstream,
    Thought,
    ToolCall,
    chat,
    json_reply,
    messages,
)
from penstock_cache import flights
from penstock_cache.entry import Entry
from penstock_cache.shelf import Shelf
from tests.integration.talk import RELAY, Said, ask, log_lines, opened, prompt, until
from tests.plugins.redis_server import BINARY, RedisServer
from tests.plugins.stores import Clock

WHO = '''
"""Says who is asking, by headers."""
from penstock import EndpointRequest, Exchange, Gateway, Plugin, Principal, Unauthenticated, hookimpl

class Who(Plugin):
    """Believes what it is told."""
    provides = frozenset({"principal"})

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self.seen = 0
        gateway.identify_by(lambda request: self.principal(request.headers))

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.identify(self.principal(exchange.headers))
        self.seen += 1

    def principal(self, headers) -> Principal:
        user, _, team = headers.get("x-user", "").partition("@")
        if not user:
            raise Unauthenticated("who are you?")
        return Principal(user=user, team=team, key=headers.get("x-key", ""), admin=user == "root")
'''
FILES = {"../plugins/who.py": WHO}
CACHE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - who
  - prices: {default: {input: 1, output: 10}}
  - cache: {options}
  - translation
"""
OPEN = CACHE.replace("  - who\n", "")
ANN = {"x-user": "ann@red"}
HELLO = messages.stream("hello")


async def started(gateway: MakeGateway, upstream: ScriptedUpstream, options: str = "", **more: Any) -> RunningGateway:
    """A gateway in which `who` is asking matters."""
    files = {**FILES, **more.pop("files", {})}
    return await gateway(CACHE, url=upstream.url, options=f"{{{options}}}", files=files, **more)


async def put(gate: RunningGateway, text: str = "hi", headers: Mapping[str, str] = ANN, **more: Any) -> Said:
    """Ask, and wait until all steps are through with it."""
    before = len((gate.place.folder / "log.jsonl").read_text().splitlines())
    said = await ask(gate.url, prompt(text, **more), headers=headers)
    await log_lines(gate, before + 1)
    return said


def result(said: Said) -> str:
    assert said.status == 200, said.body
    return said.headers["x-cache"]


def message_of(said: Said) -> dict[str, Any]:
    """The message, streamed or whole, as far as the words of all formats reach."""
    if said.body.startswith(b"{"):
        found = cast("dict[str, Any]", said.json())
        return {name: found[name] for name in ("id", "model", "role", "content", "stop_reason", "stop_sequence")}
    message: dict[str, Any] = {}
    for name, data in said.events:
        if name == "message_start":
            message = {key: data["message"][key] for key in ("id", "model", "role", "content")}
        elif name == "content_block_start":
            message["content"].append(data["content_block"])
        elif name == "content_block_delta":
            block, delta = message["content"][-1], dict(data["delta"])
            kind = delta.pop("type").removesuffix("_delta").replace("input_json", "input")
            text = next(iter(delta.values()))
            block[kind] = (block[kind] or "") + text
        elif name == "message_delta":
            message |= data["delta"]
    for block in message["content"]:
        if isinstance(block.get("input"), str):
            block["input"] = json.loads(block["input"])
    return message


# ---------------------------------------------------------------- a second time


@pytest.mark.parametrize("first", [True, False], ids=["kept of a stream", "kept of a whole"])
async def test_the_same_question_is_asked_once(gateway: MakeGateway, upstream: ScriptedUpstream, first: bool) -> None:
    parts = (Thought("Let me see.", "c2ln"), "The answer is ", "42")
    upstream.answers(messages.stream(*parts) if first else messages.whole(*parts))
    gate = await started(gateway, upstream)
    original = await put(gate, stream=first)
    assert result(original) == "miss"
    for stream in (True, False):
        again = await put(gate, stream=stream)
        assert result(again) == "hit"
        assert int(again.headers["age"]) < PATIENCE
        assert again.headers["content-type"] == ("text/event-stream" if stream else "application/json")
        assert message_of(again) == message_of(original)
    assert len(upstream.calls) == 1


async def test_what_does_not_matter_may_differ(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(HELLO)
    gate = await started(gateway, upstream)
    await put(gate, stream=True, metadata={"user_id": "a"})
    assert result(await put(gate, metadata={"user_id": "b"})) == "hit"
    marked = [{"role": "user", "content": "hi", "cache_control": {"type": "ephemeral"}}]
    assert result(await put(gate, messages=marked)) == "hit"
    upstream.always(HELLO)
    for change in ({"max_tokens": 99}, {"model": "model-b"}, {"temperature": 0}, {"system": "Be brief."}):
        assert result(await put(gate, stream=True, **change)) == "miss"
    assert result(await put(gate, "Hi", stream=True)) == "miss"


async def test_a_translated_answer_keeps_its_name(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(chat.stream("hello", model="what-they-call-it"))
    pipeline = CACHE.replace("protocol: anthropic", "protocol: openai-chat")
    gate = await gateway(pipeline, url=upstream.url, options="{}", files=FILES)
    original, again = await put(gate, stream=True), await put(gate, stream=True)
    assert (result(original), result(again)) == ("miss", "hit")
    assert message_of(again) == message_of(original)
    assert message_of(again)["model"] == "model-a"
    first, second = await log_lines(gate, 2)
    assert first["served_model"] == second["served_model"] == "what-they-call-it"


async def test_the_log_and_the_prices_know_a_replay(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(HELLO)
    gate = await started(gateway, upstream)
    await put(gate)
    await put(gate)
    first, second = await log_lines(gate, 2)
    assert ("cached" in first, second["cached"]) == (False, True)
    assert ("cost_usd" in first, "cost_usd" in second) == (True, False)
    assert first["tokens"] == second["tokens"]
    assert "attempts" not in second


async def test_simulated_answers_say_so_again(gateway: MakeGateway) -> None:
    pipeline = "path: /\nplugins: [{logging: {to: log.jsonl}}, cache, simulator, models, translation]\n"
    gate = await gateway(pipeline)
    for expected in ("miss", "hit"):
        said = await put(gate, model="sim/echo", headers={})
        assert (result(said), said.headers["x-penstock-simulated"]) == (expected, "1")
    assert [line["simulated"] for line in await log_lines(gate, 2)] == [True, True]


async def test_an_answer_outlives_a_restart_in_a_file(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(HELLO)
    for expected in ("miss", "hit"):
        gate = await started(gateway, upstream, files={"gateway.yaml": "store: sqlite:state.db\n"})
        assert result(await put(gate)) == expected
        await gate.close()


async def test_answers_expire(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream, "ttl: 500ms")
    assert result(await put(gate)) == "miss"
    assert result(await put(gate)) == "hit"

    async def asked_again() -> bool:
        return result(await put(gate)) == "miss"

    await eventually(asked_again)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_hit_costs_less_than_a_bare_relay(gateway_process: MakeProcess, upstream: ScriptedUpstream) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc to see what a process has used")
    upstream.always(messages.stream("x" * 100))
    pipelines = {"relay": RELAY, "cache": OPEN}
    gates = {
        name: await gateway_process(text, url=upstream.url, options="{}", name=name) for name, text in pipelines.items()
    }
    used: dict[str, list[float]] = {name: [] for name in gates}
    for _ in range(10):  # in turns, and the best of them: others use this machine, too
        for name, gate in gates.items():
            before = cpu(gate.process.pid)
            for _ in range(20):
                said = await ask(gate.url, prompt(stream=True))
                assert (said.status, len(said.text)) == (200, 100), (said.body, gate.output)
            used[name].append(cpu(gate.process.pid) - before)
    assert min(used["cache"]) < min(used["relay"]), used


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (proc(5))."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


# ---------------------------------------------------------------- what is not kept

CALL = ToolCall("Read", {"path": "a.py"}, id="toolu_1")
NOT_KEPT: Mapping[str, tuple[str, Reply]] = {
    "cut short": ("", messages.stream("hel", stop="max_tokens")),
    "a refusal": ("", messages.stream("No.", stop="refusal")),
    "a pause": ("tool_calls: true", messages.stream("So far", stop="pause_turn")),
    "a tool call": ("", messages.stream("I look.", CALL)),
    "a tool call, whole": ("", messages.whole("I look.", CALL)),
    "an error": ("", messages.error(400, "invalid_request_error", "no")),
    "an overload": ("", messages.error(529, "overloaded_error", "later")),
    "too large": ("largest: 1000", messages.stream("x" * 1001)),
    "too large as it is kept": ("largest: 300", messages.stream("x" * 200)),
    "broken off": ("", HELLO.at(b"event: message_delta", CUT)),
    "failed in the middle": (
        "",
        HELLO.at(
            b"event: content_block_stop",
            messages.frame({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
        ),
    ),
    "what nobody understands": (
        "",
        HELLO.at(b"event: message_delta", messages.frame({"type": "novelty", "with": "everything"})),
    ),
}


@pytest.mark.parametrize(("options", "reply"), NOT_KEPT.values(), ids=NOT_KEPT)
async def test_it_is_not_kept(gateway: MakeGateway, upstream: ScriptedUpstream, options: str, reply: Reply) -> None:
    upstream.always(reply)
    gate = await started(gateway, upstream, options)
    for _ in range(2):
        said = await put(gate, stream=b"event:" in reply.payload)
        assert said.headers.get("x-cache", "miss") == "miss"
    assert len(upstream.calls) == 2


async def test_tool_calls_are_kept_if_asked_for(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("I look.", CALL))
    gate = await started(gateway, upstream, "tool_calls: true")
    original, again, whole = await put(gate, stream=True), await put(gate, stream=True), await put(gate)
    assert (result(original), result(again), result(whole)) == ("miss", "hit", "hit")
    assert message_of(original) == message_of(again) == message_of(whole)


async def test_who_asks_for_one_token_gets_it_again(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.whole("I", stop="max_tokens"))
    gate = await started(gateway, upstream)
    assert result(await put(gate, "quota", max_tokens=1)) == "miss"
    assert result(await put(gate, "quota", max_tokens=1)) == "hit"


async def test_who_asks_for_none_wants_the_provider(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.whole("", stop="max_tokens"))
    gate = await started(gateway, upstream)
    for _ in range(2):
        assert result(await put(gate, max_tokens=0)) == "bypass"


async def test_the_answer_of_a_fallback_is_not_kept(
    gateway: MakeGateway, upstream: ScriptedUpstream, make_upstream: Callable[[], Awaitable[ScriptedUpstream]]
) -> None:
    spare = await make_upstream()
    upstream.answers(messages.error(529, "overloaded_error", "later"))
    spare.answers(messages.stream("from the spare"))
    upstream.answers(HELLO)
    pipeline = OPEN.replace("plugins:", '  spare: {protocol: anthropic, url: "{spare}", key: k}\nplugins:').replace(
        "  - translation", '  - models: {routes: {"*": [main, spare]}}\n  - translation'
    )
    gate = await gateway(pipeline, url=upstream.url, spare=spare.url, options="{}")
    said = [await put(gate) for _ in range(3)]
    assert [(result(one), one.text) for one in said] == [
        ("miss", "from the spare"),
        ("miss", "hello"),
        ("hit", "hello"),
    ]


# ---------------------------------------------------------------- for whom

BOB, EVE, DAN, DEB = ({"x-user": user} for user in ("bob@red", "eve@blue", "dan", "deb"))
SHARED: Mapping[str, tuple[str, list[str]]] = {
    "team": ("", ["miss", "hit", "miss", "miss", "miss", "hit"]),
    "key": ("scope: key", ["miss", "miss", "miss", "miss", "miss", "hit"]),
    "pipeline": ("scope: pipeline", ["miss", "hit", "hit", "hit", "hit", "hit"]),
}


@pytest.mark.parametrize(("options", "expected"), SHARED.values(), ids=SHARED)
async def test_answers_are_shared_no_wider_than_asked(
    gateway: MakeGateway, upstream: ScriptedUpstream, options: str, expected: list[str]
) -> None:
    upstream.always(lambda call: messages.whole(f"answer {len(upstream.calls)}"))
    gate = await started(gateway, upstream, options)
    said = [await put(gate, headers=who) for who in (ANN, BOB, EVE, DAN, DEB, DAN)]
    assert [result(one) for one in said] == expected
    texts = [one.text for one, how in zip(said, expected, strict=True) if how == "miss"]
    assert len(set(texts)) == len(texts)


async def test_two_keys_of_a_user_share_by_team_only(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream)
    for user, expected in (("dan", "miss"), ("ann@red", "hit")):
        await put(gate, headers={"x-user": user, "x-key": "laptop"})
        assert result(await put(gate, headers={"x-user": user, "x-key": "ci"})) == expected


async def test_a_team_can_have_its_own_rules(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.stream("I look.", CALL))
    pipeline = CACHE + "teams: {red: {cache: {tool_calls: true}}, blue: {cache: false}}\n"
    gate = await gateway(pipeline, url=upstream.url, options="{}", files=FILES)
    assert [result(await put(gate, headers=ANN)) for _ in range(2)] == ["miss", "hit"]
    assert [(await put(gate, headers=EVE)).headers.get("x-cache") for _ in range(2)] == [None, None]
    assert [result(await put(gate, headers=DAN)) for _ in range(2)] == ["miss", "miss"]

    async def counted() -> bool:
        return bool((await stats(gate, {"x-user": "root"}))["hits"] == 1)

    await eventually(counted)


async def test_where_nobody_logs_in_the_credential_counts(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await gateway(OPEN, url=upstream.url, options="{}")
    for headers in ({}, {"authorization": "Bearer a"}, {"authorization": "Bearer b"}, {"x-api-key": "a"}):
        assert [result(await put(gate, headers=headers)) for _ in range(2)] == ["miss", "hit"]


async def test_it_may_not_stand_above_the_login(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    pipeline = CACHE.replace("  - who\n", "").replace("  - translation", "  - who\n  - translation")
    with pytest.raises(ConfigError, match="'cache' needs the principal, which 'who' provides further down: move it up"):
        await gateway(pipeline, url=upstream.url, options="{}", files=FILES)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [("ttl: 0", "`ttl` must be above 0"), ("largest: 0", "`largest` must be at least 1"), ("only: [titles]", "title")],
)
async def test_wrong_options_are_refused(
    gateway: MakeGateway, upstream: ScriptedUpstream, options: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        await started(gateway, upstream, options)


# ---------------------------------------------------------------- what clients and operators ask for

WISHES: Mapping[str, tuple[dict[str, str], str, str]] = {
    "bypass": ({"x-penstock-cache": "bypass"}, "bypass", "old"),
    "refresh": ({"x-penstock-cache": "Refresh"}, "miss", "new"),
    "no-store": ({"cache-control": "max-age=0, No-Store"}, "bypass", "old"),
    "no-cache": ({"cache-control": "no-cache"}, "miss", "new"),
    "ours comes first": ({"cache-control": "no-store", "x-penstock-cache": "refresh"}, "miss", "new"),
}


@pytest.mark.parametrize(("headers", "how", "then"), WISHES.values(), ids=WISHES)
async def test_a_client_can_go_past_it(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str], how: str, then: str
) -> None:
    upstream.answers(messages.stream("old"), messages.stream("new"))
    gate = await started(gateway, upstream)
    await put(gate)
    past = await put(gate, headers={**ANN, **headers})
    assert (result(past), past.text) == (how, "new")
    after = await put(gate)
    assert (result(after), after.text) == ("hit", then)
    assert all(call.header("x-penstock-cache") is None for call in upstream.calls)


async def test_a_wish_that_nobody_knows_is_refused(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await started(gateway, upstream)
    said = await put(gate, headers={**ANN, "x-penstock-cache": "off"})
    assert (said.status, said.error["message"]) == (400, "x-penstock-cache: expected bypass or refresh, got 'off'")
    assert upstream.calls == []


async def test_only_some_kinds(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream, "only: [title, topic]")
    title: dict[str, Any] = {"system": "You are a title generator. You output ONLY a thread title."}
    assert [result(await put(gate, **title)) for _ in range(2)] == ["miss", "hit"]
    assert [result(await put(gate)) for _ in range(2)] == ["bypass", "bypass"]


async def test_counts_and_lists_pass(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await started(gateway, upstream)
    upstream.always(Reply(200, {"content-type": "application/json"}, (b'{"input_tokens":7}',)))
    for _ in range(2):
        said = await ask(gate.url, prompt(), path="/v1/messages/count_tokens", headers=ANN)
        assert (said.json(), "x-cache" in said.headers) == ({"input_tokens": 7}, False)
    assert len(upstream.calls) == 2


async def stats(gate: RunningGateway, headers: Mapping[str, str]) -> dict[str, Any]:
    said = await ask(gate.url, method="GET", path="/-/cache", headers=headers)
    assert said.status == 200, said.body
    return cast("dict[str, Any]", said.json())


async def test_what_it_was_good_for_is_counted(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello", input_tokens=1000, output_tokens=100))
    usage = {"input_tokens": 10, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 20, "output_tokens": 1}
    message = {"id": "msg_2", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    upstream.answers(json_reply({**message, "content": [{"type": "text", "text": "x"}], "usage": usage}))
    gate = await gateway(OPEN, url=upstream.url, options="{}")
    for _ in range(3):
        await put(gate, stream=True, headers={})
    await put(gate, headers={"x-penstock-cache": "bypass"})
    counted = await stats(gate, {})
    assert counted == {
        "hits": 2,
        "misses": 1,
        "bypassed": 1,
        "hit_rate": 0.6667,
        "kept": 1,
        "saved": {"input_tokens": 2000, "output_tokens": 200, "cost_usd": 0.004},
        "prompt_cache": {"new_tokens": 1010, "read_tokens": 60, "written_tokens": 20, "hit_rate": 0.055},
    }


async def test_it_forgets_when_told_but_still_counts(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await gateway(OPEN, url=upstream.url, options="{}")
    await put(gate, "a", headers={})
    await put(gate, "b", headers={})
    said = await ask(gate.url, method="DELETE", path="/-/cache")
    assert said.json() == {"forgotten": 2}
    assert result(await put(gate, "a", headers={})) == "miss"
    assert (await stats(gate, {}))["misses"] == 3


LISTED = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - who
  - cache:
    enabled: false
  - translation
teams:
  red: {cache: true}
  blue: {cache: {ttl: 1d}}
"""


async def asked_for(gate: RunningGateway, user: str, path: str, method: str = "GET", **query: str) -> Said:
    return await ask(gate.url, method=method, path=f"/-/{path}?{urlencode(query)}", headers={"x-user": user})


async def entries(gate: RunningGateway, user: str, **query: str) -> list[dict[str, Any]]:
    said = await asked_for(gate, user, "cache/entries", **query)
    assert said.status == 200, said.body
    return cast("list[dict[str, Any]]", said.json()["entries"])


async def filled(gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    """A gateway with an answer for red, two for blue, one of them asked again, and none for the rest."""
    upstream.always(HELLO)
    gate = await gateway(LISTED, url=upstream.url, files=FILES)
    await put(gate, "a", {"x-user": "ann@red"})
    await put(gate, "b", {"x-user": "ben@blue"})
    await put(gate, "c", {"x-user": "ben@blue"}, model="other-model")
    assert result(await put(gate, "c", {"x-user": "bea@blue"}, model="other-model")) == "hit"
    assert "x-cache" not in (await put(gate, "c", {"x-user": "eve"})).headers
    return gate


async def test_everybody_sees_the_entries_that_they_might_get(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await filled(gateway, upstream)

    async def hits() -> bool:
        return [line["hits"] for line in await entries(gate, "ben@blue")] == [1, 0]

    await eventually(hits)
    newest, older = await entries(gate, "ben@blue")
    assert newest["id"].startswith("blue/*/other-model/")
    assert {"model": "other-model", "scope": "team", "team": "blue", "owner": "", "hits": 1}.items() <= newest.items()
    assert 86400 - PATIENCE < newest["ttl_seconds"] <= 86400
    assert 0 <= newest["age_seconds"] <= older["age_seconds"] < PATIENCE
    assert 0 < newest["size_bytes"] < 2000
    assert "events" not in newest
    assert [line["team"] for line in await entries(gate, "ann@red")] == ["red"]
    assert await entries(gate, "eve") == []
    assert len(await entries(gate, "root")) == 3
    assert [line["team"] for line in await entries(gate, "root", team="red")] == ["red"]
    assert [line["model"] for line in await entries(gate, "root", model="oth*")] == ["other-model"]
    said = await asked_for(gate, "root", "cache/entries", limit="2")
    assert (len(said.json()["entries"]), said.json()["more"]) == (2, True)


async def test_nobody_sees_another_team(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await filled(gateway, upstream)
    (theirs,) = await entries(gate, "ann@red")
    for user in ("ben@blue", "root@blue"):
        for query in ({"team": "red"}, {"team": ""}):
            for path in ("cache", "cache/entries"):
                assert (await asked_for(gate, user, path, **query)).status == 403
        assert (await asked_for(gate, user, "cache/entries", id=theirs["id"])).status == 404
    assert (await asked_for(gate, "root@blue", "cache", "DELETE", id=theirs["id"])).status == 404
    assert (await asked_for(gate, "", "cache/entries")).status == 401


async def test_what_an_answer_says_is_for_admins_who_ask(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await filled(gateway, upstream)
    (mine,) = await entries(gate, "ann@red")
    assert (await asked_for(gate, "ann@red", "cache/entries", id=mine["id"], contents="true")).status == 403
    assert (await asked_for(gate, "root", "cache/entries", contents="true")).status == 400
    for admin in ("root", "root@red"):
        (shown,) = await entries(gate, admin, id=mine["id"], contents="true")
        assert "hello" in "".join(event.get("text", "") for event in shown["events"])


async def test_admins_clear_all_or_some(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await filled(gateway, upstream)

    async def forgotten(user: str, **query: str) -> int:
        said = await asked_for(gate, user, "cache", "DELETE", **query)
        assert said.status == 200, said.body
        return int(said.json()["forgotten"])

    assert (await asked_for(gate, "ben@blue", "cache", "DELETE")).status == 403
    (theirs,) = await entries(gate, "ann@red")
    assert await forgotten("root@blue", model="other-*") == 1
    assert [line["team"] for line in await entries(gate, "root")] == ["blue", "red"]
    assert await forgotten("root@blue") == 1
    assert await forgotten("root", id=theirs["id"]) == 1
    assert (await asked_for(gate, "root", "cache", "DELETE", id=theirs["id"])).status == 404
    assert result(await put(gate, "a", {"x-user": "ann@red"})) == "miss"
    assert result(await put(gate, "b", {"x-user": "ben@blue"})) == "miss"
    assert await forgotten("root", team="red") == 1
    assert await forgotten("root") == 1
    assert await entries(gate, "root") == []


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_any_store_lists_and_clears(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path, kind: str
) -> None:
    if kind == "redis" and BINARY is None:
        pytest.skip("needs redis-server or valkey-server")
    server = RedisServer(tmp_path)
    try:
        if kind == "redis":
            await asyncio.to_thread(server.start)
        store = "sqlite:state.db" if kind == "sqlite" else f"{server.url}?timeout=5"
        upstream.always(HELLO)
        gate = await started(gateway, upstream, files={"gateway.yaml": f'store: "{store}"\n'})
        for text in ("a", "b", "a"):
            await put(gate, text)
        assert [line["hits"] for line in await entries(gate, "ann@red")] == [0, 1]
        assert (await asked_for(gate, "root", "cache", "DELETE", model="*")).json() == {"forgotten": 2}
        assert await entries(gate, "root") == []
        assert (await stats(gate, {"x-user": "root"}))["hits"] == 1
    finally:
        server.kill()


async def test_it_is_counted_by_team(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await filled(gateway, upstream)

    async def all_there() -> bool:
        return bool((await stats(gate, {"x-user": "root"}))["misses"] == 3)

    await eventually(all_there)
    whole = await stats(gate, {"x-user": "root"})
    assert [(each["team"], each["hits"], each["misses"]) for each in whole["teams"]] == [("blue", 1, 2), ("red", 0, 1)]
    assert (whole["hits"], whole["kept"]) == (1, 3)
    blue = await stats(gate, {"x-user": "ben@blue"})
    assert "teams" not in blue
    assert blue == {name: value for name, value in whole["teams"][0].items() if name != "team"}
    assert (await stats(gate, {"x-user": "eve"}))["misses"] == 0


@pytest.mark.parametrize(
    ("path", "query", "complaint"),
    [
        ("cache", {"tema": "red"}, "unknown parameter 'tema'; there are: team"),
        ("cache/entries", {"limit": "0"}, "limit: expected a number from 1 to 1000, got '0'"),
        ("cache/entries", {"limit": "many"}, "limit: expected a number from 1 to 1000, got 'many'"),
    ],
)
async def test_a_wrong_question_is_refused(
    gateway: MakeGateway, upstream: ScriptedUpstream, path: str, query: dict[str, str], complaint: str
) -> None:
    gate = await started(gateway, upstream)
    said = await asked_for(gate, "root", path, **query)
    assert (said.status, said.json()["error"]["message"]) == (400, complaint)


async def test_names_tell_all_scopes_apart(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    for scope, user, expected in (
        ("key", "ann@r/e d", ("key", "r/e d", "ann laptop")),
        ("key", "eve", ("key", "", "eve laptop")),
        ("team", "ann@*", ("team", "*", "")),
        ("pipeline", "ann@red", ("pipeline", "", "")),
    ):
        gate = await started(gateway, upstream, f"scope: {scope}")
        await put(gate, headers={"x-user": user, "x-key": "laptop"}, model="vendor/model:1 *")
        (line,) = await entries(gate, "root")
        assert (line["scope"], line["team"], line["owner"], line["model"]) == (*expected, "vendor/model:1 *")
        assert len(await entries(gate, "root", id=line["id"])) == 1
        assert await entries(gate, "eve@other") == []


async def test_the_endpoint_of_an_open_pipeline_is_for_this_machine(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await gateway(OPEN, url=upstream.url, options="{}")
    for headers in ({"origin": "https://web.example"}, {"x-forwarded-for": "192.0.2.1"}, {"host": "web.example"}):
        assert (await ask(gate.url, method="DELETE", path="/-/cache", headers=headers)).status == 403


# ---------------------------------------------------------------- one call for all who ask the same


@pytest.fixture
async def crowd() -> AsyncIterator[list[asyncio.Task[Said]]]:
    """Requests under way; those still there at the end are given up."""
    tasks: list[asyncio.Task[Said]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def seen(gate: RunningGateway, count: int) -> None:
    """Wait until that many requests have reached the cache."""
    who = next(step.plugin for step in gate.host.current.pipelines[0].instances if step.id == "who")
    await until(lambda: vars(who)["seen"] >= count)


def asked(gate: RunningGateway, stream: bool = True) -> asyncio.Task[Said]:
    return asyncio.create_task(ask(gate.url, prompt(stream=stream), headers=ANN))


async def test_500_at_once_make_one_call(
    gateway: MakeGateway, upstream: ScriptedUpstream, crowd: list[asyncio.Task[Said]]
) -> None:
    all_there = asyncio.Event()
    upstream.answers(HELLO.at(b"event: content_block_stop", all_there))
    gate = await started(gateway, upstream)
    crowd += [asked(gate, stream=number % 2 == 0) for number in range(500)]
    await seen(gate, 500)
    all_there.set()
    said = await asyncio.gather(*crowd)
    assert len(upstream.calls) == 1
    assert sorted(map(result, said)) == ["hit"] * 499 + ["miss"]
    first, *others = map(message_of, said)
    assert all(other == first for other in others)


async def test_when_the_first_leaves_the_next_asks(
    gateway: MakeGateway, upstream: ScriptedUpstream, crowd: list[asyncio.Task[Said]]
) -> None:
    upstream.answers(HELLO.at(b"event: content_block_stop", HANG), HELLO)
    gate = await started(gateway, upstream)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(opened(gate.url, prompt(stream=True), headers=ANN))
        crowd += [asked(gate) for _ in range(20)]
        await seen(gate, 21)
    said = await asyncio.gather(*crowd)
    assert len(upstream.calls) == 2
    assert sorted(map(result, said)) == ["hit"] * 19 + ["miss"]
    assert {one.text for one in said} == {"hello"}


async def test_when_one_who_waits_leaves_nobody_else_notices(
    gateway: MakeGateway, upstream: ScriptedUpstream, crowd: list[asyncio.Task[Said]]
) -> None:
    go = asyncio.Event()
    upstream.answers(HELLO.at(b"event: content_block_stop", go))
    gate = await started(gateway, upstream)
    crowd.append(asked(gate))
    await upstream.called()
    crowd += [asked(gate) for _ in range(4)]
    await seen(gate, 5)
    crowd.pop().cancel()
    assert (await log_lines(gate, 1))[0]["outcome"] == "cancelled"
    go.set()
    assert sorted(map(result, await asyncio.gather(*crowd))) == ["hit"] * 3 + ["miss"]
    assert len(upstream.calls) == 1


async def test_when_the_first_fails_the_others_go_on_alone(
    gateway: MakeGateway, upstream: ScriptedUpstream, crowd: list[asyncio.Task[Said]]
) -> None:
    go = asyncio.Event()
    upstream.answers(messages.error(400, "invalid_request_error", "not today").first(go))
    upstream.always(HELLO)
    gate = await started(gateway, upstream)
    crowd += [asked(gate) for _ in range(5)]
    await seen(gate, 5)
    go.set()
    said = await asyncio.gather(*crowd)
    assert sorted(one.status for one in said) == [200] * 4 + [400]
    assert len(upstream.calls) == 5
    assert result(await put(gate)) == "hit"


async def test_nobody_waits_for_an_answer_that_will_not_be_kept(
    gateway: MakeGateway, upstream: ScriptedUpstream, crowd: list[asyncio.Task[Said]]
) -> None:
    upstream.answers(messages.stream("I look.", CALL).at(b"event: message_delta", HANG), HELLO)
    gate = await started(gateway, upstream)
    async with opened(gate.url, prompt(stream=True), headers=ANN):
        crowd.append(asked(gate))
        assert (await crowd[0]).text == "hello"


# ---------------------------------------------------------------- without a store


class Moody(MemoryStore):
    """A store that can be away, or hang."""

    mood = ""

    async def get(self, key: str, type: Any) -> Any:
        await self._suffer()
        return await super().get(key, type)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        await self._suffer()
        await super().set(key, value, ttl)

    async def _suffer(self) -> None:
        if self.mood == "away":
            raise StoreUnavailable("gone fishing")
        if self.mood == "hanging":
            await asyncio.Event().wait()


ENTRY = Entry(events=[Start(), Text(0, "x")], made=0.0, usage=Usage())


def shelf(store: Moody, clock: Clock) -> Shelf:
    return Shelf(store, 3600.0, clock, logging.LoggerAdapter(logging.getLogger("penstock.shelf"), {}))


@pytest.mark.parametrize("mood", ["away", "hanging"])
async def test_a_store_that_is_away_is_an_empty_one(caplog: pytest.LogCaptureFixture, mood: str) -> None:
    clock = Clock()
    store = Moody(clock)
    tried = shelf(store, clock)
    await tried.keep("k", ENTRY)
    store.mood = mood
    async with asyncio.timeout(PATIENCE):
        for _ in range(1000):
            assert await tried.find("k") is None
            await tried.keep("other", ENTRY)
            clock.now += 0.001
    assert [record.message for record in caplog.records] == [caplog.records[0].message]
    assert "the store is away" in caplog.text
    store.mood = ""
    assert await tried.find("k") is None
    clock.now += 5
    assert await tried.find("k") == ENTRY
    assert "the store is back" in caplog.text


async def test_a_store_of_another_version_is_an_empty_one() -> None:
    clock = Clock()
    store = Moody(clock)
    await store.set("answer/2/k", {"something": "else"})
    assert await shelf(store, clock).find("k") is None


async def test_the_oldest_answers_make_room() -> None:
    clock = Clock()
    store = Moody(clock, room=100_000)
    kept = shelf(store, clock)
    large = Entry(events=[Text(0, "x" * 1000)], made=0.0, usage=Usage())
    for number in range(200):
        await kept.keep(str(number), large)
    found = [number for number in range(200) if await kept.find(str(number))]
    assert 50 < len(found) < 100
    assert found == list(range(200 - len(found), 200))


async def test_a_gateway_whose_store_is_away_answers_all_the_same(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream, files={"gateway.yaml": "store: sqlite:test.yaml/state.db\n"})
    for _ in range(3):
        said = await put(gate)
        assert (result(said), said.text) == ("miss", "hello")
    assert sum("nothing is answered from the cache" in record.message for record in caplog.records) == 1
    said = await ask(gate.url, method="GET", path="/-/cache", headers={"x-user": "root"})
    assert (said.status, "cannot look into its cache" in said.body.decode()) == (503, True)
    assert "state.db" not in said.body.decode()  # where things are is for the log


async def test_nobody_waits_for_ever_for_a_client_that_does_not_read(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.answers(HELLO.at(b"event: content_block_stop", HANG), HELLO)
    gate = await started(gateway, upstream)
    monkeypatch.setattr(flights, "PATIENCE", 0.2)
    async with opened(gate.url, prompt(stream=True), headers=ANN):
        said = await ask(gate.url, prompt(stream=True), headers=ANN)
        assert (result(said), said.text) == ("miss", "hello")


CHEAPER = '''
"""Has another model answer."""
from penstock import Exchange, Plugin, hookimpl

class Cheaper(Plugin):
    """As a step does whose budget is nearly spent."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        if exchange.headers.get("x-poor"):
            exchange.request.model = "model-c"
'''


async def test_the_answer_of_a_model_that_was_put_in_place_is_not_kept(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.always(HELLO)
    pipeline = CACHE.replace("  - translation", "  - cheaper\n  - translation")
    files = {**FILES, "../plugins/cheaper.py": CHEAPER}
    gate = await gateway(pipeline, url=upstream.url, options="{}", files=files)
    for poor, found in (("1", "miss"), ("", "miss"), ("1", "hit")):
        assert result(await put(gate, headers={**ANN, "x-poor": poor})) == found
    assert [call.json()["model"] for call in upstream.calls] == ["model-c", "model-a"]


async def test_nobody_waits_for_an_answer_that_could_not_be_kept(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise OverflowError("too much")

    upstream.always(HELLO)
    gate = await started(gateway, upstream)
    monkeypatch.setattr(Entry, "fits", breaks)
    for _ in range(2):
        assert (await ask(gate.url, prompt(), headers=ANN)).text == "hello"
    assert "mistake in step 'cache'" in caplog.text


# ---------------------------------------------------------------- the provider's cache

MARK = {"type": "ephemeral"}
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b")]


async def test_prompts_are_marked_for_the_provider(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream, "breakpoints: true")
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "go"},
    ]
    await put(gate, system="Be brief.", tools=TOOLS, messages=turns)
    sent = upstream.calls[0].json()
    assert sent["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    assert sent["tools"] == [TOOLS[0], {**TOOLS[1], "cache_control": MARK}]
    assert sent["messages"][:2] == turns[:2]
    assert sent["messages"][2]["content"] == [{"type": "text", "text": "go", "cache_control": MARK}]
    assert sent["max_tokens"] == 100


MARKED: Mapping[str, dict[str, Any]] = {
    "a mark of the client's": {"system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}]},
    "a mark for all": {"cache_control": MARK},
}


@pytest.mark.parametrize("more", MARKED.values(), ids=MARKED)
async def test_the_clients_own_marks_stay_alone(
    gateway: MakeGateway, upstream: ScriptedUpstream, more: dict[str, Any]
) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream, "breakpoints: true")
    body = json.dumps(prompt(tools=TOOLS, **more)).encode()
    await ask(gate.url, body, headers=ANN)
    assert upstream.calls[0].body == body


async def test_nothing_is_marked_that_providers_would_refuse(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(HELLO)
    gate = await started(gateway, upstream, "breakpoints: true")
    later = [TOOLS[0], {**TOOLS[1], "defer_loading": True}]
    content = [{"type": "text", "text": "go"}, {"type": "text", "text": " "}]
    await put(gate, system=" ", tools=later, messages=[{"role": "user", "content": content}])
    sent = upstream.calls[0].json()
    assert (sent["system"], sent["tools"]) == (" ", later)
    assert sent["messages"][0]["content"] == [{**content[0], "cache_control": MARK}, content[1]]
