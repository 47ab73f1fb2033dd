"""The way to an upstream: kept connections that went stale, proxies from the environment, private certificates."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from penstock.listen import listen
from penstock.testing import CUT, RESET, MakeGateway, ScriptedUpstream, messages
from tests.integration.talk import RELAY, ask, log_lines, prompt

HELLO = messages.stream("hello")


@pytest.mark.parametrize("act", [CUT, RESET], ids=["closed", "reset"])
async def test_a_stale_connection_is_no_failure(gateway: MakeGateway, upstream: ScriptedUpstream, act: object) -> None:
    """The upstream closes a kept connection just as the next request comes in on it."""
    assert act in (CUT, RESET)
    upstream.answers(HELLO, HELLO.first(act), HELLO)
    gate = await gateway(RELAY, url=upstream.url)
    for _ in range(2):
        said = await ask(gate.url, prompt(stream=True))
        assert (said.status, said.text) == (200, "hello")
    assert [call.connection for call in upstream.calls] == [1, 1, 2]
    assert upstream.calls[2].body == upstream.calls[1].body
    assert [len(line["attempts"]) for line in await log_lines(gate, 2)] == [1, 1]


async def test_a_fresh_connection_that_is_closed_is_a_failure(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(HELLO.first(CUT))
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error["type"]) == (502, "api_error")
    assert "without an answer" in said.error["message"]
    assert len(upstream.calls) == 1


async def test_a_proxy_from_the_environment(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For plain HTTP a proxy is an upstream that is asked for whole addresses."""
    monkeypatch.setenv("http_proxy", upstream.url.replace("//", "//me:se%40cret@"))
    upstream.answers(HELLO)
    gate = await gateway(RELAY, url="http://provider.invalid:8080/base")
    said = await ask(gate.url, prompt(stream=True), path="/v1/messages?beta=true")
    assert (said.status, said.text) == (200, "hello")
    call = upstream.calls[0]
    assert call.target == "http://provider.invalid:8080/base/v1/messages?beta=true"
    assert call.header("proxy-authorization") == f"Basic {b64encode(b'me:se@cret').decode()}"
    assert call.header("x-api-key") == "upstream-key"


async def test_no_proxy_for_names_the_environment_excepts(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    upstream.answers(HELLO)
    gate = await gateway(RELAY, url=upstream.url)
    assert (await ask(gate.url, prompt(stream=True))).status == 200


async def test_a_proxy_that_is_not_there(
    gateway: MakeGateway, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error["type"]) == (502, "api_error")
    assert "secret" not in said.body.decode()


# ---------------------------------------------------------------- TLS


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[ScriptedUpstream]:
    """An upstream with a certificate of a private CA, which is at `ca.pem` beside the pipeline."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    folder = tmp_path / "pipelines"
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    upstream = ScriptedUpstream()
    await upstream.start(context)
    yield upstream
    await upstream.close()


async def test_a_private_certificate_is_not_accepted_as_it_is(gateway: MakeGateway, secure: ScriptedUpstream) -> None:
    gate = await gateway(RELAY, url=secure.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error["type"]) == (502, "api_error")
    assert "certificate" in said.error["message"]
    assert secure.calls == []


async def test_a_private_ca_in_the_file(gateway: MakeGateway, secure: ScriptedUpstream, tmp_path: Path) -> None:
    secure.answers(HELLO, HELLO)
    absolute = tmp_path / "pipelines" / "ca.pem"
    for file in (str(absolute), "ca.pem"):
        gate = await gateway(RELAY.replace("key: upstream-key", f'key: k, ca_file: "{file}"'), url=secure.url)
        said = await ask(gate.url, prompt(stream=True))
        assert (said.status, said.text) == (200, "hello"), file


async def test_a_private_ca_in_the_environment(
    gateway: MakeGateway, secure: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pipelines" / "ca.pem"))
    secure.answers(HELLO)
    gate = await gateway(RELAY, url=secure.url)
    assert (await ask(gate.url, prompt(stream=True))).text == "hello"


async def test_a_ca_file_that_is_not_there_starts_nothing(gateway: MakeGateway, secure: ScriptedUpstream) -> None:
    from penstock.problems import ConfigError

    for file in ("missing.pem", "test.yaml"):
        with pytest.raises(ConfigError, match=r"ca_file|missing\.pem|certificate"):
            await gateway(RELAY.replace("key: upstream-key", f"key: k, ca_file: {file}"), url=secure.url)


async def test_https_through_a_proxy(
    gateway: MakeGateway, secure: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.answers(HELLO)
    async with tunnel() as (proxy, asked):
        monkeypatch.setenv("https_proxy", proxy.replace("//", "//me:secret@"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pipelines" / "ca.pem"))
        gate = await gateway(RELAY, url=secure.url)
        assert (await ask(gate.url, prompt(stream=True))).text == "hello"
        await gate.close()
    assert asked[0].startswith(f"CONNECT {urlsplit(secure.url).netloc} HTTP/1.1")
    assert f"Basic {b64encode(b'me:secret').decode()}" in asked[0]
    assert "upstream-key" not in asked[0]
    assert secure.calls[0].header("proxy-authorization") is None


@asynccontextmanager
async def tunnel() -> AsyncIterator[tuple[str, list[str]]]:
    """A tiny forward proxy for CONNECT: its address, and the heads of what it was asked."""
    asked: list[str] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        host, port = head.split()[1].split(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with suppress(ConnectionError):
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_small_writes_leave_at_once() -> None:
    """With Nagle's algorithm each event of a stream could wait 40 ms for the one before it."""
    delayed: asyncio.Queue[bool] = asyncio.Queue()

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await delayed.put(not option)
        writer.close()

    listener = listen("127.0.0.1:0", 1)
    async with await asyncio.start_server(accepted, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await delayed.get() is False
        writer.close()
