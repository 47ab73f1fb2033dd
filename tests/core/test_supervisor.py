"""Several workers: crashes, drain, signals, failed starts. The servers and their workers are real processes."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress

import pytest

from penstock.listen import ServerError
from penstock.supervisor import CONTROL_FD, LISTEN_FD, Inherited
from tests.core.serving import Server, get, process, refusal, serving, stream


async def pids(server: Server, number: int) -> set[int]:
    return {int(pid) for pid in await server.hears("started", number)}


async def test_a_killed_worker_is_replaced_and_the_others_go_on() -> None:
    async with serving(workers=3) as server, stream(server.url) as open_stream:
        first = await pids(server, 3)
        os.kill((first - {open_stream.pid}).pop(), signal.SIGKILL)
        assert len(await pids(server, 4)) == 4
        assert await open_stream.says("still here") == "still here"
        assert int((await get(server.url))[1]) in await pids(server, 4)
        assert await open_stream.finish()
        server.process.terminate()
        status, errors = await server.ends()
        assert status == 0
        assert "ended with status -9; the next one starts in 0.1 s" in errors
        assert len(await server.hears("ready")) == 1


async def test_no_stream_is_lost_at_the_end() -> None:
    async with serving(workers=2) as server, AsyncExitStack() as stack:
        workers = await pids(server, 2)
        streams = [await stack.enter_async_context(stream(server.url)) for _ in range(20)]
        server.process.terminate()
        await refusal(server.url)
        for number, open_stream in enumerate(streams):
            assert await open_stream.says(f"after {number}") == f"after {number}"
            assert await open_stream.finish()
        assert await server.ends() == (0, "")
        assert {int(pid) for pid in await server.hears("stopped", 2)} == workers


async def test_the_second_signal_ends_all_workers_at_once() -> None:
    async with serving(workers=2) as server, stream(server.url) as open_stream:
        await pids(server, 2)
        server.process.send_signal(signal.SIGINT)
        await refusal(server.url)
        server.process.send_signal(signal.SIGINT)
        assert await open_stream.is_cut()
        assert (await server.ends())[0] == 0
        assert len(await server.hears("stopped", 2)) == 2


async def test_workers_that_hang_are_killed_in_the_end() -> None:
    async with serving(workers=2) as server:
        for pid in await pids(server, 2):
            os.kill(pid, signal.SIGSTOP)
        for impatience in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            server.process.send_signal(impatience)
            with suppress(TimeoutError):
                await asyncio.wait_for(server.process.wait(), 0.3)
        assert await server.ends() == (0, "")


async def test_sighup_reaches_every_worker() -> None:
    async with serving(workers=2) as server:
        workers = await pids(server, 2)
        server.process.send_signal(signal.SIGHUP)
        assert {int(pid) for pid in await server.hears("reload", 2)} == workers
        assert int((await get(server.url))[1]) in workers


async def test_workers_drain_when_their_parent_is_killed() -> None:
    async with serving(workers=2) as server, stream(server.url) as open_stream:
        workers = await pids(server, 2)
        server.process.kill()
        await refusal(server.url)
        assert await open_stream.says("orphaned") == "orphaned"
        assert await open_stream.finish()
        assert {int(pid) for pid in await server.hears("stopped", 2)} == workers


async def test_a_server_whose_workers_cannot_start_gives_up() -> None:
    async with process("broken", workers=2) as server:
        status, errors = await server.ends()
    assert status == 1
    assert errors.endswith("error: no worker can start, 5 tried: nothing to serve\n")
    assert "a worker could not start: nothing to serve; the next one starts in 0.1 s" in errors
    assert "Traceback" not in errors
    assert server.told == []


def test_only_a_worker_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LISTEN_FD, raising=False)
    assert Inherited.take() is None
    monkeypatch.setenv(LISTEN_FD, "-1")
    monkeypatch.setenv(CONTROL_FD, "no number")
    with pytest.raises(ServerError, match="for a server's own workers: unset them"):
        Inherited.take()
    assert LISTEN_FD not in os.environ
