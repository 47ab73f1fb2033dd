"""The server in one process: addresses, drain, signals, TLS. The servers are real processes."""

import asyncio
import shutil
import signal
import ssl
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from quart import Quart

from penstock.listen import listen
from penstock.server import ServerError, ServerOptions, Stop, run, serve
from tests.core.serving import connect, get, process, refusal, serving, stream

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
async def test_a_stream_outlives_sigterm(loop: str) -> None:
    async with serving(loop=loop) as server, stream(server.url) as open_stream:
        assert await open_stream.says("before") == "before"
        server.process.send_signal(signal.SIGTERM)
        await refusal(server.url)
        assert await open_stream.says("after") == "after"
        assert await open_stream.finish()
        assert await server.ends() == (0, "")
        assert [line.split()[0] for line in server.told] == ["started", "ready", "closed", "stopped"]


async def test_an_idle_connection_is_closed_when_the_server_stops() -> None:
    async with serving() as server:
        reader, writer = await connect(server.url)
        writer.write(b"GET /pid HTTP/1.1\r\nhost: test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        server.process.send_signal(signal.SIGINT)
        assert (await reader.read()).decode() == str(server.process.pid)
        writer.close()
        assert await server.ends() == (0, "")


@LOOPS
async def test_what_outlives_the_graceful_timeout_is_cut(loop: str) -> None:
    async with serving(loop=loop, graceful_timeout=0.5) as server, stream(server.url) as open_stream:
        server.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        assert await open_stream.is_cut()
        assert 0.4 < time.monotonic() - begin < 2
        status, errors = await server.ends()
        assert status == 0
        assert "what is still open is cut: 1" in errors
        assert [line.split()[0] for line in server.told][2:] == ["closed", "stopped"]


@LOOPS
async def test_the_second_signal_ends_a_server_at_once(loop: str) -> None:
    async with serving(loop=loop) as server, stream(server.url) as open_stream:
        _, slow = await connect(server.url)
        slow.write(b"GET /flood HTTP/1.1\r\nhost: test\r\n\r\n")  # never read: the server cannot flush
        assert await open_stream.says("hello") == "hello"
        server.process.send_signal(signal.SIGINT)
        await refusal(server.url)
        server.process.send_signal(signal.SIGINT)
        assert await open_stream.is_cut()
        assert (await server.ends())[0] == 0
        slow.transport.abort()


async def test_a_connection_that_hypercorn_does_not_read_is_cut_too() -> None:
    async with serving(graceful_timeout=0) as server:
        _, writer = await connect(server.url)
        writer.write(b"GET /silence HTTP/1.1\r\nhost: test\r\n\r\n" * 2)  # not read on before the first is answered
        await server.hears("silent")
        server.process.send_signal(signal.SIGTERM)
        assert (await server.ends())[0] == 0
        assert [line.split()[0] for line in server.told][3:] == ["closed", "stopped"]
        writer.transport.abort()


async def test_keep_alive_limits_idle_connections_and_not_streams() -> None:
    async with serving(keep_alive=0.3) as server, stream(server.url) as open_stream:
        reader, writer = await connect(server.url)
        writer.write(b"GET /pid HTTP/1.1\r\nhost: test\r\n\r\n")
        assert (await reader.read()).endswith(str(server.process.pid).encode())
        writer.close()
        assert await open_stream.says("still here") == "still here"
        assert await open_stream.finish()


async def test_the_server_does_not_name_itself() -> None:
    async with serving() as server:
        head, _ = await get(server.url)
        assert head.startswith("HTTP/1.1 200")
        assert "server:" not in head.lower()


@LOOPS
async def test_a_unix_socket(loop: str, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/penstock.sock"
    for _ in range(2):  # the first leaves its socket file behind
        async with serving(loop=loop, bind=bind) as server:
            assert server.url == bind
            assert (await get(server.url))[1] == str(server.process.pid)
            server.process.kill()


async def test_ipv6() -> None:
    async with process(bind="[::1]:0") as server:
        try:
            (server.url,) = await server.hears("ready")
        except EOFError as error:
            if "Address family" in str(error) or "assign requested address" in str(error):
                pytest.skip("this machine has no IPv6")
            raise
        assert server.url.startswith("http://[::1]:")
        assert (await get(server.url))[1] == str(server.process.pid)


class Certificate(NamedTuple):
    """Paths of PEM files for 127.0.0.1; `ca` is what a client has to trust."""

    certfile: str
    keyfile: str
    ca: str


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    files = Certificate(f"{tmp_path}/cert.pem", f"{tmp_path}/key.pem", f"{tmp_path}/cert.pem")
    if find_spec("trustme"):
        authority = import_module("trustme").CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(files.keyfile)
        issued.cert_chain_pems[0].write_to_path(files.certfile)
        authority.cert_pem.write_to_path(f"{tmp_path}/ca.pem")
        return files._replace(ca=f"{tmp_path}/ca.pem")
    if shutil.which("openssl") is None:
        pytest.skip("neither trustme nor openssl is there to make a certificate")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*new, *names, "-keyout", files.keyfile, "-out", files.certfile], check=True, capture_output=True)
    return files


@LOOPS
async def test_tls(loop: str, certificate: Certificate) -> None:
    client = ssl.create_default_context(cafile=certificate.ca)
    async with serving(loop=loop, certfile=certificate.certfile, keyfile=certificate.keyfile) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert (await get(server.url, tls=client))[1] == str(server.process.pid)
        async with stream(server.url, tls=client) as open_stream:
            assert await open_stream.says("secret") == "secret"
            assert await open_stream.finish()


async def test_an_address_in_use_is_named() -> None:
    with listen("127.0.0.1:0", 1) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        async with process(bind=bind) as server:
            status, errors = await server.ends()
    assert status == 1
    assert errors.startswith(f"error: cannot listen on {bind}, another process does already")
    assert "--bind 127.0.0.1:0" in errors
    assert "Traceback" not in errors


async def test_an_error_of_the_application_at_its_start_is_raised() -> None:
    app = Quart(__name__)

    @app.before_serving
    async def start() -> None:
        raise LookupError("no such pipeline")

    with listen("127.0.0.1:0", 1) as listener, pytest.raises(LookupError, match="no such pipeline"):
        await serve(app, listener, ServerOptions(), lambda: None, Stop())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be 1 or more, not 0"),
        ({"workers": 2}, "needs a worker_command"),
        ({"graceful_timeout": -1.0}, "graceful timeout must be 0 or more"),
        ({"keep_alive": 0.0}, "keep-alive time more than 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(ServerError, match=message):
        ServerOptions(**options)  # type: ignore[arg-type]


def test_uvloop_is_optional_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ServerError, match="uvloop is not installed"):
        run(ServerOptions(loop="uvloop"), _never, print)
    with pytest.raises(LookupError, match="made with"):
        run(ServerOptions(bind="127.0.0.1:0"), _tell_loop, print)


async def _never() -> Quart:
    raise AssertionError("not to be made")


async def _tell_loop() -> Quart:
    raise LookupError(f"made with {type(asyncio.get_running_loop()).__module__}")
