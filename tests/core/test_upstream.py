"""Connections to upstreams: what is sent, how long each phase may take, and what is said when it goes wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from penstock import GatewayError, Secret, TimedOut, Upstream, UpstreamFailed, UpstreamRequest
from penstock.reach import Limits
from penstock.testing import CUT, HANG, PATIENCE, RESET, Reply, ScriptedUpstream, json_reply
from penstock.upstream import Pool
from tests.core.lane import reach
from tests.core.lines import Lines

KEY = "sk-upstream-key-0123456789"
ASK = UpstreamRequest("/ask", b'{"model":"m"}', {"content-type": "application/json"})
MakePool = Callable[..., Pool]


@pytest.fixture
async def pool() -> AsyncIterator[MakePool]:
    """A function that makes pools; keywords are time limits, or the rest of how an upstream is reached."""
    made: list[Pool] = []

    def make(url: str, **more: Any) -> Pool:
        limits: dict[str, Any] = {"connect": 5.0, "first_byte": 5.0, "idle": 5.0, "total": 30.0, "connections": 0}
        limits |= {name: more.pop(name) for name in list(more) if name in limits}
        more.setdefault("key", Secret(KEY))
        made.append(Pool(Upstream(name="main", protocol=Lines()), reach(url, Limits(**limits), **more)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def asked(pool: Pool, request: UpstreamRequest = ASK) -> bytes:
    """One request and its whole answer."""
    answer = await pool.send(request)
    try:
        return await answer.read_all(PATIENCE, PATIENCE)
    finally:
        answer.close()


async def failure(pool: Pool, request: UpstreamRequest = ASK) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await asked(pool, request)
    return caught.value


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("bearer", "authorization", f"Bearer {KEY}"),
        ("x-api-key", "x-api-key", KEY),
        ("api-key", "api-key", KEY),
        ("none", None, None),
    ],
)
async def test_the_key_goes_where_the_upstream_wants_it(
    upstream: ScriptedUpstream, pool: MakePool, auth: str, header: str | None, value: str | None
) -> None:
    upstream.answers(json_reply({}))
    await asked(pool(upstream.url, auth=auth))
    found = {name: upstream.calls[0].header(name) for name in ("authorization", "x-api-key", "api-key")}
    assert {name: sent for name, sent in found.items() if sent} == ({header: value} if header else {})


async def test_without_a_key_no_credential_is_sent(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.answers(json_reply({}))
    await asked(pool(upstream.url, key=Secret("")))
    assert upstream.calls[0].header("authorization") is None


async def test_only_the_headers_that_were_given_or_must_be_are_sent(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.answers(json_reply({}))
    await asked(pool(upstream.url, headers={"x-team": "red"}))
    call = upstream.calls[0]
    assert {name.lower() for name, _ in call.headers} == {
        *("host", "content-type", "content-length", "x-team", "authorization"),
        *("accept", "accept-encoding", "user-agent"),
    }
    assert (call.header("accept-encoding"), call.body) == ("identity", b'{"model":"m"}')


async def test_a_path_leaves_as_it_was_written(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.answers(json_reply({}))
    path = "/model/a%3Ab%2Fc/invoke?x=%2F&y=a%20b&z="
    await asked(pool(f"{upstream.url}/v1/"), UpstreamRequest(path, b"", {}, "GET"))
    assert (upstream.calls[0].method, upstream.calls[0].target) == ("GET", f"/v1{path}")


async def test_a_large_body_arrives(upstream: ScriptedUpstream, pool: MakePool) -> None:
    body = bytes(range(256)) * 4096 * 3
    upstream.answers(json_reply({}))
    await asked(pool(upstream.url), UpstreamRequest("/ask", body, {}))
    assert upstream.calls[0].body == body
    assert upstream.calls[0].header("content-length") == str(len(body))


async def test_a_redirection_is_not_followed(upstream: ScriptedUpstream, pool: MakePool) -> None:
    """Whoever follows one would take the key along."""
    upstream.answers(Reply(307, {"location": "/elsewhere"}))
    answer = await pool(upstream.url).send(ASK)
    assert (answer.status, answer.headers["location"]) == (307, "/elsewhere")
    assert len(upstream.calls) == 1


async def test_names_of_headers_come_in_lower_case(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.answers(json_reply({}, 429, {"Retry-After": "7", "X-Novel": "A"}))
    answer = await pool(upstream.url).send(ASK)
    assert (answer.status, answer.headers["retry-after"], answer.headers["x-novel"]) == (429, "7", "A")


# ---------------------------------------------------------------- connections


async def test_a_connection_is_used_again(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.always(json_reply({"n": 1}))
    one = pool(upstream.url)
    for _ in range(3):
        assert await asked(one) == b'{"n": 1}'
    assert upstream.connections == 1


@pytest.mark.parametrize("act", [CUT, RESET])
async def test_a_kept_connection_that_was_closed_is_no_failure(
    upstream: ScriptedUpstream, pool: MakePool, act: Any
) -> None:
    upstream.answers(json_reply({}), Reply().first(act), json_reply({"n": 3}))
    one = pool(upstream.url)
    await asked(one)
    assert await asked(one) == b'{"n": 3}'
    assert [call.connection for call in upstream.calls] == [1, 1, 2]


@pytest.mark.parametrize("act", [CUT, RESET])
async def test_a_fresh_connection_that_is_closed_is_one(upstream: ScriptedUpstream, pool: MakePool, act: Any) -> None:
    upstream.answers(Reply().first(act), json_reply({}))
    error = await failure(pool(upstream.url))
    assert isinstance(error, UpstreamFailed)
    assert error.message == "upstream 'main' closed the connection without an answer"
    assert len(upstream.calls) == 1


async def test_closing_an_answer_stops_the_upstream_now(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.answers(json_reply({}).then(HANG).framed("chunked"))
    answer = await pool(upstream.url).send(ASK)
    answer.close()
    assert await upstream.calls[0].over() == "gone"


async def test_no_more_connections_than_allowed(upstream: ScriptedUpstream, pool: MakePool) -> None:
    go_on = asyncio.Event()
    upstream.answers(Reply(200, {}, (b"one", go_on, b"two"), "chunked"), json_reply({}))
    one = pool(upstream.url, connections=1)
    tasks = [asyncio.get_running_loop().create_task(asked(one)) for _ in range(2)]
    await upstream.called(1)
    done, _ = await asyncio.wait(tasks, timeout=0.05)
    assert not done
    go_on.set()
    assert await asyncio.gather(*tasks) == [b"onetwo", b"{}"]
    assert upstream.connections == 1


# ---------------------------------------------------------------- time


@pytest.fixture
def full() -> Iterator[str]:
    """The URL of a listener that takes no more connections: its queue is full and nobody accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for one in waiting:
            one.close()


async def test_connecting_has_its_time(full: str, pool: MakePool) -> None:
    error = await failure(pool(full, connect=0.1))
    assert isinstance(error, TimedOut)
    assert error.message == "upstream 'main' did not accept a connection within 0.1 s"


async def test_the_first_byte_has_its_time(upstream: ScriptedUpstream, pool: MakePool) -> None:
    upstream.answers(json_reply({}).first(HANG))
    error = await failure(pool(upstream.url, first_byte=0.1))
    assert isinstance(error, TimedOut)
    assert error.message == "upstream 'main' did not answer within 0.1 s"
    assert await upstream.calls[0].over() == "gone"


SLOW = {
    "silence": (json_reply({}).then(HANG).framed("chunked"), 5.0, 0.1),
    "a trickle": (Reply(200, {}, (b"{", *(part for _ in range(100) for part in (0.02, b" "))), "chunked"), 0.1, 5.0),
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_whole_body_has_its_time(upstream: ScriptedUpstream, pool: MakePool, name: str) -> None:
    reply, total, idle = SLOW[name]
    upstream.answers(reply)
    answer = await pool(upstream.url).send(ASK)
    with pytest.raises(TimedOut, match="upstream 'main' did not finish its answer in time"):
        await answer.read_all(total, idle)
    answer.close()


async def test_reading_may_be_given_up_and_taken_up_again(upstream: ScriptedUpstream, pool: MakePool) -> None:
    go_on = asyncio.Event()
    upstream.answers(Reply(200, {}, (b"one", go_on, b"two"), "chunked"))
    answer = await pool(upstream.url).send(ASK)
    assert await answer.read(PATIENCE) == b"one"
    with pytest.raises(TimeoutError):
        await answer.read(0.02)
    go_on.set()
    assert await answer.read_all(PATIENCE, PATIENCE) == b"two"


# ---------------------------------------------------------------- what is said


async def test_nobody_listens(pool: MakePool) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        error = await failure(pool(f"http://127.0.0.1:{port}"))
    assert isinstance(error, UpstreamFailed)
    assert error.message == "upstream 'main' cannot be reached: connection refused"
    assert str(port) in (error.detail or "")


@pytest.mark.parametrize("act", [CUT, RESET])
async def test_an_answer_that_breaks_off(upstream: ScriptedUpstream, pool: MakePool, act: Any) -> None:
    upstream.answers(Reply(200, {}, (b'{"half"', act), "chunked"))
    error = await failure(pool(upstream.url))
    assert isinstance(error, UpstreamFailed)
    assert error.message == "upstream 'main' broke off its answer"


async def test_what_is_not_http(pool: MakePool) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        error = await failure(pool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    assert isinstance(error, UpstreamFailed)
    assert error.message == "upstream 'main' cannot be reached"


async def test_a_key_that_no_header_can_hold_is_not_shown(upstream: ScriptedUpstream, pool: MakePool) -> None:
    error = await failure(pool(upstream.url, key=Secret(f"{KEY}\nx-injected: 1")))
    assert isinstance(error, UpstreamFailed)
    assert KEY not in f"{error.message} {error.detail}"
    assert upstream.calls == []


def test_a_key_that_an_upstream_repeats_is_masked(pool: MakePool) -> None:
    one = pool("http://127.0.0.1:9")
    assert one.mask(f"Incorrect API key provided: {KEY}.") == "Incorrect API key provided: ***."
    assert pool("http://127.0.0.1:9", key=Secret("")).mask("as it is") == "as it is"


async def test_a_pool_that_was_never_used_can_be_closed(pool: MakePool) -> None:
    await pool("http://127.0.0.1:9").close()


async def test_a_host_that_does_not_exist_is_told_at_once(pool: MakePool) -> None:
    with pytest.raises(UpstreamFailed, match="upstream 'main' cannot be reached: its host name is unknown"):
        await pool("https://nosuch.invalid").send(ASK)  # RFC 2606: never resolves
