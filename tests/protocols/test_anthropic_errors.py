"""Errors of the Messages format: how kinds leave, and which kind an upstream's answer is."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import (
    Answer,
    Forbidden,
    GatewayError,
    Internal,
    InvalidRequest,
    NotFound,
    OverBudget,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RawError,
    TimedOut,
    TooLarge,
    Unauthenticated,
    UpstreamFailed,
)
from penstock_translation.anthropic import Quirks
from penstock_translation.openai_chat import OpenAIChat
from tests.protocols.exchanges import PROTOCOL, exchange


def body(type: str, message: str) -> bytes:
    return json.dumps(
        {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_up"}, indent=1
    ).encode()


def read(status: int, body: bytes = b"", **headers: str) -> GatewayError:
    return PROTOCOL.read_error(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


# ---------------------------------------------------------------- to a client


@pytest.mark.parametrize(
    ("error", "status", "type"),
    [
        (InvalidRequest("m"), 400, "invalid_request_error"),
        (InvalidRequest("m", status=422), 422, "invalid_request_error"),
        (Unauthenticated("m"), 401, "authentication_error"),
        (Forbidden("m"), 403, "permission_error"),
        (NotFound("m"), 404, "not_found_error"),
        (TooLarge("m"), 413, "request_too_large"),
        (RateLimited("m"), 429, "rate_limit_error"),
        (OverBudget("m"), 429, "billing_error"),
        (Internal("m"), 500, "api_error"),
        (UpstreamFailed("m"), 502, "api_error"),
        (Overloaded("m"), 503, "overloaded_error"),
        (TimedOut("m"), 504, "timeout_error"),
    ],
)
def test_each_kind_has_its_status_and_type(error: GatewayError, status: int, type: str) -> None:
    answer = PROTOCOL.error(error, "req_1")
    assert answer.status == status
    assert json.loads(answer.body) == {"type": "error", "error": {"type": type, "message": "m"}, "request_id": "req_1"}
    assert answer.headers["request-id"] == "req_1"
    assert answer.headers["content-type"] == "application/json"


def test_a_prompt_that_is_too_long_is_told_in_the_words_agents_know() -> None:
    answer = PROTOCOL.error(PromptTooLong(215692, 200000), "req_1")
    assert answer.status == 400
    assert json.loads(answer.body)["error"] == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 215692 tokens > 200000 maximum",
    }


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimited("m", retry_after=0.0), "1"),
        (RateLimited("m", retry_after=1.2), "2"),
        (RateLimited("m", retry_after=60.0), "60"),
        (RateLimited("m", retry_after=3600.0), "60"),
        (Overloaded("m", retry_after=2.0), "2"),
        (OverBudget("m", retry_after=86_400.5), "86401"),
        (RateLimited("m"), None),
    ],
)
def test_the_wait_is_in_whole_seconds_that_agents_obey(error: GatewayError, seconds: str | None) -> None:
    assert PROTOCOL.error(error, "req_1").headers.get("retry-after") == seconds


def test_whether_to_retry_is_said_only_when_it_is_known() -> None:
    def said(error: GatewayError) -> str | None:
        return PROTOCOL.error(error, "req_1").headers.get("x-should-retry")

    assert said(RateLimited("m")) is None
    assert said(OverBudget("m")) == "false"
    assert said(Internal("m", should_retry=True)) == "true"


def test_an_upstreams_own_error_leaves_as_it_came() -> None:
    came = body("overloaded_error", "Overloaded")
    headers = {
        "content-type": "application/json; charset=utf-8",
        "retry-after": "300",
        "x-should-retry": "true",
        "request-id": "req_up",
        "anthropic-ratelimit-requests-remaining": "0",
        "set-cookie": "secret",
        "cf-ray": "x",
        "content-encoding": "gzip",
    }
    answer = PROTOCOL.error(PROTOCOL.read_error(529, headers, came), "req_1")
    kept = {"content-type": "application/json", **dict(list(headers.items())[1:5])}
    assert answer == Answer(529, kept, came)


def test_an_upstreams_own_error_without_an_id_gets_ours() -> None:
    answer = PROTOCOL.error(read(500, body("api_error", "Oops")), "req_1")
    assert (answer.status, answer.headers["request-id"]) == (500, "req_1")


def test_the_error_of_an_upstream_of_another_format_is_told_in_this_one() -> None:
    raw = RawError("openai-chat", 418, {"x": "y"}, b"{}")
    answer = PROTOCOL.error(RateLimited("slow down", raw=raw), "req_1")
    assert (answer.status, json.loads(answer.body)["error"]["message"]) == (429, "slow down")


# ---------------------------------------------------------------- from an upstream


@pytest.mark.parametrize(
    ("status", "type", "kind", "retryable"),
    [
        (400, "invalid_request_error", InvalidRequest, False),
        (402, "billing_error", UpstreamFailed, True),
        (404, "not_found_error", NotFound, True),
        (409, "conflict_error", InvalidRequest, False),
        (413, "request_too_large", TooLarge, False),
        (422, "invalid_request_error", InvalidRequest, False),
        (429, "rate_limit_error", RateLimited, True),
        (500, "api_error", UpstreamFailed, True),
        (503, "overloaded_error", Overloaded, True),
        (504, "timeout_error", TimedOut, True),
        (529, "overloaded_error", Overloaded, True),
    ],
)
def test_an_answer_of_this_format_is_kept(status: int, type: str, kind: Any, retryable: bool) -> None:
    came = body(type, "Words of the upstream.")
    error = read(status, came, retry_after="7", x_should_retry="false")
    assert (error.__class__, error.status, error.retryable) == (kind, status, retryable)
    assert error.message == "Words of the upstream."
    assert (error.retry_after, error.should_retry) == (7.0, False)
    assert error.raw == RawError("anthropic", status, {"retry-after": "7", "x-should-retry": "false"}, came)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_not_the_clients_fault(status: int) -> None:
    error = read(status, body("authentication_error", "invalid x-api-key"))
    assert isinstance(error, UpstreamFailed)
    assert (error.status, error.should_retry, error.retryable, error.raw) == (502, False, True, None)
    assert error.message == "the upstream refused the gateway's credential: invalid x-api-key"


def test_a_prompt_that_is_too_long_is_known_by_its_words() -> None:
    came = body("invalid_request_error", "prompt is too long: 215692 tokens > 200000 maximum")
    error = read(400, came)
    assert isinstance(error, PromptTooLong)
    assert (error.tokens, error.maximum) == (215692, 200000)
    assert PROTOCOL.error(error, "req_1").body == came


FOREIGN = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
NESTED = {
    "error": {"message": "the request exceeds the available context size", "n_prompt_tokens": 9000, "n_ctx": 8192}
}


@pytest.mark.parametrize("status", [400, 413, 422, 500])
@pytest.mark.parametrize("came", [body("invalid_request_error", FOREIGN), json.dumps(NESTED).encode()])
def test_foreign_words_for_too_long_become_those_that_agents_know(status: int, came: bytes) -> None:
    error = read(status, came)
    assert isinstance(error, PromptTooLong)
    answer = PROTOCOL.error(error, "req_1")
    assert (answer.status, answer.headers["request-id"]) == (400, "req_1")
    assert json.loads(answer.body)["error"]["message"] == "prompt is too long: 9000 tokens > 8192 maximum"
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize("status", [404, 429, 529])
def test_length_is_not_looked_for_in_answers_about_something_else(status: int) -> None:
    came = body("api_error", FOREIGN)
    assert PROTOCOL.error(read(status, came), "req_1").body == came


@pytest.mark.parametrize("text", ["Prompt is too long", "prompt is too long: shorten it"])
def test_the_words_that_agents_know_are_not_said_twice(text: str) -> None:
    message = read(400, body("invalid_request_error", text)).message
    assert message == f"prompt is too long: {text.removeprefix('prompt is too long: ')}"


def test_a_foreign_length_in_a_stream_is_told_in_the_words_that_agents_know() -> None:
    decoder = PROTOCOL.decoder(exchange(), None, Quirks())
    with pytest.raises(PromptTooLong) as raised:
        decoder.feed(
            b"event: error\ndata: " + json.dumps(json.loads(body("BadRequestError", FOREIGN))).encode() + b"\n\n"
        )
    assert raised.value.raw is None


def test_an_empty_account_is_a_reason_to_try_elsewhere() -> None:
    came = body("invalid_request_error", "Your credit balance is too low to access the API.")
    error = read(400, came)
    assert isinstance(error, UpstreamFailed)
    assert error.retryable
    assert PROTOCOL.error(error, "req_1")[::2] == (400, came)


@pytest.mark.parametrize(
    ("status", "kind", "own"),
    [
        (302, UpstreamFailed, 502),
        (400, InvalidRequest, 400),
        (402, UpstreamFailed, 402),
        (404, NotFound, 404),
        (405, UpstreamFailed, 502),
        (408, TimedOut, 504),
        (413, TooLarge, 413),
        (415, InvalidRequest, 415),
        (429, RateLimited, 429),
        (500, UpstreamFailed, 502),
        (502, UpstreamFailed, 502),
        (503, Overloaded, 503),
        (504, TimedOut, 504),
        (524, TimedOut, 504),
        (529, Overloaded, 529),
    ],
)
def test_a_foreign_answer_is_known_by_its_status(status: int, kind: Any, own: int) -> None:
    error = read(status, b"<html><head><title>Oh no</title></head><body>went &amp; wrong</body></html>")
    assert (error.__class__, error.status, error.raw) == (kind, own, None)
    assert error.message == f"the upstream answered {status}: Oh no went & wrong"


@pytest.mark.parametrize(
    ("came", "text"),
    [
        (b"", ""),
        (b"plain   words\n", ": plain words"),
        (b'{"error":{"message":"a","code":1}}', ": a"),
        (b'{"error":"b"}', ": b"),
        (b'{"message":"c"}', ": c"),
        (b'{"detail":"d"}', ": d"),
        (b'{"error":true,"message":"i"}', ": i"),
        (b'[{"error":{"message":"e"}}]', ": e"),
        (b'{"detail":[{"loc":1}]}', ""),
        (b"{}", ""),
        (b"[]", ""),
        (b'"f"', ": f"),
        (b"<style>p {x}</style><script>alert(1)</script><p>g</p>", ": g"),
        (b"\xff\xfe", ": \ufffd\ufffd"),
        (b"h" * 1000, ": " + "h" * 299 + "…"),
    ],
)
def test_what_a_foreign_body_says_is_found(came: bytes, text: str) -> None:
    assert read(500, came).message == "the upstream answered 500" + text


@pytest.mark.parametrize(
    ("value", "seconds"), [("5", 5.0), ("0.5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("", None)]
)
def test_the_wait_an_upstream_asks_for(value: str, seconds: float | None) -> None:
    assert read(429, b"", retry_after=value).retry_after == seconds


@given(st.integers(300, 599), st.binary(max_size=60))
def test_whatever_the_body_is_there_is_an_error(status: int, came: bytes) -> None:
    for given_body in (came, b'{"type":"error","error":' + came + b"}", b'{"error":' + came):
        error = read(status, given_body)
        assert 400 <= PROTOCOL.error(error, "req_1").status < 600


# ---------------------------------------------------------------- hostile upstreams


@pytest.mark.parametrize("wait", [float("inf"), float("nan"), 1e308])
@pytest.mark.parametrize("kind", [RateLimited, OverBudget])
def test_a_wait_without_an_end_still_gives_an_answer(kind: type[GatewayError], wait: float) -> None:
    assert PROTOCOL.error(kind("m", retry_after=wait), "req_1").headers["retry-after"].isdecimal()


@pytest.mark.parametrize(
    "sent",
    [
        body("invalid_request_error", f"prompt is too long: {'9' * 5000} tokens > 10 maximum"),
        json.dumps({"error": {"message": "m", "code": "4" * 5000}}).encode(),
        b'{"error":' * 150 + b'"x"' + b"}" * 150,
        b'{"error":{"metadata":{"raw":' * 60 + b'"x"' + b"}}}" * 60,
        b'{"error":{"message":' + b"[" * 300 + b'"x"' + b"]" * 300 + b"}}",
        *(unit * 300_000 for unit in (b"<script>", b"<style ", b"<title>", b"<")),
    ],
    ids=lambda sent: sent[:24].decode(),
)
def test_an_error_cannot_be_made_expensive_or_break_its_reader(sent: bytes) -> None:
    started = time.perf_counter()
    assert read(400, sent).status == 400
    assert OpenAIChat().read_error(400, {}, sent).status == 400
    assert time.perf_counter() - started < 1
