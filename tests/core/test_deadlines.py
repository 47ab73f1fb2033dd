"""Time limits that share a timer: they end in time, and nothing else is taken for them."""

import asyncio

import pytest
import uvloop

from penstock.deadlines import Deadlines


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_an_await_in_time_is_left_alone(deadlines: Deadlines) -> None:
    with deadlines.within(60):
        assert await asyncio.sleep(0, "done") == "done"


async def test_an_await_that_takes_too_long_is_ended(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError), deadlines.within(0.01):
        await forever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_no_time_at_all_is_too_late_at_once(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError), deadlines.within(-1):
        await forever()


async def test_each_wait_has_its_own_end(deadlines: Deadlines) -> None:
    ended: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await forever()
        ended.append(name)

    await asyncio.gather(wait("long", 0.05), wait("short", 0.01), wait("middle", 0.03))
    assert ended == ["short", "middle", "long"]


async def test_a_wait_after_one_that_ended_in_time_has_its_full_time(deadlines: Deadlines) -> None:
    with deadlines.within(0.02):
        await asyncio.sleep(0)
    with deadlines.within(60):
        await asyncio.sleep(0.05)


async def test_a_cancellation_from_elsewhere_stays_one(deadlines: Deadlines) -> None:
    async def wait() -> None:
        with deadlines.within(60):
            await forever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_time_wins(deadlines: Deadlines) -> None:
    async def wait() -> None:
        with deadlines.within(0.01):
            try:
                await forever()
            finally:
                task.cancel()  # somebody else gives up while the limit is taking effect

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_fails_in_time_fails_with_its_own_error(deadlines: Deadlines) -> None:
    with pytest.raises(ValueError, match="own"), deadlines.within(60):
        raise ValueError("own")


async def test_closing_leaves_no_timer_behind(deadlines: Deadlines) -> None:
    with deadlines.within(0.01):
        await asyncio.sleep(0)
    deadlines.close()
    await asyncio.sleep(0.03)
    with deadlines.within(60):
        await asyncio.sleep(0)


@pytest.mark.parametrize("soon", [0.0, -1.0, 0.0002])
def test_on_uvloop_a_wait_that_is_over_at_once_harms_no_other(soon: float) -> None:
    async def main() -> None:
        deadlines = Deadlines()

        async def late() -> None:
            with pytest.raises(TimeoutError), deadlines.within(soon):
                await forever()

        async def early() -> str:
            with deadlines.within(60):
                return await asyncio.sleep(0.02, "done")

        assert (await asyncio.gather(late(), early()))[1] == "done"

    uvloop.run(main())
