"""A clock for tests: it stands still until a test moves it."""


class Clock:
    """What plugins see as `self.clock`, the store in memory as its time, and exchanges as theirs, in seconds.

        async def test_it_forgets(pipeline, upstream, clock):
            upstream.answers("one", "two")
            gate = pipeline("plugins: [{cache: {ttl: 1m}}]")
            await gate.ask("hi")
            clock.advance(61)
            assert (await gate.ask("hi")).text == "two"

    It moves the lifetimes of what the store in memory holds, its token buckets and leases, and whatever a plugin tells
    from `self.clock`. It does not move sleeps and timers, such as `asyncio.sleep`, `asyncio.timeout`, the pings to a
    waiting client and the patience with an upstream; nor the calendar, which `time.time` and `datetime` tell; nor the
    time of other stores and other processes.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time go by at once. Raises ValueError for a step back."""
        if seconds < 0:
            raise ValueError(f"time does not go back, not even by {-seconds} s")
        self.now += seconds
