"""HTTP for plugins: only where it may go, by the address that is connected to; with limits; and what is never shown."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from penstock import HttpFailed
from penstock.outbound import Destination, Outbound
from penstock.testing import CUT, HANG, RESET, MakeUpstream, Reply, ScriptedUpstream, json_reply
from penstock.testing.reply import Act
from tests.integration.test_network import tunnel

LOCAL = {"127.0.0.1"}
MakeClient = Callable[..., Outbound]
OK = json_reply({"ok": True})


@pytest.fixture
async def client() -> AsyncIterator[MakeClient]:
    """A function that makes clients, for the hosts that they may reach."""
    made: list[Outbound] = []

    def make(*allow: str) -> Outbound:
        made.append(Outbound(allow))
        return made[-1]

    yield make
    for each in made:
        await each.close()


class Names:
    """A resolver: each look-up of a name gives its next addresses, the last ones for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, list[list[str]]] = {}
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, port: Any, *more: Any, **options: Any) -> Any:
        turns = self.known.get(host)
        if turns is None:
            return self._real(host, port, *more, **options)
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [found for each in addresses for found in self._real(each, port, *more, **options)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


async def failure(client: Outbound, url: str, **options: Any) -> str:
    with pytest.raises(HttpFailed) as caught:
        await client.request("GET", url, **options)
    return str(caught.value)


def port_of(server: ScriptedUpstream) -> int:
    port = urlsplit(server.url).port
    assert port
    return port


# ---------------------------------------------------------------- what is sent, what comes back


async def test_a_request_and_its_answer(client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.answers(json_reply({"id": 7}, 201, {"X-Said": "yes"}))
    made = client(upstream.url)
    answer = await made.request("POST", f"{upstream.url}/hook?a=b", json={"text": "hi"}, headers={"X-Mine": "1"})
    assert (answer.status, answer.ok, answer.headers["x-said"], answer.json(dict[str, int])) == (
        201,
        True,
        "yes",
        {"id": 7},
    )
    call = upstream.calls[0]
    assert (call.method, call.target, call.json()) == ("POST", "/hook?a=b", {"text": "hi"})
    sent = [call.header(name) for name in ("content-type", "x-mine", "user-agent", "accept-encoding")]
    assert sent == ["application/json", "1", "penstock", "identity"]


async def test_a_large_body_of_its_own_type(client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.answers(OK)
    body = b"x" * (2 << 20)
    await client(upstream.url).request("PUT", upstream.url, body=body, headers={"content-type": "text/csv"})
    assert (upstream.calls[0].body, upstream.calls[0].header("content-type")) == (body, "text/csv")


async def test_errors_and_redirects_are_answers(
    client: MakeClient, upstream: ScriptedUpstream, make_upstream: MakeUpstream
) -> None:
    elsewhere = await make_upstream()
    upstream.answers(json_reply({}, 302, {"location": elsewhere.url}), json_reply({}, 500, {"set-cookie": "a=b"}), OK)
    made = client("127.0.0.1")
    assert [(await made.request("GET", upstream.url)).status for _ in range(3)] == [302, 500, 200]
    assert elsewhere.calls == []
    assert upstream.calls[2].header("cookie") is None


@pytest.mark.parametrize("act", [CUT, RESET], ids=["closed", "reset"])
async def test_a_stale_connection_is_no_failure(client: MakeClient, upstream: ScriptedUpstream, act: Act) -> None:
    upstream.answers(OK, OK.first(act), OK)
    made = client("127.0.0.1")
    answers = [await made.request("POST", upstream.url, json={"n": n}) for n in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert [(call.connection, call.json()["n"]) for call in upstream.calls] == [(1, 0), (1, 1), (2, 1)]


# ---------------------------------------------------------------- limits


async def test_an_answer_in_time(client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.always(OK.first(HANG))
    assert await failure(client("127.0.0.1"), upstream.url, timeout=0.1) == "127.0.0.1 did not answer within 0.1 s"
    assert await upstream.calls[0].over() == "gone"


async def test_a_whole_answer_in_time(client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.always(Reply(200, {}, (b"{", HANG), "chunked"))
    assert await failure(client("127.0.0.1"), upstream.url, timeout=0.2) == "127.0.0.1 did not answer within 0.2 s"


async def test_an_answer_of_bounded_size(client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.always(Reply(200, {}, (b"x" * 2000, HANG), "chunked"))
    said = await failure(client("127.0.0.1"), upstream.url, limit=1000)
    assert said == "127.0.0.1 answered with more than 1000 bytes"
    assert await upstream.calls[0].over() == "gone"


async def test_a_compressed_answer_is_not_unfolded(client: MakeClient, upstream: ScriptedUpstream) -> None:
    upstream.always(Reply(200, {"content-encoding": "gzip"}, (b"\x1f\x8b",)))
    assert "compresses its answer" in await failure(client("127.0.0.1"), upstream.url)


@pytest.mark.parametrize(
    ("reply", "said"),
    [(OK.first(CUT), "closed the connection without an answer"), (OK.at(b"ok", CUT), "cannot be reached")],
)
async def test_a_broken_answer(client: MakeClient, upstream: ScriptedUpstream, reply: Reply, said: str) -> None:
    upstream.always(reply)
    assert said in await failure(client("127.0.0.1"), upstream.url)


async def test_nobody_is_there(client: MakeClient, upstream: ScriptedUpstream) -> None:
    await upstream.close()
    said = await failure(client("127.0.0.1"), f"{upstream.url}/hush?key=hush")
    assert said == "127.0.0.1 cannot be reached: connection refused"


@pytest.mark.parametrize("url", ["", "hush", "file:///hush", "ftp://hush", "http://", "http:///hush", "http://[hush"])
async def test_what_is_no_url_is_a_mistake_that_does_not_show_it(client: MakeClient, url: str) -> None:
    with pytest.raises(ValueError, match="a url begins with http") as caught:
        await client().request("GET", url)
    assert "hush" not in str(caught.value)


# ---------------------------------------------------------------- where it may go

SECRET_PLACES = [
    *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
    *("0.0.0.0", "255.255.255.255", "224.0.1.5", "240.0.0.1", "192.0.0.192", "198.18.0.1", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fec0::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
    *("2002:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "::ffff:0:127.0.0.1"),
]
PUBLIC_PLACES = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::"]
TRICKS = ["169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "fe80::1", "224.0.1.5", "ff02::1"]


def accepts(destination: Destination, address: str) -> bool:
    return destination.accepts(ipaddress.ip_address(address))


def test_only_public_addresses_are_accepted() -> None:
    destination = Destination("hooks.example", frozenset())
    assert [each for each in SECRET_PLACES if accepts(destination, each)] == []
    assert [each for each in PUBLIC_PLACES if not accepts(destination, each)] == []


def test_a_host_that_is_allowed_may_be_anywhere_but_where_only_tricks_lead() -> None:
    destination = Destination("intranet.example", frozenset({"intranet.example"}))
    assert all(accepts(destination, each) for each in ("10.1.2.3", "127.0.0.1", "fd00::1", *PUBLIC_PLACES))
    assert [each for each in TRICKS if accepts(destination, each)] == []
    assert accepts(Destination("169.254.1.1", frozenset({"169.254.1.1"})), "169.254.1.1"), "if it is that very address"


@pytest.mark.parametrize("host", [each if ":" not in each else f"[{each}]" for each in SECRET_PLACES])
async def test_an_address_in_the_url_is_refused(client: MakeClient, host: str) -> None:
    assert "is not public" in await failure(client(), f"http://{host}:1/")


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost", "LOCALHOST", "127.0.0.1."]
)
async def test_other_words_for_this_machine_are_refused(
    client: MakeClient, upstream: ScriptedUpstream, host: str
) -> None:
    said = await failure(client("hooks.example"), f"http://{host}:{port_of(upstream)}/")
    assert "gateway.http(allow=...)" in said
    assert upstream.calls == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_here_is_refused(
    client: MakeClient, upstream: ScriptedUpstream, names: Names, address: str
) -> None:
    names.known["evil.example"] = [[address]]
    said = await failure(client(), f"http://evil.example:{port_of(upstream)}/")
    assert said.startswith(f"evil.example is not public but {address}")
    assert upstream.connections == 0


async def test_a_name_that_changes_its_mind_is_refused(
    client: MakeClient, upstream: ScriptedUpstream, names: Names
) -> None:
    """Looked at when it is connected to: what a name was before, or says beside it, does not count."""
    names.known["evil.example"] = [["127.0.0.2", "127.0.0.1"], ["127.0.0.1"]]
    made = client()
    for _ in range(2):
        assert "is not public" in await failure(made, f"http://evil.example:{port_of(upstream)}/")
    assert upstream.connections == 0


async def test_the_hosts_that_an_operator_names_are_reached(
    client: MakeClient, upstream: ScriptedUpstream, names: Names
) -> None:
    upstream.always(OK)
    names.known["intranet.example"] = [["127.0.0.1"]]
    url = f"http://intranet.example:{port_of(upstream)}/"
    for allow in ("intranet.example", "Intranet.Example.", "https://intranet.example:99/hook"):
        assert (await client(allow).request("GET", url)).ok
    assert "is not public" in await failure(client("example"), url)


@pytest.mark.parametrize("nonsense", ["", "a:80", "https://", "a/b"])
def test_what_is_no_host_cannot_be_allowed(nonsense: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are partly a library's
        Outbound([nonsense])


async def test_a_name_that_nobody_knows(client: MakeClient, names: Names) -> None:
    names.known["nowhere.example"] = [["not an address"]]
    assert (
        await failure(client(), "http://nowhere.example/")
        == "nowhere.example cannot be reached: its host name is unknown"
    )


# ---------------------------------------------------------------- proxies


async def test_a_proxy_resolves_and_is_no_way_round(
    client: MakeClient, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)
    upstream.always(OK)
    assert (await client().request("GET", "http://hooks.example/x")).ok
    assert upstream.calls[0].target == "http://hooks.example/x"
    for host in ("127.0.0.1", "2130706433", "[::ffff:10.0.0.1]", "localhost", "metadata.internal", "intranet"):
        assert "is not public" in await failure(client(), f"http://{host}/")
    assert (await client("intranet").request("GET", "http://intranet/")).ok
    assert len(upstream.calls) == 2


# ---------------------------------------------------------------- TLS


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[ScriptedUpstream]:
    """A server with a certificate of a private CA, which is in `ca.pem`."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ScriptedUpstream()
    await server.start(context)
    server.always(OK)
    yield server
    await server.close()


async def test_certificates_are_verified(
    client: MakeClient, secure: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "TLS certificate was not accepted" in await failure(client("localhost"), secure.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert (await client("localhost").request("GET", secure.url)).ok


async def test_https_through_a_proxy(
    client: MakeClient, secure: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with tunnel() as (proxy, asked):
        monkeypatch.setenv("https_proxy", proxy)
        made = client("localhost")
        assert (await made.request("GET", secure.url)).ok
        await made.close()
    assert asked[0].startswith("CONNECT localhost:")


async def test_several_at_once_keep_to_their_own_hosts(
    client: MakeClient, upstream: ScriptedUpstream, names: Names
) -> None:
    upstream.always(OK)
    names.known["evil.example"] = [["127.0.0.1"]]
    made = client("127.0.0.1")
    urls = [upstream.url, f"http://evil.example:{port_of(upstream)}"] * 5
    found = await asyncio.gather(*(made.request("GET", url) for url in urls), return_exceptions=True)
    assert [isinstance(each, HttpFailed) for each in found] == [False, True] * 5
