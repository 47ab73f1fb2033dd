"""The gateway as its users start it: a process with a command line."""

import asyncio
import signal

import pytest

from penstock.testing import MakeProcess, ScriptedUpstream, messages
from tests.integration.talk import RELAY, SIMULATOR, ask, prompt, refused


async def test_it_answers_and_ends_on_sigterm(gateway_process: MakeProcess) -> None:
    gate = await gateway_process(SIMULATOR)
    said = await ask(gate.url, prompt("hello there", stream=True, model="sim/echo"))
    assert said.status == 200
    assert "hello there" in said.text
    gate.process.send_signal(signal.SIGTERM)
    assert await gate.ends() == 0
    assert "Traceback" not in gate.output


async def test_it_says_what_is_wrong_and_starts_nothing(gateway_process: MakeProcess) -> None:
    with pytest.raises(EOFError, match=r"test\.yaml:5:5: .*simulator") as raised:
        await gateway_process(SIMULATOR.replace("- simulator", "- simulatro"))
    assert "Traceback" not in str(raised.value)


async def test_sigterm_lets_streams_finish(gateway_process: MakeProcess, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    reply = messages.stream("hello")
    upstream.always(reply.at(b"event: content_block_stop", go_on))
    gate = await gateway_process(RELAY, url=upstream.url)
    streams = [asyncio.ensure_future(ask(gate.url, prompt(stream=True))) for _ in range(20)]
    await upstream.until(lambda: upstream.open_streams == 20)
    gate.process.send_signal(signal.SIGTERM)
    await refused(gate.url)
    go_on.set()
    assert {answer.body for answer in await asyncio.gather(*streams)} == {reply.payload}
    assert await gate.ends() == 0


async def test_two_workers_share_one_address(gateway_process: MakeProcess, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.stream("hello"))
    gate = await gateway_process(RELAY, "--workers", "2", url=upstream.url)
    answers = await asyncio.gather(*(ask(gate.url, prompt(stream=True)) for _ in range(20)))
    assert {answer.text for answer in answers} == {"hello"}
    gate.process.send_signal(signal.SIGTERM)
    assert await gate.ends() == 0


async def test_several_workers_warn_of_what_each_counts_apart(
    gateway_process: MakeProcess, upstream: ScriptedUpstream
) -> None:
    limited = RELAY.replace("plugins:\n", "plugins:\n  - limits: {requests_per_day: 5}\n")
    gate = await gateway_process(limited, "--workers", "2", url=upstream.url)
    gate.process.send_signal(signal.SIGTERM)
    assert await gate.ends() == 0
    assert gate.output.count("warning: 'limits' counts in each of 2 workers apart") == 1


async def test_no_key_is_ever_printed(gateway_process: MakeProcess, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.error(401, "authentication_error", "no such key: my-upstream-key"))
    pipeline = RELAY.replace("key: upstream-key", 'key: "${THE_KEY}"').replace("log.jsonl", "stderr")
    gate = await gateway_process(pipeline, url=upstream.url, env={"THE_KEY": "my-upstream-key"})
    said = await ask(gate.url, prompt(), headers={"authorization": "Bearer sk-client-secret-123456"})
    assert said.status == 502
    assert upstream.calls[0].header("x-api-key") == "my-upstream-key"
    gate.process.send_signal(signal.SIGTERM)
    await gate.ends()
    assert '"outcome":"error"' in gate.output
    assert "my-upstream-key" not in gate.output + said.body.decode()
    assert "sk-client-secret" not in gate.output
