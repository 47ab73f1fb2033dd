"""Several targets: the next is tried when one fails in a way that another may not, and only before the answer began."""

import socket
from collections.abc import Iterator

import pytest

from penstock.testing import CUT, HANG, MakeGateway, MakeUpstream, Reply, chat, event_stream, html_reply, messages
from tests.integration.talk import RELAY, ask, log_lines, prompt

TWO = """
path: /
upstreams:
  first: {protocol: anthropic, url: "{first}", key: key-1, first_byte_timeout: 300ms, idle_timeout: 300ms}
  second: {protocol: openai-chat, url: "{second}/v1", key: key-2}
plugins:
  - logging: {to: log.jsonl}
  - models: {routes: {"*": [first, second/model-b]}}
  - translation
"""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The URL of a port where nobody listens and nobody can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (messages.error(429, "rate_limit_error", "slow down"), "rate_limited"),
        (messages.error(500, "api_error", "it broke"), "upstream_failed"),
        (messages.error(529, "overloaded_error", "busy"), "overloaded"),
        (messages.error(401, "authentication_error", "bad key"), "upstream_failed"),
        (messages.error(404, "not_found_error", "model: model-a"), "not_found"),
        (html_reply(), "upstream_failed"),
        (messages.stream("x").first(CUT), "upstream_failed"),
        (messages.stream("x").first(HANG), "timed_out"),
        (event_stream(), "upstream_failed"),
        (event_stream(messages.frame({"type": "ping"})).then(HANG), "timed_out"),
        (messages.stream("x").at(b"event: content_block_start", CUT), "upstream_failed"),
        (
            event_stream(
                messages.frame({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
            ),
            "overloaded",
        ),
    ],
)
async def test_the_next_target_answers(
    gateway: MakeGateway, make_upstream: MakeUpstream, reply: Reply, kind: str, stream: bool
) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(reply)
    second.answers(chat.stream("from the second") if stream else chat.whole("from the second"))
    gate = await gateway(TWO, first=first.url, second=second.url)
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.text) == (200, "from the second")
    assert second.calls[0].json()["model"] == "model-b"
    (line,) = await log_lines(gate)
    assert [(a["upstream"], a.get("error")) for a in line["attempts"]] == [("first", kind), ("second", None)]
    assert line["outcome"] == "ok"


async def test_a_refused_connection_leads_to_the_next(
    gateway: MakeGateway, make_upstream: MakeUpstream, refusing: str
) -> None:
    second = await make_upstream()
    second.answers(chat.stream("from the second"))
    gate = await gateway(TWO, first=refusing, second=second.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.text) == (200, "from the second")


@pytest.mark.parametrize(
    "reply",
    [
        messages.error(400, "invalid_request_error", "tools.0: bad"),
        messages.error(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
        messages.error(413, "request_too_large", "too large"),
    ],
)
async def test_the_clients_own_fault_ends_it(gateway: MakeGateway, make_upstream: MakeUpstream, reply: Reply) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(reply)
    gate = await gateway(TWO, first=first.url, second=second.url)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.body) == (reply.status, reply.payload)
    assert second.calls == []


async def test_nothing_is_tried_again_once_the_answer_has_begun(
    gateway: MakeGateway, make_upstream: MakeUpstream
) -> None:
    first, second = await make_upstream(), await make_upstream()
    first.answers(messages.stream("hello").at(b"event: content_block_stop", CUT))
    gate = await gateway(TWO, first=first.url, second=second.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.status == 200
    assert said.events[-1][0] == "error"
    assert second.calls == []


async def test_the_last_error_is_the_one_that_is_told(
    gateway: MakeGateway, make_upstream: MakeUpstream, refusing: str
) -> None:
    first = await make_upstream()
    first.answers(messages.error(529, "overloaded_error", "busy"))
    gate = await gateway(TWO, first=first.url, second=refusing)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error["type"]) == (502, "api_error")
    assert "second" in said.error["message"]
    (line,) = await log_lines(gate)
    assert [a["error"] for a in line["attempts"]] == ["overloaded", "upstream_failed"]


async def test_with_one_upstream_and_nobody_there_the_client_gets_a_502(gateway: MakeGateway, refusing: str) -> None:
    gate = await gateway(RELAY, url=refusing)
    said = await ask(gate.url, prompt(stream=True))
    assert (said.status, said.error["type"]) == (502, "api_error")
    assert "connection refused" in said.error["message"]
    assert "127.0.0.1" not in said.error["message"]
