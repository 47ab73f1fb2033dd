"""The store on a Redis server: its own tests, those of all stores, and several processes at one server."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Store, StoreUnavailable, Take
from penstock.testing import PATIENCE
from penstock_redis import RedisStore
from penstock_redis.address import parse
from tests.plugins.crowd import CrowdContract, Place, eventually, two_gateways_share
from tests.plugins.redis_server import BINARY, RedisServer
from tests.plugins.stores import SLOW, Clock, Deed, Later, StoreContract, check, deeds

HERE = Path()
needs_server = pytest.mark.skipif(BINARY is None, reason="needs redis-server or valkey-server")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """A server without contents."""
    assert shared.talk("FLUSHALL") == "+OK"
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that may be stopped."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url + "?timeout=5", HERE)
    yield store
    await store.close()


@pytest.fixture
def later() -> Later:
    """The server has a clock of its own, which counts in milliseconds."""
    return lambda seconds: asyncio.sleep(seconds + 0.02)


@needs_server
class TestRedis(StoreContract):
    """The contract, on a server."""


@needs_server
class TestProcesses(CrowdContract):
    """Several processes at one server."""

    @pytest.fixture
    def place(self, server: RedisServer) -> Place:
        return Place(server.url + "?timeout=5", HERE)


@needs_server
def test_it_does_what_the_model_does(shared: RedisServer) -> None:
    @settings(max_examples=50)
    @given(deeds(st.just(SLOW), st.just(0.0)))
    def example(done: list[Deed]) -> None:
        assert shared.talk("FLUSHALL") == "+OK"
        asyncio.run(play([_lasting(deed) for deed in done]))

    async def play(done: list[Deed]) -> None:
        store = RedisStore(shared.url + "?timeout=5", HERE)
        await check(store, Clock(), done)
        await store.close()

    example()


def _lasting(deed: Deed) -> Deed:
    """A deed whose effects do not end while the test runs: time passes on the server, not in the model."""
    verb, arguments = deed
    if verb in ("set", "add") and arguments[2] is not None:
        return verb, (*arguments[:2], arguments[2] + 1000)
    return (verb, (*arguments[:3], arguments[3] + 1000)) if verb == "hold" else deed


@needs_server
async def test_gateways_share_it(server: RedisServer, tmp_path: Path) -> None:
    await two_gateways_share(tmp_path, '"${REDIS_URL}"', {"REDIS_URL": server.url})


# ---------------------------------------------------------------- what is on the server


@needs_server
async def test_all_keys_say_whose_they_are_and_expire(store: RedisStore, server: RedisServer) -> None:
    await store.set("k", 1, ttl=100)
    await store.add("n", 1, ttl=100)
    await store.take([Take("k", 10, 0.1, 5), Take("full", 10, 1, 0)])
    await store.hold("k", 1, "me", 200)
    await store.hold("k", 2, "you", 100)
    found = {key: int(server.talk(f"PTTL penstock:{key}")[1:]) / 1000 for key in ("v:k", "v:n", "b:k", "l:k")}
    assert server.talk("DBSIZE") == ":4"
    assert found == pytest.approx({"v:k": 100, "v:n": 100, "b:k": 50, "l:k": 200}, abs=PATIENCE)


@needs_server
async def test_a_server_that_forgot_the_scripts_is_told_again(store: RedisStore, server: RedisServer) -> None:
    assert await store.add("n", 1) == 1
    server.talk("SCRIPT FLUSH")
    assert await store.add("n", 1) == 2
    assert await store.add("n", 1) == 3


@needs_server
async def test_times_beyond_the_servers_are_as_good_as_for_ever(store: RedisStore) -> None:
    await store.set("k", 1, ttl=1e300)
    await store.take([Take("b", 1e15, 1e-9, 1e15)])
    assert await store.get("k", int) == 1
    assert await store.take([Take("b", 1e15, 1e-9, 1e15)]) == pytest.approx(1e24)


# ---------------------------------------------------------------- when it is away


@needs_server
async def test_it_works_again_when_the_server_is_back(own: RedisServer) -> None:
    store = RedisStore(own.url + "?timeout=2", HERE)
    failures: list[str] = []
    done = 0

    async def work() -> None:
        nonlocal done
        while done < 2000:
            try:
                await store.add("n", 1)
                done += 1
            except StoreUnavailable as error:
                failures.append(str(error))
                await asyncio.sleep(0.01)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(work())
        await eventually(lambda: _is(lambda: done > 500))
        own.kill()
        await eventually(lambda: _is(lambda: len(failures) > 50))
        before = done
        own.start()
        await eventually(lambda: _is(lambda: done > before + 100))
        again = len(failures)
        await eventually(lambda: _is(lambda: done >= 2000))
    assert len(failures) <= again + 10
    assert all(failure.startswith(f"redis://127.0.0.1:{own.port}/0") for failure in failures)
    await store.close()


async def _is(ask: Callable[[], bool]) -> bool:
    return ask()


@needs_server
async def test_a_server_that_does_not_answer_is_not_waited_for(own: RedisServer) -> None:
    store = RedisStore(own.url + "?timeout=0.2", HERE)
    await store.set("a", "of a")
    await store.set("b", "of b")
    own.freeze()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    failures = await asyncio.gather(*(store.get("a", str) for _ in range(100)), return_exceptions=True)
    assert loop.time() - begin < 1
    assert {str(failure) for failure in failures} == {f"redis://127.0.0.1:{own.port}/0 did not answer within 0.2 s"}
    own.thaw()
    patient = RedisStore(own.url + "?timeout=5", HERE)
    assert await patient.get("b", str) == "of b"
    assert [await store.get(key, str) for key in "abab"] == ["of a", "of b"] * 2  # no late answers to other questions
    await store.close()
    await patient.close()


@needs_server
async def test_who_goes_away_does_not_leave_an_answer_behind(store: RedisStore) -> None:
    for number in range(50):
        await store.set(f"{number}", number)
    for number in range(50):
        task = asyncio.ensure_future(store.get("0", int))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        assert await store.get(f"{number}", int) == number


async def test_nobody_there(unused_tcp_port: int) -> None:
    store = RedisStore(f"redis://:hunter2@127.0.0.1:{unused_tcp_port}", HERE)
    with pytest.raises(StoreUnavailable, match=f"redis://127.0.0.1:{unused_tcp_port}/0: ") as caught:
        await store.open()
    assert "hunter2" not in str(caught.value)
    await store.close()


# ---------------------------------------------------------------- logging in


@needs_server
async def test_passwords(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "p@ss/w#rd")
    server.start()
    at = f"127.0.0.1:{server.port}"
    try:
        for url in (f"redis://:p%40ss%2Fw%23rd@{at}", f"redis://default:p%40ss%2Fw%23rd@{at}/1"):
            await works(RedisStore(url, HERE))
        await refused(RedisStore(f"redis://:wrong-one@{at}/0", HERE), f"redis://{at}/0: ")
        await refused(RedisStore(f"redis://{at}/3", HERE), f"redis://{at}/3: ")
        await refused(RedisStore(f"redis://:p%40ss%2Fw%23rd@{at}/99", HERE), f"redis://{at}/99: ")
    finally:
        server.kill()


async def works(store: Store) -> None:
    await store.open()
    assert await store.add("n", 1) == 1
    await store.close()


async def refused(store: Store, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        await store.open()
    assert not any(word in repr(caught.value) for word in ("wrong-one", "p@ss", "p%40ss"))
    await store.close()


@needs_server
async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    files = ("--tls-cert-file", f"{tmp_path}/server.pem", "--tls-key-file", f"{tmp_path}/server.pem")
    server = RedisServer(
        tmp_path, *files, "--tls-ca-cert-file", f"{tmp_path}/ca.pem", "--tls-auth-clients", "no", tls=True
    )
    server.start()
    url = f"rediss://127.0.0.1:{server.port}?timeout=5"
    try:
        stranger = RedisStore(url, HERE)
        with pytest.raises(StoreUnavailable, match="certificate"):
            await stranger.open()
        await stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/ca.pem")
        await works(RedisStore(url, HERE))
    finally:
        server.kill()


# ---------------------------------------------------------------- the url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://user:hunter2@h.example:1/2?timeout=1.5", "redis://h.example:1/2"),
        ("rediss://:hunter2@[::1]/", "rediss://[::1]:6379/0"),
    ],
)
def test_a_url_is_understood_and_shown_without_its_login(url: str, shown: str) -> None:
    assert str(parse(url)) == shown
    assert "hunter2" not in repr(parse(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis:",
        "redis://",
        "redis://:6379",
        "redis://h:port",
        "redis://h:99999",
        "redis://h/name",
        "redis://h/0/1",
        "redis://h?db=1",
        "redis://h?timeout",
        "redis://h?timeout=soon",
        "redis://h#0",
        "redis://:hunter2/@h",
        "redis://:hunter2#@h",
        "redis://:hun[ter2@h",
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^write redis://") as caught:
        RedisStore(url, HERE)
    assert "hun" not in str(caught.value)


def test_without_the_extra_check_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("store: redis://127.0.0.1\n")
    (tmp_path / "a.yaml").write_text("plugins: [models, translation]\nupstreams: {a: {preset: anthropic, key: k}}\n")
    script = "import sys; sys.modules['redis'] = None; from penstock.cli import main; main()"
    command = [sys.executable, "-c", script, "check", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 1
    assert "gateway.yaml:1:8: the store cannot be used: it needs the extra 'redis': pip install 'penstock[redis]'" in (
        run.stdout + run.stderr
    )
    assert "Traceback" not in run.stderr
