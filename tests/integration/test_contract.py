"""What Claude Code expects of a gateway, rule by rule: docs/reference/claude-code.md names the test of each rule.

The docstring of a test begins with the numbers of its rules. Rules with a test elsewhere have none here.
"""

import ast
import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penstock.testing import (
    CUT,
    MakeGateway,
    Reply,
    ScriptedUpstream,
    Thought,
    ToolCall,
    chat,
    contents,
    event_stream,
    json_reply,
    messages,
    responses,
)
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import CHAT, IMPATIENT, RELAY, SIMULATOR, ask, events_of, log_lines, opened, prompt

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/reference/claude-code.md"

COUNT = "/v1/messages/count_tokens"
DISCOVERY = "/v1/models?limit=1000"
VERSION = {"anthropic-version": "2023-06-01"}
BETAS = "context-management-2025-06-27,effort-2025-11-24,request-tags-2026-08-21,dangerous-tool-use-2026-09-03"
TOOLS = [{"name": "Read", "description": "d", "input_schema": {"type": "object"}}]
SAFEGUARDS = [{"type": "dangerous_tool_use", "classifier_context": {"live_cwd": "/home/dev/secret-project"}}]
ATTRIBUTION = "x-anthropic-billing-header: cc_version=2.1.329; cc_entrypoint=cli;"
RELAYED = RELAY.replace("  - translation", '  - models: {routes: {"*": main/model-b}}\n  - translation')
OTHERS = RELAY.replace("protocol: anthropic", "preset: zai").replace(
    "  - translation", '  - models: {routes: {"*": main/glm-5.2}}\n  - translation'
)
GUARDED = RELAYED.replace("  - models", "  - auth: {keys: keys.yaml}\n  - models")
ANN = new_key()
KEYS = {"keys.yaml": f'keys: [{{hash: "{hash_of(ANN)}", user: ann}}]\n'}

FORMATS = pytest.mark.parametrize(
    ("pipeline", "answers"), [(RELAY, messages), (CHAT, chat)], ids=["relayed", "translated"]
)
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def from_agent(**more: Any) -> dict[str, Any]:
    """A request with everything that Claude Code sends."""
    fields = {
        "model": "claude-opus-5-5",
        "max_tokens": 128000,
        "system": [
            {"type": "text", "text": ATTRIBUTION},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [*TOOLS, {"name": "Later", "input_schema": {"type": "object"}, "defer_loading": True}],
        "metadata": {"user_id": json.dumps({"device_id": "d", "account_uuid": "", "session_id": "s-1"})},
        "thinking": {"type": "adaptive", "display": "updates"},
        "output_config": {"effort": "medium"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "tags": {"team": "research"},
        "safeguards": SAFEGUARDS,
    }
    return prompt(**{**fields, **more})


# ---------------------------------------------------------------- 2: endpoints


@pytest.mark.parametrize("status", [404, 405, 501, 529])
async def test_a_count_never_fails_for_an_upstream_that_does_not_count(
    gateway: MakeGateway, upstream: ScriptedUpstream, status: int
) -> None:
    """2.2: a 501 would make some clients pay for a model request per count."""
    upstream.answers(messages.error(status, "api_error", "no counting here"))
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(), path=COUNT + "?beta=true")
    assert said.status == 200
    assert 0 < said.json()["input_tokens"] < 100


async def test_probes_leave_no_trace(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """2.4: start-up probes need no credential and are no errors."""
    gate = await gateway(GUARDED, url=upstream.url, files=KEYS)
    for path in ("/", "/api/hello"):
        assert (await ask(gate.url, method="HEAD", path=path)).status == 200
    assert (await ask(gate.url, method="GET", path="/v1/models")).status == 401
    (line,) = await log_lines(gate)
    assert (line["operation"], line["status"]) == ("list_models", 401)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/oauth/token"),
        ("GET", "/managed/settings"),
        ("GET", "/api/oauth/usage"),
        ("POST", "/v1/metrics"),
    ],
)
async def test_login_mode_is_answered_as_not_offered(
    gateway: MakeGateway, upstream: ScriptedUpstream, method: str, path: str
) -> None:
    """2.5: 404 means "no policy", where a 5xx would keep the client from starting."""
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, {} if method == "POST" else None, method=method, path=path)
    assert (said.status, said.error["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("path", ["/gw", "/gw/", "//gw//"])
async def test_slashes_too_many_are_served_and_not_redirected(
    gateway: MakeGateway, upstream: ScriptedUpstream, path: str
) -> None:
    """2.6: a base URL may end in a slash, and a redirect turns a POST into a GET."""
    pipeline = RELAYED.replace("path: /", "path: /gw")
    upstream.always(messages.whole("hello"))
    upstream.always(json_reply({"input_tokens": 7}), path=COUNT)
    gate = await gateway(pipeline, url=upstream.url)
    for endpoint in ("/v1/messages", "/v1/messages/", "/v1/messages?beta=true", "/v1//messages", COUNT, COUNT + "/"):
        assert (await ask(gate.url, prompt(), path=path + endpoint)).status == 200, endpoint
    for method, endpoint in (("GET", DISCOVERY), ("GET", "/v1/models/"), ("HEAD", "/"), ("HEAD", "/api/hello")):
        assert (await ask(gate.url, method=method, path=path + endpoint)).status == 200, endpoint


async def test_a_body_in_chunks(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """2.7: a body without content-length is taken, up to the limit, and leaves with one."""
    upstream.answers(messages.whole("hello"))
    gate = await gateway(RELAY, url=upstream.url, files={"gateway.yaml": "body_limit: 200000\n"})
    body = json.dumps(prompt("x" * 150_000)).encode()
    async with aiohttp.ClientSession(gate.url) as session:
        async with session.post("/v1/messages", data=chunks(body)) as response:
            assert response.status == 200
        async with session.post("/v1/messages", data=chunks(body + b" " * 100_000)) as response:
            assert response.status == 413
    (call,) = upstream.calls
    assert call.body == body
    assert call.header("content-length") == str(len(body))
    assert call.header("transfer-encoding") is None


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 8192):
        yield body[at : at + 8192]


@FORMATS
async def test_a_conversation_of_31_megabytes(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: Any
) -> None:
    """2.7: as large as the API itself takes, in whatever format it has to leave."""
    upstream.answers(answers.stream("hello"))
    gate = await gateway(pipeline, url=upstream.url)
    text = 'def f(x): return "é" + x\n' * 1000
    turns = [{"role": ("user", "assistant")[n % 2], "content": [{"type": "text", "text": text}]} for n in range(1080)]
    body = json.dumps(prompt(stream=True) | {"messages": turns}, ensure_ascii=False).encode()
    assert 31_000_000 < len(body) < 32_000_000
    said = await ask(gate.url, body)
    assert (said.status, said.text) == (200, "hello")
    (call,) = upstream.calls
    assert call.header("content-length") == str(len(call.body))
    assert call.body == body if pipeline is RELAY else len(call.json()["messages"]) == len(turns)


async def test_source_code_is_no_attack(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """2.8: nothing looks into bodies for what a firewall would not like."""
    code = "<script>alert(1)</script> ' OR 1=1; DROP TABLE users; -- ../../etc/passwd $(rm -rf /) {{7*7}} \x00\x1b[0m"
    upstream.answers(messages.whole("hello"))
    gate = await gateway(RELAY, url=upstream.url)
    assert (await ask(gate.url, prompt(code))).status == 200
    assert upstream.calls[0].json()["messages"][0]["content"] == code


NOVELTIES: dict[str, Any] = {
    "novelty": {"deep": [1.0, {}]},
    "service_tier": 7,
    "thinking": {"type": "novel", "novel": 1},
    "output_config": {"effort": "beyond", "novel": []},
    "tool_choice": {"type": "novel"},
    "system": [{"type": "text", "text": "Be brief.", "novel": 1}, {"type": "novel_block"}],
    "tools": [{**TOOLS[0], "novel": True}, {"type": "novel_20270101", "name": "novel", "depth": 3}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi", "novel": 1}, {"type": "novel_block", "x": 1}]},
        {"role": "system", "content": [], "output_config": {"effort": "low"}},
        {"role": "assistant", "content": [{"type": "novel_block"}, {"type": "text", "text": "ho"}], "novel": 1},
        {"role": "user", "content": "go on", "id": "u-2"},
    ],
}


@BOTH
@pytest.mark.parametrize("pipeline", [RELAY, CHAT, SIMULATOR], ids=["relayed", "translated", "simulated"])
async def test_what_is_new_never_fails_a_request(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, stream: bool
) -> None:
    """2.9: clients update themselves, so headers, parameters and fields may come that nobody knows."""
    answers: Any = chat if pipeline is CHAT else messages
    upstream.answers(answers.stream("hello") if stream else answers.whole("hello"))
    gate = await gateway(pipeline, url=upstream.url)
    body = prompt(model="sim/echo" if pipeline is SIMULATOR else "model-a", stream=stream) | NOVELTIES
    headers = {"x-claude-code-novelty": "1", "anthropic-beta": "novelty-2027-01-01", "sec-novelty": '"x";v=1'}
    said = await ask(gate.url, body, path="/v1/messages?beta=true&novelty=%7B%7D&novelty", headers=headers)
    assert said.status == 200
    assert said.text
    counted = await ask(gate.url, body, path=COUNT + "?novelty", headers=headers)
    assert counted.status == 200


# ---------------------------------------------------------------- 3: headers of a request


@pytest.mark.parametrize("auth", ["x-api-key", "bearer", "none"])
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {ANN}"},
        {"x-api-key": ANN},
        {"authorization": f"Bearer {ANN}", "x-api-key": "sk-ant-another"},
        {"authorization": f"Bearer {ANN}", "x-api-key": ANN},
    ],
    ids=["AUTH_TOKEN", "API_KEY", "both variables", "apiKeyHelper"],
)
async def test_a_credential_is_taken_in_every_form_and_passed_on_in_none(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str], auth: str
) -> None:
    """3.1, 7.2: and the upstream sees its own only."""
    upstream.answers(messages.stream("hello"))
    gate = await gateway(
        GUARDED.replace("key: upstream-key", f"key: up-key, auth: {auth}"), url=upstream.url, files=KEYS
    )
    said = await ask(gate.url, prompt(stream=True), headers=headers)
    assert (said.status, said.text) == (200, "hello")
    (call,) = upstream.calls
    assert ANN.encode() not in call.raw_head
    assert b"sk-ant-another" not in call.raw_head
    own = {"x-api-key": ("up-key", None), "bearer": (None, "Bearer up-key"), "none": (None, None)}
    assert (call.header("x-api-key"), call.header("authorization")) == own[auth]
    discovered = await ask(gate.url, method="GET", path=DISCOVERY, headers=headers)
    assert discovered.status == 200
    assert {line["user"] for line in await log_lines(gate, 2)} == {"ann"}


async def test_claims_of_a_client_are_noted_and_open_no_door(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """3.3, 3.5: the session is logged; who is asking is for the key to say."""
    claims = {"x-claude-code-session-id": "s-9", "x-claude-code-agent-id": "root", "x-app": "cli", "x-user": "admin"}
    body = prompt(metadata={"user_id": "admin"})
    upstream.answers(messages.whole("hello"))
    gate = await gateway(GUARDED, url=upstream.url, files=KEYS)
    assert (await ask(gate.url, body, headers=claims)).status == 401
    assert upstream.calls == []
    assert (await ask(gate.url, body, headers={**claims, "x-api-key": ANN})).status == 200
    refused, served = await log_lines(gate, 2)
    assert (refused["status"], refused.get("user")) == (401, None)
    assert (served["user"], served["session"]) == ("ann", "s-9")


ECHO = """
from penstock import Exchange, Plugin, Response, hookimpl

class Echo(Plugin):
    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        response.headers["x-seen"] = exchange.headers[exchange.headers["x-which"]]
"""


@pytest.mark.parametrize("name", ["x-claude-code-request-class", "x-claude-code-prompt-id", "x-custom", "traceparent"])
async def test_hints_and_custom_headers_reach_a_plugin(
    gateway: MakeGateway, upstream: ScriptedUpstream, name: str
) -> None:
    """3.4, 3.6: as they are; what to make of them is for a plugin to say."""
    upstream.answers(messages.whole("hello"))
    pipeline = RELAY.replace("  - translation", "  - echo\n  - translation")
    gate = await gateway(pipeline, url=upstream.url, files={"../plugins/echo.py": ECHO})
    said = await ask(gate.url, prompt(), headers={"x-which": name, name: "Value, as it is"})
    assert said.headers["x-seen"] == "Value, as it is"


# ---------------------------------------------------------------- 4: body of a request


async def test_a_beta_and_its_field_stay_together(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """4.2, 4.4, 4.10: an upstream of another format gets neither, one of this format both."""
    headers = {**VERSION, "anthropic-beta": BETAS, "user-agent": "claude-cli/2.1.329", "x-stainless-timeout": "600"}
    fields = {"tags", "safeguards", "context_management", "thinking", "output_config"}
    upstream.answers(messages.stream("hello"), path="/v1/messages")
    upstream.answers(chat.stream("hello"), path="/v1/chat/completions")
    for pipeline, name in ((RELAY, "relayed"), (CHAT, "translated")):
        gate = await gateway(pipeline, url=upstream.url, name=name)
        assert (await ask(gate.url, from_agent(stream=True), headers=headers)).status == 200
    relayed, translated = upstream.calls
    assert relayed.header("anthropic-beta") == BETAS
    assert relayed.json() == from_agent(stream=True)
    assert not fields & translated.json().keys()
    assert not [name for name, _ in translated.headers if re.match("anthropic|x-", name.lower())]
    assert b"claude" not in translated.raw_head
    assert not re.search(rb"cache_control|defer_loading|session_id|secret-project", translated.body)


async def test_other_models_behind_this_format_get_what_they_know(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """4.2, 4.4, 4.7, 4.9: and thinking within what they can write; the rest is the client's own."""
    thinking = {"type": "enabled", "budget_tokens": 199999}
    body = from_agent(max_tokens=200000, thinking=thinking)
    upstream.answers(messages.whole("hello"))
    gate = await gateway(OTHERS, url=upstream.url)
    assert (await ask(gate.url, body, headers={**VERSION, "anthropic-beta": BETAS})).status == 200
    (call,) = upstream.calls
    sent = {name: value for name, value in body.items() if name not in ("tags", "safeguards", "context_management")}
    sent |= {"model": "glm-5.2", "max_tokens": 131072, "thinking": {**thinking, "budget_tokens": 131071}}
    assert call.json() == {**sent, "system": body["system"][1:]}
    assert call.header("anthropic-beta") == "effort-2025-11-24"


@pytest.mark.parametrize("preset", ["bedrock", "bedrock-mantle"])
async def test_a_cloud_that_refuses_tags_does_not_get_them(
    gateway: MakeGateway, upstream: ScriptedUpstream, preset: str
) -> None:
    """4.4: nor their beta value; it gets all else as it is."""
    upstream.answers(messages.whole("hello"))
    gate = await gateway(RELAY.replace("protocol: anthropic", f"preset: {preset}"), url=upstream.url)
    body = from_agent()
    assert (await ask(gate.url, body, headers={**VERSION, "anthropic-beta": BETAS})).status == 200
    (call,) = upstream.calls
    assert call.json() == {name: value for name, value in body.items() if name != "tags"}
    assert call.header("anthropic-beta") == BETAS.replace("request-tags-2026-08-21,", "")


async def test_thinking_of_another_model_does_not_go_to_claude(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """4.6: it has no signature, and Claude refuses a conversation that holds it."""
    upstream.answers(chat.whole(Thought("let me see"), "hello"), path="/v1/chat/completions")
    upstream.always(messages.whole("hello"), path="/v1/messages")
    first = await ask((await gateway(CHAT, url=upstream.url, name="chat")).url, prompt())
    thought, text = first.json()["content"]
    assert (thought["type"], thought["signature"]) == ("thinking", "")
    turns = [*prompt()["messages"], {"role": "assistant", "content": [thought, text]}, *prompt("go on")["messages"]]
    for pipeline, name, content in ((RELAY, "claude", [text]), (OTHERS, "glm", [thought, text])):
        gate = await gateway(pipeline, url=upstream.url, name=name)
        assert (await ask(gate.url, prompt() | {"messages": turns})).status == 200
        assert upstream.calls[-1].json()["messages"] == [turns[0], {**turns[1], "content": content}, turns[2]]


async def test_thinking_goes_back_unchanged(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """4.6: with its signature and all before it, byte for byte; only the model has another name."""
    upstream.answers(messages.stream(Thought("let me see é", "c2ln+/=="), ToolCall("Read", {"n": 1.0})))
    gate = await gateway(RELAYED, url=upstream.url)
    first = await ask(gate.url, prompt(stream=True, tools=TOOLS))
    signatures = [data["delta"]["signature"] for _, data in first.events if "signature" in data.get("delta", {})]
    assert signatures == ["c2ln+/=="]
    body = (
        b'{"model":"model-a","max_tokens":100,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":['
        b'{"type":"thinking","thinking":"let me see \\u00e9","signature":"c2ln+/=="},'
        b'{"type":"redacted_thinking","data":"b3BhcXVl"},'
        b'{"type":"tool_use","id":"call_1","name":"Read","input":{"n": 1.0}}]},'
        b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"ok"}]}]}'
    )
    upstream.answers(messages.whole("done"))
    await ask(gate.url, body)
    assert upstream.calls[1].body == body.replace(b'"model-a"', b'"model-b"')


async def test_the_attribution_stays_first_and_alone(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """4.7: for an upstream of this format; for others it is removed."""
    upstream.answers(messages.whole("hello"), path="/v1/messages")
    upstream.answers(chat.whole("hello"), path="/v1/chat/completions")
    for pipeline, name in ((RELAYED, "relayed"), (CHAT, "translated")):
        gate = await gateway(pipeline, url=upstream.url, name=name)
        await ask(gate.url, from_agent())
    relayed, translated = (call.json() for call in upstream.calls)
    assert relayed["system"] == from_agent()["system"]
    assert translated["messages"][0] == {"role": "system", "content": "You are an agent."}


LIMITED = """
path: /
upstreams:
  main:
    protocol: {protocol}
    url: "{url}"
    key: k
    models: [{id: small, output: 8192}, {id: unknown}]
plugins:
  - models: {routes: {"claude-*": main/small, "other": main/unknown, "*": main}}
  - translation
"""


@pytest.mark.parametrize(
    ("protocol", "model", "asked", "sent"),
    [
        ("openai-chat", "claude-opus-5-5", 128000, 8192),
        ("openai-chat", "claude-opus-5-5", 4000, 4000),
        ("openai-chat", "small", 128000, 8192),
        ("openai-chat", "other", 128000, 128000),
        ("anthropic", "claude-opus-5-5", 128000, 8192),
        ("anthropic", "claude-opus-5-5", 4000, 4000),
        ("anthropic", "small", 128000, 128000),
        ("anthropic", "other", 128000, 128000),
    ],
)
async def test_max_tokens_is_what_the_model_can_write(
    gateway: MakeGateway, upstream: ScriptedUpstream, protocol: str, model: str, asked: int, sent: int
) -> None:
    """4.9: where that is known; a model that the client named itself is its own affair in its own format."""
    answers: Any = messages if protocol == "anthropic" else chat
    upstream.answers(answers.whole("hello"))
    gate = await gateway(LIMITED, url=upstream.url, protocol=protocol)
    assert (await ask(gate.url, prompt(model=model, max_tokens=asked))).status == 200
    assert upstream.calls[0].json()["max_tokens"] == sent


@pytest.mark.parametrize(
    "shape",
    [
        {"thinking": {"type": "adaptive", "display": "updates"}, "output_config": {"effort": "xhigh"}},
        {"thinking": {"type": "enabled", "budget_tokens": 31999, "display": "updates"}},
        {"thinking": {"type": "disabled"}},
    ],
    ids=["adaptive", "budget", "off"],
)
@pytest.mark.parametrize(
    ("reasoning", "fields"),
    [("none", set()), ("effort", {"reasoning_effort"}), ("thinking_type", {"thinking"})],
)
async def test_every_shape_of_thinking_is_taken_for_every_model(
    gateway: MakeGateway, upstream: ScriptedUpstream, shape: dict[str, Any], reasoning: str, fields: set[str]
) -> None:
    """4.3, 4.9: what an upstream lacks is mapped or left out."""
    upstream.answers(chat.stream("hello"))
    gate = await gateway(
        CHAT.replace("key: upstream-key", f"key: k, quirks: {{reasoning: {reasoning}}}"), url=upstream.url
    )
    body = {**from_agent(stream=True), "output_config": {}} | shape
    assert (await ask(gate.url, body)).status == 200
    usual = {"model", "messages", "max_tokens", "tools", "stream", "stream_options"}
    assert upstream.calls[0].json().keys() == usual | fields


# ---------------------------------------------------------------- 5: responses and streams


@FORMATS
async def test_each_event_leaves_when_it_comes(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: Any
) -> None:
    """5.1: nothing is held back, and nothing is compressed, whatever the client could read."""
    steps = [asyncio.Event() for _ in range(3)]
    reply = answers.stream("one two three")
    texts = [step for step in reply.body if re.search(rb'"(text_delta|content": "\w)|"content": " ', step)]
    assert len(texts) == 3
    for step, text in zip(steps, texts, strict=True):
        at = reply.body.index(text)
        reply = Reply(reply.status, reply.headers, (*reply.body[: at + 1], step, *reply.body[at + 1 :]), reply.framing)
    upstream.answers(reply)
    gate = await gateway(pipeline, url=upstream.url)
    async with opened(gate.url, prompt(stream=True), headers={"accept-encoding": "gzip, br, zstd"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers
        seen = b""
        for number, step in enumerate(steps, 1):
            while seen.count(b"text_delta") < number:
                seen += await response.content.readany()
            step.set()
        seen += await response.read()
    assert events_of(seen)[-1][0] == "message_stop"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (CUT, "api_error"),
        (chat.frame({"error": {"message": "it broke", "code": 500}}), "api_error"),
        (chat.frame({"error": {"message": "busy", "type": "overloaded_error"}}), "overloaded_error"),
        (b"data: {broken\n\n", "api_error"),
    ],
    ids=["cut", "error", "overloaded", "nonsense"],
)
async def test_a_translated_stream_that_fails_ends_with_one_error(
    gateway: MakeGateway, upstream: ScriptedUpstream, end: Any, kind: str
) -> None:
    """5.5: and nothing comes after it."""
    upstream.answers(
        chat.stream("hello").at(
            b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", '
            b'"created": 1, "model": "model-b", "choices": [{"index": 0, "delta": {}',
            end,
        )
    )
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.text) == (200, "hello")
    names = [name for name, _ in said.events]
    assert (names.count("error"), names[-1]) == (1, "error")
    assert "message_stop" not in names
    assert said.events[-1][1]["error"]["type"] == kind


async def test_pings_come_in_time_by_default(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """5.6: every 15 s, of the 300 that a client waits; the first when the headers leave, after 10."""
    gate = await gateway(RELAY, url=upstream.url)
    options = gate.host.current.gateway
    assert (options.ping, options.commit_after) == (15.0, 10.0)


async def test_empty_words_of_an_upstream_are_no_excuse_for_silence(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """5.6: chunks that say nothing keep an upstream's connection alive, but not the client's."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    empty = chat.frame({**head, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}]})
    begin = chat.frame({**head, "choices": [{"index": 0, "delta": {"content": "so"}, "finish_reason": None}]})
    idle = tuple(step for _ in range(40) for step in (empty, 0.02))
    upstream.answers(event_stream(begin, *idle, *chat.stream(" then").body))
    gate = await gateway(CHAT, url=upstream.url, files={"gateway.yaml": IMPATIENT})
    said = await ask(gate.url, prompt(stream=True))
    assert said.text == "so then"
    assert [name for name, _ in said.events].count("ping") >= 3


async def test_usage_is_told_at_the_start_and_the_end(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """5.9: the context meter and auto-compaction live on it; translated prompts are counted at the end."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 900}}
    start, end = chat.stream("hello").payload.split(b'"usage": {')
    upstream.answers(event_stream(start, b'"usage": ' + json.dumps(usage).encode() + end[end.index(b"}") + 1 :]))
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    names = {"input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"}
    data = dict(said.events)
    assert names <= data["message_start"]["message"]["usage"].keys()
    told = data["message_delta"]["usage"]
    assert {name: told[name] for name in sorted(names)} == {
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 900,
        "input_tokens": 100,
        "output_tokens": 20,
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/messages", prompt(stream=True), 200),
        ("POST", "/v1/messages", prompt(), 200),
        ("POST", COUNT, prompt(), 200),
        ("GET", DISCOVERY, None, 200),
        ("POST", "/v1/messages", prompt(model="sim/429"), 429),
        ("POST", "/v1/messages", prompt(model="sim/none"), 404),
        ("POST", "/v1/messages", b"{", 400),
        ("POST", "/v1/nothing", {}, 404),
        ("PUT", "/v1/messages", {}, 405),
        ("POST", "/v1/messages", b" " * 3000, 413),
    ],
)
async def test_every_answer_has_a_request_id(
    gateway: MakeGateway, method: str, path: str, body: Any, status: int
) -> None:
    """5.10, 6.1: successes and errors; the errors' envelope repeats it."""
    gate = await gateway(SIMULATOR, files={"gateway.yaml": "body_limit: 2000\n"})
    said = await ask(gate.url, body, method=method, path=path)
    assert said.status == status
    assert re.fullmatch(r"req_\w+", said.headers["request-id"])
    if status != 200:
        assert said.json().keys() == {"type", "error", "request_id"}
        assert said.json()["request_id"] == said.headers["request-id"]


@FORMATS
async def test_a_missing_request_id_is_made(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, answers: Any
) -> None:
    """5.10: it is the one in the log."""
    reply = answers.stream("hello")
    upstream.answers(Reply(200, {"content-type": reply.headers["content-type"]}, reply.body, reply.framing))
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.headers["request-id"] == (await log_lines(gate))[0]["request_id"]


@BOTH
async def test_headers_of_a_connection_end_with_it(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    """5.11: what an upstream says of its own connection and encoding is not true of the client's."""
    own = {"keep_alive": "timeout=5", "proxy_authenticate": "Basic", "trailer": "x-sum", "upgrade": "h2c", "te": "gzip"}
    reply = (messages.stream("hello") if stream else messages.whole("hello")).with_headers(**own)
    upstream.answers(reply)
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert said.body == reply.payload
    assert not {name.replace("_", "-") for name in own} & {name.lower() for name in said.headers}


# ---------------------------------------------------------------- 6: errors, retries, recoveries


@pytest.mark.parametrize("pipeline", [RELAY, OTHERS], ids=["claude", "others"])
@pytest.mark.parametrize(
    "text",
    [
        "prompt is too long: 215692 tokens > 200000 maximum",
        "Input is too long.",
        "Input is too long for requested model.",
        "capability_rejected: prompt_too_long",
        "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length",
        "adaptive thinking is not supported on this model",
        "context_management: Extra inputs are not permitted",
        "This model does not support the effort parameter.",
        "safeguards: Extra inputs are not permitted",
        "tools.3: Input tag 'advisor_20260301' found using 'type' does not match any of the expected tags",
        "Your credit balance is too low to access the API.",
        "messages.3.content.0: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes",
    ],
)
async def test_words_that_a_client_recovers_by_pass_unchanged(
    gateway: MakeGateway, upstream: ScriptedUpstream, text: str, pipeline: str
) -> None:
    """6.2: they are the upstream's, so are the bytes around them."""
    reply = messages.error(400, "invalid_request_error", text)
    upstream.answers(reply)
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, from_agent(stream=True))
    assert (said.status, said.body) == (400, reply.payload)


@pytest.mark.parametrize("pipeline", [CHAT, RELAY, OTHERS], ids=["translated", "claude", "others"])
@pytest.mark.parametrize(
    ("came", "told"),
    [
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            "the request exceeds the available context size: request (9000 tokens) exceeds the available context size "
            "(8192 tokens), try increasing it",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 40000 "
            "tokens and your request has 9000 input tokens (32000 > 40000 - 9000).",
            "input length and `max_tokens` exceed context limit: 9000 + 32000 > 40000, "
            "decrease input length or `max_tokens` and try again",
        ),
        ("Prompt exceeds max length", "prompt is too long: Prompt exceeds max length"),
    ],
    ids=["openai", "llama.cpp", "vllm room", "without numbers"],
)
async def test_lengths_are_told_in_the_words_that_a_client_recovers_by(
    gateway: MakeGateway, upstream: ScriptedUpstream, came: str, told: str, pipeline: str
) -> None:
    """6.2, 6.4, 7.9: with real numbers, where the upstream has told them, in whatever format."""
    error = chat.error(400, came) if pipeline is CHAT else messages.error(400, "invalid_request_error", came)
    upstream.answers(error)
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error) == (400, {"type": "invalid_request_error", "message": told})


@pytest.mark.parametrize(
    ("model", "reply"),
    [
        ("nobody-knows-it", None),
        ("without-key", None),
        ("known", chat.error(404, "The model `known` does not exist", "model_not_found")),
        ("known", chat.error(400, "Model Not Exist", "invalid_request_error")),
        ("known", chat.error(400, "known is not a valid model ID")),
    ],
)
async def test_a_model_that_is_not_to_be_had_is_not_found(
    gateway: MakeGateway, upstream: ScriptedUpstream, model: str, reply: Reply | None
) -> None:
    """6.3, 6.5: a 400 would be tried six times."""
    upstream.answers(*filter(None, [reply]))
    routes = "  - models: {routes: {known: main, without-key: keyless}}\n  - translation"
    keyless = '  keyless: {preset: openai, url: "{url}"}\nplugins:'
    pipeline = CHAT.replace("  - translation", routes).replace("plugins:", keyless)
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(model=model))
    assert (said.status, said.error["type"]) == (404, "not_found_error")
    assert said.error["message"]


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"retry-after": "7"}, "7"),
        ({"retry-after": "0.2"}, "1"),
        ({"retry-after": "6.2"}, "7"),
        ({"retry-after-ms": "1500"}, "2"),
        ({"retry-after": "3600"}, "60"),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, "30"),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_waits_are_whole_seconds_that_a_client_obeys(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str], told: str | None, status: int
) -> None:
    """6.7: above 60 it would give up at once, and a date it would ignore."""
    upstream.answers(chat.error(status, "slow down", headers=headers))
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.headers.get("retry-after")) == (status, told)


@pytest.mark.parametrize(
    ("pipeline", "reply", "status", "told"),
    [
        (CHAT, chat.error(429, "slow down", headers={"x-should-retry": "false"}), 429, "false"),
        (CHAT, chat.error(500, "it broke", headers={"x-should-retry": "true"}), 502, "true"),
        (CHAT, chat.error(429, "You exceeded your current quota", "insufficient_quota"), 429, "false"),
        (CHAT, chat.error(401, "Incorrect API key"), 502, "false"),
        (CHAT, chat.error(402, "Insufficient Balance"), 502, "false"),
        (CHAT, chat.error(429, "slow down"), 429, None),
        (RELAY, messages.error(429, "rate_limit_error", "slow down", {"x-should-retry": "false"}), 429, "false"),
        (RELAY, messages.error(500, "api_error", "it broke", {"x-should-retry": "true"}), 500, "true"),
        (RELAY, messages.error(403, "permission_error", "no access"), 502, "false"),
    ],
)
async def test_whether_to_retry_is_relayed_and_said_where_it_is_known(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, reply: Reply, status: int, told: str | None
) -> None:
    """6.6, 6.8: what cannot help is not repeated for minutes."""
    upstream.answers(reply)
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.headers.get("x-should-retry")) == (status, told)


@pytest.mark.parametrize(
    "reply",
    [
        chat.error(529, "overloaded", headers={"retry-after": "2"}),
        chat.error(498, "flex tier is full", headers={"retry-after": "2"}),
        chat.error(503, "no capacity", headers={"retry-after": "2"}),
        event_stream(chat.frame({"error": {"message": "busy", "type": "overloaded_error"}})),
    ],
    ids=["529", "498", "503", "in a stream"],
)
async def test_overload_of_another_provider_is_no_529(
    gateway: MakeGateway, upstream: ScriptedUpstream, reply: Reply
) -> None:
    """6.9: three of those in a row end a turn; an upstream's own 529 of this format stays one."""
    upstream.answers(reply)
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error["type"]) == (503, "overloaded_error")
    assert said.headers.get("retry-after") == reply.headers.get("retry-after")


@BOTH
async def test_overload_in_a_stream_that_has_said_nothing_is_a_status(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    """5.5, 6.9: the one that such an upstream would have answered with."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    start = messages.stream("hello").body[0]
    assert isinstance(start, bytes)
    upstream.answers(event_stream(start, messages.frame({"type": "ping"}), messages.frame(error)))
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.json()) == (529, error)


SPENT = """
from penstock import OverBudget, Plugin, hookimpl

class Spent(Plugin):
    @hookimpl
    def on_request(self) -> None:
        raise OverBudget("the budget of team research is spent; it resets at 18:00", retry_after=7200)
"""


@BOTH
async def test_a_spent_budget_is_told_once(gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool) -> None:
    """6.10, 6.11: with the time of its reset, in one sentence, and without retries."""
    pipeline = RELAY.replace("  - translation", "  - spent\n  - translation")
    gate = await gateway(pipeline, url=upstream.url, files={"../plugins/spent.py": SPENT})
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.headers["retry-after"], said.headers["x-should-retry"]) == (429, "7200", "false")
    assert said.error == {
        "type": "billing_error",
        "message": "the budget of team research is spent; it resets at 18:00",
    }


@pytest.mark.parametrize(
    ("status", "text", "secret"),
    [
        (429, "Rate limit reached for gpt in organization org-AbCdEf123456 on tokens per min", "org-AbCdEf123456"),
        (400, "User: arn:aws:iam::123456789012:user/bob may not do this", "123456789012"),
        (404, "Publisher model projects/acme-prod-7/locations/global/models/x was not found", "acme-prod-7"),
        (500, "quota of consumer 'project_number:998877665544' is gone", "998877665544"),
        (403, "account 123456789012 has no access", "123456789012"),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["as a status", "in a stream"])
async def test_account_names_of_the_operator_stay_inside(
    gateway: MakeGateway, upstream: ScriptedUpstream, status: int, text: str, secret: str, inside: bool
) -> None:
    """6.12: the message is told without them."""
    error = chat.error(status, text)
    upstream.answers(event_stream(chat.frame(json.loads(error.payload))) if inside else error)
    gate = await gateway(CHAT, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.status >= 400
    assert "***" in said.error["message"]
    assert secret not in said.body.decode()


# ---------------------------------------------------------------- 7: models

SOLO = (ROOT / "pipelines/solo.yaml").read_text()
CLAUDE = "opus|sonnet|haiku|fable"
BUILT_IN = [
    "claude-opus-5-5",
    "claude-opus-4-7",
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-haiku-5-5",
    "claude-haiku-4-5-20251001",
    "claude-3-5-haiku-20241022",
    "claude-fable-5-2",
]


def solo(providers: str) -> str:
    """The default pipeline, with these providers (a regular expression) on the scripted upstream and with a key."""
    return re.sub(rf"{{preset: ({providers})}}", r'{preset: \1, url: "{url}", key: k}', SOLO)


async def test_discovery_is_quick_and_complete(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """7.2, 7.3, 7.4, 7.6, 7.10: every provider's models, under names and texts that Claude Code shows."""
    gate = await gateway(solo(r"[\w-]+"), url=upstream.url)
    headers = {**VERSION, "authorization": "Bearer a", "x-api-key": "b", "x-custom": "c"}
    asked = time.monotonic()
    said = await ask(gate.url, method="GET", path=DISCOVERY, headers=headers)
    assert time.monotonic() - asked < 3
    assert said.status == 200
    assert upstream.calls == []
    entries = said.json()["data"]
    assert len({entry["id"] for entry in entries}) == len(entries) > 30
    for entry in entries:
        assert entry["id"].startswith("claude-")
        assert entry["display_name"]
        assert entry["description"]
        served = entry["description"].rpartition(" ")[2]
        if "claude" not in served:
            assert not re.search(CLAUDE, entry["id"]), entry


async def test_discovery_names_lead_to_their_models(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """7.5, 7.6: a client may use a list that it has kept, so each name says all that is needed."""
    upstream.always(chat.whole("hello"), path="/chat/completions")
    upstream.always(messages.whole("hello"), path="/v1/messages")
    upstream.always(responses.whole("hello"), path=responses.PATH)
    upstream.always(contents.whole("hello"))  # whatever else: its paths name the model
    gate = await gateway(solo(r"[\w-]+"), url=upstream.url)
    listed = await ask(gate.url, method="GET", path=DISCOVERY, headers=VERSION)
    entries = [entry for entry in listed.json()["data"] if entry["description"].startswith("served by ")]
    for entry in entries:
        if not entry["id"].startswith("claude-sim-"):
            assert (await ask(gate.url, prompt(model=entry["id"]))).status == 200
            call, model = upstream.calls[-1], entry["description"].rpartition(" ")[2]
            assert call.json().get("model") == model or call.path == contents.path(model, stream=False)


async def test_any_name_goes_without_discovery(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """7.7: `--model` and its like may name whatever a pipeline takes."""
    upstream.always(chat.whole("hello"))
    gate = await gateway(solo("openrouter"), url=upstream.url)
    for model in ("openrouter/qwen/qwen3-coder-plus", "openrouter,qwen/qwen3-coder-plus"):
        assert (await ask(gate.url, prompt(model=model))).status == 200
        assert upstream.calls[-1].json()["model"] == "qwen/qwen3-coder-plus"


@pytest.mark.parametrize("provider", ["anthropic", "zai", "qwen", "openai", "openrouter"])
async def test_built_in_names_lead_somewhere(gateway: MakeGateway, upstream: ScriptedUpstream, provider: str) -> None:
    """7.11, 9.7: side requests name Claude's models whatever was chosen; one provider's key is enough for all."""
    upstream.always(chat.whole("hello"), path="/chat/completions")
    upstream.always(messages.whole("hello"), path="/v1/messages")
    upstream.always(responses.whole("hello"), path=responses.PATH)
    gate = await gateway(solo(provider), url=upstream.url)
    for model in BUILT_IN:
        said = await ask(gate.url, prompt(model=model))
        assert (said.status, said.text) == (200, "hello"), model
        assert (upstream.calls[-1].json()["model"] == model) is (provider == "anthropic")


async def test_built_in_names_are_simulated_without_a_key(gateway: MakeGateway) -> None:
    """7.11: until there is a provider."""
    gate = await gateway(SOLO)
    for model in BUILT_IN:
        said = await ask(gate.url, prompt(model=model))
        assert (said.status, said.headers["x-penstock-simulated"]) == (200, "1")


async def test_the_clients_own_classifier_is_served(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    """9.7: a small request, without stream, tools and thinking, to a model of that class."""
    upstream.answers(chat.whole("<block>no</block>"))
    gate = await gateway(solo("openrouter"), url=upstream.url)
    body = prompt(
        model="claude-sonnet-5",
        max_tokens=64,
        stop_sequences=["</block>"],
        thinking={"type": "disabled"},
        system="Judge.",
    )
    said = await ask(gate.url, body, headers=VERSION)
    assert (said.status, said.text) == (200, "<block>no</block>")
    sent = upstream.calls[0].json()
    assert sent["stop"] == ["</block>"]
    assert sent["max_tokens"] == 64
    assert sent["reasoning"] == {"enabled": False}
    assert not sent.keys() & {"stream", "tools"}


# ---------------------------------------------------------------- 9: safeguards

UNSUPPORTED = [{"type": "dangerous_tool_use", "status": {"type": "unsupported"}}]
CALL = ToolCall("Read", {"file": "a.py"})


@BOTH
@pytest.mark.parametrize("part", ["hello", CALL], ids=["text", "tool call"])
@pytest.mark.parametrize("pipeline", [CHAT, OTHERS, SIMULATOR], ids=["translated", "others", "simulated"])
async def test_safety_checks_that_nobody_made_are_unsupported(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, part: Any, stream: bool
) -> None:
    """4.4, 9.1, 9.3, 9.6: never `not_flagged`; the context is neither passed on nor logged."""
    answers: Any = messages if pipeline is OTHERS else chat
    upstream.answers(answers.stream(part) if stream else answers.whole(part))
    gate = await gateway(pipeline, url=upstream.url)
    model = "sim/tools" if part is CALL else "sim/echo"
    said = await ask(gate.url, from_agent(model=model, stream=stream))
    assert said.status == 200
    record = dict(said.events)["message_delta"]["delta"] if stream else said.json()
    assert record["stop_reason"] == ("tool_use" if part is CALL else "end_turn")
    assert record["safeguard_results"] == UNSUPPORTED
    assert not any(b"safeguard" in call.body or b"secret-project" in call.body for call in upstream.calls)
    await log_lines(gate)
    assert "secret-project" not in (gate.place.folder / "log.jsonl").read_text()


def judged(stream: bool) -> Reply:
    """An answer whose tool call was found to be safe."""
    verdict = {"type": "available", "tool_uses": {CALL.id: {"type": "evaluated", "outcome": "not_flagged"}}}
    results = json.dumps([{"type": "dangerous_tool_use", "status": verdict}])
    reply = messages.stream(CALL) if stream else messages.whole(CALL)
    before, _, after = reply.payload.rpartition(b'"stop_sequence": null')
    return Reply(200, reply.headers, (before + b'"safeguard_results": ' + results.encode() + after,))


@BOTH
async def test_a_model_that_was_not_asked_has_no_say_about_safety(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    """9.6: and all that comes before the end of its answer is relayed as it came."""
    reply = judged(stream)
    upstream.answers(reply)
    gate = await gateway(OTHERS, url=upstream.url)
    said = await ask(gate.url, from_agent(stream=stream))
    record = dict(said.events)["message_delta"]["delta"] if stream else said.json()
    assert record["safeguard_results"] == UNSUPPORTED
    assert b"not_flagged" not in said.body
    if stream:
        before = reply.payload.partition(b"event: message_delta")[0]
        assert said.body.startswith(before)
        assert [name for name, _ in said.events[-2:]] == ["message_delta", "message_stop"]


@BOTH
async def test_safety_checks_of_an_upstream_pass_unchanged(
    gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    """9.5: the field on the way there, the results and the ids of the calls on the way back."""
    payload = judged(stream).payload
    upstream.answers(judged(stream))
    gate = await gateway(RELAYED, url=upstream.url)
    body = from_agent(stream=stream)
    said = await ask(gate.url, body, headers={**VERSION, "anthropic-beta": BETAS})
    assert said.body == payload
    assert upstream.calls[0].json() == {**body, "model": "model-b"}
    assert upstream.calls[0].header("anthropic-beta") == BETAS
    await log_lines(gate)
    assert "secret-project" not in (gate.place.folder / "log.jsonl").read_text()


# ---------------------------------------------------------------- the page about it

ROW = re.compile(r"^\| (\d+\.\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
STATES = re.compile(r"met|partly: .+|open: .+|the client's")


def rows() -> dict[str, tuple[set[tuple[str, str]], str]]:
    """The rules of the page by number: their tests (file and name) and the state."""
    found = ROW.findall(PAGE.read_text("utf-8"))
    return {number: (set(re.findall(r"([\w/]+\.py)::(\w+)", tests)), state) for number, _, tests, state in found}


def docstrings(file: str) -> Mapping[str, str]:
    """The tests in a file below tests/, with their docstrings."""
    nodes = ast.parse((ROOT / "tests" / file).read_text("utf-8")).body
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in functions if node.name.startswith("test_")}


def test_the_page_names_tests_that_exist() -> None:
    """And no rule is met without one."""
    assert [number for number in rows() if number < "7.99"] == [
        *(f"{part}.{rule}" for part, last in enumerate((10, 7, 10, 12, 12, 12), 2) for rule in range(1, last + 1))
    ]
    for number, (tests, state) in rows().items():
        missing = [f"{file}::{name}" for file, name in tests if name not in docstrings(file)]
        assert not missing, f"{number}: {missing}"
        assert STATES.fullmatch(state), f"{number}: {state}"
        assert tests or state == "the client's" or state.startswith("open"), f"{number}: no test"


def test_the_page_knows_the_tests_of_this_file() -> None:
    """Each stands in the rows of the rules that its docstring names."""
    this = "integration/test_contract.py"
    named = {(number, name) for number, (tests, _) in rows().items() for file, name in tests if file == this}
    own = {
        (number, name)
        for name, text in docstrings(this).items()
        for number in re.findall(r"\d+\.\d+", text.partition(":")[0])
    }
    assert named == own
