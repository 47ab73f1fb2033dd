"""A fleet of gateways, its clients and an upstream that counts: what test_fleet.py lets loose on each other."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from typing import NamedTuple

import aiohttp

from penstock.testing import CUT, Call, GatewayProcess, MakeProcess, Reply, ScriptedUpstream, messages
from penstock_auth.keys import hash_of, new_key
from tests.integration.talk import prompt

REQUESTS = int(os.environ.get("FLEET_REQUESTS", "2000"))
CLIENTS = 24
KEYS = {name: new_key() for name in ("ann", "ben", "eve")}
A_DAY = REQUESTS // 4
"""Requests that ann may make, fewer than she tries."""
A_MINUTE = REQUESTS // 8
"""And ben."""
AT_ONCE = 6
"""Requests of eve that may be under way."""
TOKENS = REQUESTS * 3000
"""Tokens a day of each of them: more than they use, so that the buckets tell how many were taken."""
ESTIMATE = 150
"""Tokens reserved for one request, at most: those of its document, and its `max_tokens`."""
LEASE = 60.0
"""Seconds for which places of a dead gateway are taken at most."""

PIPELINE = f"""
path: /
upstreams:
  main: {{protocol: anthropic, url: "{{url}}", key: upstream-key}}
plugins:
  - auth: {{keys: keys.yaml}}
  - usage: {{journal: journal}}
  - limits: {{requests_per_day: {A_DAY}, tokens_per_day: {TOKENS}}}
  - models: {{routes: {{"*": main}}}}
  - translation
teams:
  design:
    limits: {{requests_per_day: 1000000, requests_per_minute: {A_MINUTE}}}
  research:
    limits: {{requests_per_day: 1000000, concurrency: {AT_ONCE}}}
"""
TEAMS = {"ann": "platform", "ben": "design", "eve": "research"}
PEOPLE = "keys:\n" + "".join(
    f'  - {{hash: "{hash_of(key)}", user: {name}, team: {TEAMS[name]}}}\n' for name, key in KEYS.items()
)


class Asked(NamedTuple):
    """What a client knows of one of its requests. The status is 0 if it has left, or was left, before there was one."""

    user: str
    gateway: int
    began: float
    ended: float
    status: int
    complete: bool


class Answered(NamedTuple):
    """What the upstream knows of it: what it has used, and whether the end of the answer was sent at all."""

    user: str
    status: int
    tokens: tuple[int, int]
    whole: bool


class Counting:
    """An upstream that answers at random, and keeps count."""

    def __init__(self, chance: random.Random) -> None:
        self.answered: dict[str, Answered] = {}
        self.repeated: list[str] = []
        self.most = 0
        self._eves: list[Call] = []
        self._chance = chance

    def reply(self, call: Call) -> Reply:
        """Whole, streamed, cut in the middle, or an error."""
        body, chance = call.json(), self._chance
        user, session = body["messages"][0]["content"].split()
        if session in self.answered:
            self.repeated.append(session)
        if user == "eve":
            self._eves = [*(other for other in self._eves if other.ended == "open"), call]
            self.most = max(self.most, len(self._eves))
        luck, streamed = chance.random(), body.get("stream", False)
        if luck < 0.1:
            status = chance.choice([400, 500, 529])
            self.answered[session] = Answered(user, status, (0, 0), whole=False)
            return messages.error(status, "api_error", "not today")
        tokens = (chance.randrange(1, 5000), chance.randrange(1, 500))
        made = messages.stream if streamed else messages.whole
        reply = made("hello", input_tokens=tokens[0], output_tokens=tokens[1]).first(chance.random() * 0.02)
        cut = streamed and luck < 0.2
        self.answered[session] = Answered(user, 200, tokens, whole=not cut)
        return reply.at(b"event: content_block_stop", CUT) if cut else reply

    def calls_of(self, user: str) -> int:
        """How many requests of somebody have arrived."""
        return sum(answer.user == user for answer in self.answered.values())


class Fleet:
    """Two gateways with a folder each, and clients that ask either of them."""

    def __init__(self, make: MakeProcess, upstream: ScriptedUpstream, store: str, database: str) -> None:
        self._make, self._upstream = make, upstream
        self._shared = f"store: {store}?timeout=5\ndatabase: {database}\n"
        self.gates: list[GatewayProcess] = []
        self.asked: dict[str, Asked] = {}
        self.killed = self.took = 0.0
        self._half = asyncio.Event()

    async def start(self, number: int) -> GatewayProcess:
        """One of them."""
        files = {f"{number}/keys.yaml": PEOPLE, f"{number}/gateway.yaml": self._shared}
        return await self._make(PIPELINE, files=files, name=f"{number}/fleet", url=self._upstream.url)

    async def storm(self, chance: random.Random) -> None:
        """All requests, and in the midst of them the end of a gateway and its return."""
        self.gates = list(await asyncio.gather(self.start(0), self.start(1)))
        began = time.monotonic()
        turns = iter(range(REQUESTS))
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(session, turns, chance))
            await self._half.wait()
            self.gates[1].process.kill()
            self.killed = time.monotonic()
            await self.gates[1].ends()
            self.gates[1] = await self.start(1)
        self.took = time.monotonic() - began

    def doubtful(self, session: str) -> bool:
        """Whether it may be lost: it was under way when its gateway was killed, or in the second before."""
        asked = self.asked[session]
        return asked.gateway == 1 and asked.began <= self.killed < asked.ended + 1

    def waiting(self) -> bool:
        """Whether a journal has records that may not be in the ledger yet."""
        journals = (gate.place.file.parent / "journal" for gate in self.gates)
        return any(file.stat().st_size for journal in journals for file in journal.glob("*.jsonl"))

    async def _client(self, http: aiohttp.ClientSession, turns: Iterator[int], chance: random.Random) -> None:
        """One request after the other, to the other gateway if one is not there."""
        for number in turns:
            session, name, gateway = f"s{number}", chance.choice(list(KEYS)), chance.randrange(2)
            stream, patience = chance.random() < 0.5, 30 if chance.random() < 0.9 else chance.random() * 0.03
            try:
                self.asked[session] = await self._ask(http, gateway, name, session, stream, patience)
            except aiohttp.ClientConnectorError:
                self.asked[session] = await self._ask(http, 1 - gateway, name, session, stream, patience)
            if len(self.asked) == REQUESTS // 2:
                self._half.set()

    async def _ask(
        self, http: aiohttp.ClientSession, gateway: int, name: str, session: str, stream: bool, patience: float
    ) -> Asked:
        """Raises ClientConnectorError if the gateway is not there."""
        url, body = f"{self.gates[gateway].url}/v1/messages", prompt(f"{name} {session}", stream=stream)
        headers = {"x-api-key": KEYS[name], "x-claude-code-session-id": session}
        began, status, complete = time.monotonic(), 0, False
        try:
            async with asyncio.timeout(patience), http.post(url, json=body, headers=headers) as answer:
                status = answer.status
                await answer.read()
                complete = True
        except aiohttp.ClientConnectorError:
            raise
        except (TimeoutError, aiohttp.ClientError):
            pass
        return Asked(name, gateway, began, time.monotonic(), status, complete)
