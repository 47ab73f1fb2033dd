"""What an upstream says back never shows the gateway's own secrets, and foreign bytes in headers break nothing."""

import pytest

from penstock.testing import RESET, MakeGateway, Reply, ScriptedUpstream, chat, event_stream, messages
from tests.integration.talk import CHAT, RELAY, ask, log_lines, prompt

SECRET = "upstream-key"
HEADED = RELAY.replace("key: upstream-key", "key: upstream-key, headers: {x-team-secret: header-secret}")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "reply",
    [
        messages.error(400, "api_error", f"bad key {SECRET} and header-secret"),
        messages.error(500, "api_error", f"bad key {SECRET} and header-secret"),
        messages.error(401, "api_error", f"bad key {SECRET} and header-secret"),
        event_stream(
            messages.frame({"type": "error", "error": {"type": "api_error", "message": f"{SECRET} header-secret"}})
        ),
        Reply(200, {"content-type": "text/plain"}, (f"hello {SECRET} header-secret".encode(),)),
    ],
    ids=["400", "500", "401", "error event", "text"],
)
async def test_an_upstream_that_quotes_our_secrets(
    gateway: MakeGateway, upstream: ScriptedUpstream, reply: Reply, stream: bool
) -> None:
    upstream.answers(reply)
    gate = await gateway(HEADED, url=upstream.url)
    said = await ask(gate.url, prompt(stream=stream))
    (line,) = await log_lines(gate)
    for secret in (SECRET, "header-secret"):
        assert secret not in said.body.decode()
        assert secret not in str(line)


async def test_only_known_headers_of_an_upstream_are_passed(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    headers = {
        "x_echo": SECRET,
        "request_id": f"req_{SECRET}",
        "anthropic_organization_id": "org",
        "x_ratelimit_left": "1",
    }
    upstream.answers(messages.whole("hello").with_headers(**headers))
    gate = await gateway(RELAY, url=upstream.url)
    said = await ask(gate.url, prompt())
    assert (said.headers["request-id"], said.headers["x-ratelimit-left"]) == ("req_***", "1")
    assert not {"x-echo", "anthropic-organization-id"} & {name.lower() for name in said.headers}


@pytest.mark.parametrize("pipeline", [RELAY, CHAT], ids=["same format", "translated"])
async def test_a_reset_after_the_answer_is_no_error(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str
) -> None:
    reply = messages.stream("hello") if pipeline is RELAY else chat.stream("hello")
    upstream.answers(reply.then(RESET))
    gate = await gateway(pipeline, url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    assert said.text == "hello"
    assert "error" not in [name for name, _ in said.events]
    (line,) = await log_lines(gate)
    assert line["outcome"] == "ok"
