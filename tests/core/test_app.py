"""The HTTP application: which endpoint answers, what those of plugins get, and how a client is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import pytest
from yarl import URL

from penstock.testing import PATIENCE, MakeGateway, RunningGateway, ScriptedUpstream, messages

PIPELINE = """
path: {path}
upstreams: {main: {protocol: anthropic, url: "{url}"}}
plugins: [{steps}translation]
"""
DESK = '''
"""Endpoints of a plugin."""
import json
from penstock import Answer, Forbidden, Gateway, Plugin, hookimpl

class Desk(Plugin):
    """Repeats what it gets, refuses, and breaks."""

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        gateway.add_route("echo", self.echo, ("GET", "POST"))
        gateway.add_route("refuse", self.refuse)
        gateway.add_route("broken/deeper", self.fail)

    async def echo(self, asked):
        who = asked.principal and asked.principal.user
        told = {"method": asked.method, "path": asked.path, "query": asked.query, "peer": asked.peer, "who": who}
        told = json.dumps({**told, "headers": dict(asked.headers), "body": asked.body.decode()})
        return Answer(202, {"content-type": "application/json", "x-desk": "1"}, told.encode())

    async def refuse(self, asked):
        raise Forbidden("not at this desk")

    async def fail(self, asked):
        raise ZeroDivisionError("secret detail")
'''
WHO = '''
"""Says who is asking."""
from penstock import Gateway, Plugin, Principal, Unauthenticated, hookimpl

class Who(Plugin):
    """Lets everybody in, by name."""
    provides = frozenset({"principal"})

    silent: bool = False
    name: str = "ann"

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        if not self.silent:
            gateway.identify_by(self.identify)

    def identify(self, asked):
        if asked.headers.get("x-stranger"):
            raise Unauthenticated(f"no stranger at {asked.path}")
        return Principal(user=self.name) if self.name else None

    @hookimpl
    def on_request(self, exchange):
        exchange.identify(Principal(user="ann"))
'''
FILES = {"../plugins/desk.py": DESK, "../plugins/who.py": WHO}
PROMPT = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


class Said(NamedTuple):
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    gate: RunningGateway, method: str, path: str, body: bytes = b"", headers: list[tuple[str, str]] | None = None
) -> Said:
    """One request, its path as it is written."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session,
        session.request(method, URL(gate.url + path, encoded=True), data=body, headers=headers) as response,
    ):
        return Said(response.status, response.headers, await response.read())


async def serve(
    gateway: MakeGateway, upstream: ScriptedUpstream, path: str = "/", steps: str = "desk, ", shared: str = ""
) -> RunningGateway:
    files = {**FILES, "gateway.yaml": shared}
    return await gateway(PIPELINE, files=files, url=upstream.url, path=path, steps=steps)


# ---------------------------------------------------------------- where things are


async def test_a_pipeline_is_served_below_its_path(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.whole("hello"))
    gate = await serve(gateway, upstream, path="/team/one")
    for path in ("/team/one/v1/messages", "/team/one/v1/messages/", "/team/one//v1/messages?beta=true"):
        said = await ask(gate, "POST", path, json.dumps(PROMPT).encode())
        assert (said.status, said.json()["content"][0]["text"]) == (200, "hello")
    assert (await ask(gate, "POST", "/v1/messages", json.dumps(PROMPT).encode())).status == 404
    assert upstream.calls[2].query == "beta=true"


LOST = {
    ("GET", "/nowhere"): (404, "nothing is served at /nowhere; pipelines are at: /team"),
    ("GET", "/team/v1/nowhere"): (404, "nothing is served at /team/v1/nowhere; pipelines are at: /team"),
    ("GET", "/team/v1/messages"): (405, "GET is not served at /team/v1/messages; use POST"),
    ("DELETE", "/team/-/echo"): (405, "DELETE is not served at /team/-/echo; use GET or POST"),
    ("BREW", "/team/v1/messages"): (405, "BREW is not served at /team/v1/messages; use POST"),
    ("TRACE", "/"): (404, "nothing is served at /; pipelines are at: /team"),
    ("GET", "/line%0Abreak"): (404, "nothing is served at /line\ufffdbreak; pipelines are at: /team"),
    ("POST", "/team/v1/messages%0a"): (404, "nothing is served at /team/v1/messages\ufffd; pipelines are at: /team"),
    ("GET", "/%ff%1b[31m"): (404, "nothing is served at /\ufffd\ufffd[31m; pipelines are at: /team"),
    ("OPTIONS", "/team/v1/messages"): (405, "OPTIONS is not served at /team/v1/messages; use POST"),
}


@pytest.mark.parametrize(("method", "path"), LOST)
async def test_who_is_lost_is_told_where_things_are(
    gateway: MakeGateway, upstream: ScriptedUpstream, method: str, path: str
) -> None:
    gate = await serve(gateway, upstream, path="/team")
    said = await ask(gate, method, path)
    status, message = LOST[method, path]
    assert (said.status, said.json()["error"]["message"]) == (status, message)
    assert ("type" in said.json()) is path.startswith("/team")  # in the words of the protocol that is near


async def test_health_is_told_at_the_root_and_at_every_pipeline(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await serve(gateway, upstream, path="/team")
    for path in ("/health", "/team/health"):
        said = await ask(gate, "GET", path)
        generation = gate.host.current.id
        assert said.json() == {"live": True, "ready": True, "generation": generation, "reload_failed": False}
        assert (await ask(gate, "HEAD", path)).status == 200
    assert not await gate.reload("plugins: [nothing]\n")
    assert (await ask(gate, "GET", "/health")).json()["reload_failed"] is True


async def test_probes_are_answered_without_asking_anybody(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await serve(gateway, upstream, path="/team")
    assert (await ask(gate, "HEAD", "/team")).status == 200
    assert (await ask(gate, "HEAD", "/team/api/hello")).status == 200
    assert upstream.calls == []


# ---------------------------------------------------------------- endpoints of plugins


async def test_a_plugins_endpoint_gets_headers_and_body(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await serve(gateway, upstream, path="/team")
    headers = [("X-Team", "red"), ("X-Team", "blue"), ("X-Name", "Ann")]
    said = await ask(gate, "POST", "/team/-/echo", b"hello", headers)
    assert (said.status, said.headers["x-desk"]) == (202, "1")
    assert said.json()["body"] == "hello"
    assert (said.json()["headers"]["x-team"], said.json()["headers"]["x-name"]) == ("red, blue", "Ann")


async def test_a_plugins_endpoint_is_told_what_is_asked_and_by_whom(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await serve(gateway, upstream, path="/team")
    told = (await ask(gate, "GET", "/team/-/echo?day=1&day=2&team=a%20b&all")).json()
    assert (told["method"], told["path"], told["peer"]) == ("GET", "echo", "127.0.0.1")
    assert told["query"] == {"day": "2", "team": "a b", "all": ""}
    assert told["who"] is None, "nobody has to say it here"
    assert await gate.reload(PIPELINE.replace("{path}", "/team").replace("{steps}", "who, desk, "))
    assert (await ask(gate, "POST", "/team/-/echo")).json()["who"] == "ann"


async def test_where_clients_say_who_they_are_an_endpoint_is_not_even_asked_by_others(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await serve(gateway, upstream, steps="who, desk, ")
    said = await ask(gate, "GET", "/-/broken/deeper", headers=[("x-stranger", "1")])
    assert (said.status, said.json()) == (
        401,
        {"error": {"type": "unauthenticated", "message": "no stranger at broken/deeper"}},
    )


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ("who: {silent: true}, desk, ", "cannot say who is asking here"),
        ("who, who: {silent: true}\n  id: second, desk, ", "cannot say who is asking here"),
        ("who, who: {name: bob}\n  id: second, desk, ", "disagree about who is asking"),
        ('who: {name: ""}, desk, ', "did not say who is asking"),
    ],
)
async def test_an_endpoint_is_closed_unless_every_login_says_who_is_asking(
    gateway: MakeGateway, upstream: ScriptedUpstream, steps: str, complaint: str
) -> None:
    listed = "".join(f"\n- {step}" for step in steps.removesuffix(", ").split(", "))
    text = PIPELINE.replace("[{steps}translation]", f"{listed}\n- translation")
    gate = await gateway(text, files=FILES, url=upstream.url, path="/")
    said = await ask(gate, "GET", "/-/echo")
    assert said.status == 403
    assert complaint in said.json()["error"]["message"]


async def test_what_goes_wrong_there_is_an_error_like_any_other(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await serve(gateway, upstream)
    refused = await ask(gate, "GET", "/-/refuse")
    assert (refused.status, refused.json()["error"]["message"]) == (403, "not at this desk")
    broken = await ask(gate, "GET", "/-/broken/deeper")
    assert (broken.status, broken.json()["error"]["type"]) == (500, "internal")
    assert b"secret detail" not in broken.body
    assert "secret detail" in caplog.text


# ---------------------------------------------------------------- who is let in

STRANGERS = [
    {"host": "gateway.example"},
    {"host": "192.168.0.7:4000"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"host": "127.0.0.1.evil.example"},
]
NEIGHBOURS = [{}, {"host": "localhost:4000"}, {"host": "[::1]:4000"}, {"origin": "http://127.0.0.1:3000"}]


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
async def test_an_open_pipeline_is_for_this_machines_programs(
    gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str]
) -> None:
    gate = await serve(gateway, upstream)
    for method, path in (("POST", "/v1/messages"), ("GET", "/-/echo")):
        said = await ask(gate, method, path, headers=list(headers.items()))
        assert said.status == 403
        assert "no login" in said.json()["error"]["message"]


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
async def test_a_proxy_on_this_machine_does_not_open_it_to_others(
    gateway: MakeGateway, upstream: ScriptedUpstream, name: str
) -> None:
    gate = await serve(gateway, upstream)
    said = await ask(gate, "POST", "/v1/messages", headers=[(name, "10.0.0.7")])
    assert said.status == 403
    assert "answers no proxy: add the step 'auth'" in said.json()["error"]["message"]
    guarded = await serve(gateway, upstream, steps="who, desk, ")
    assert (await ask(guarded, "GET", "/-/echo", headers=[(name, "10.0.0.7")])).status == 202


@pytest.mark.parametrize("headers", NEIGHBOURS, ids=str)
async def test_whatever_they_call_it(gateway: MakeGateway, upstream: ScriptedUpstream, headers: dict[str, str]) -> None:
    gate = await serve(gateway, upstream)
    assert (await ask(gate, "GET", "/-/echo", headers=list(headers.items()))).status == 202


async def test_with_a_login_it_does_not_matter_where_one_comes_from(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gate = await serve(gateway, upstream, steps="who, desk, ")
    assert (await ask(gate, "GET", "/-/echo", headers=[("host", "gateway.example")])).status == 202


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"x" * 1001, [], 413, "the request body is larger than 1000 bytes"),
        (
            b"{}",
            [("content-encoding", "gzip")],
            415,
            "content-encoding 'gzip' is not supported; send the body as it is",
        ),
        (b"{", [], 400, "the request body is not JSON"),
        (b"[]", [], 400, "the request body must be a JSON object"),
        (b"", [], 400, "the request body is not JSON"),
    ],
)
async def test_bodies_that_are_of_no_use(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    headers: list[tuple[str, str]],
    status: int,
    message: str,
) -> None:
    gate = await serve(gateway, upstream, shared="body_limit: 1000\n")
    said = await ask(gate, "POST", "/v1/messages", body, headers)
    assert said.status == status
    assert said.json()["error"]["message"].startswith(message)
    assert said.headers["request-id"] in caplog.text
    assert upstream.calls == []


async def test_a_generation_outlives_the_reading_of_a_slow_body(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.always(messages.whole("hello"))
    gate = await serve(gateway, upstream)
    assert (await ask(gate, "POST", "/v1/messages", json.dumps(PROMPT).encode())).status == 200
    half_sent, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        text = json.dumps(PROMPT).encode()
        yield text[:10]
        half_sent.set()
        await go_on.wait()
        yield text[10:]

    async def send() -> int:
        async with aiohttp.ClientSession(gate.url) as session, session.post("/v1/messages", data=body()) as response:
            return response.status

    sending = asyncio.get_running_loop().create_task(send())
    await half_sent.wait()
    await ask(gate, "GET", "/health")  # by now the gateway has begun to read
    assert await gate.reload()
    go_on.set()
    assert await sending == 200
