"""What the author of a protocol gets for nothing, and cannot forget."""

import pytest

from penstock import ClientProtocol, Decoder, Encoder, UpstreamProtocol, UpstreamRequest
from tests.core.lines import Lines


class Forgetful(UpstreamProtocol):
    """Can do nothing yet."""

    name = "forgetful"


class Silent(ClientProtocol):
    """Can do nothing yet."""

    name = "silent"


class Endless(Decoder):
    """Does not know how a stream ends."""

    def feed(self, chunk: bytes) -> list[object]:  # type: ignore[override]
        return []


@pytest.mark.parametrize(
    ("protocol", "missing"),
    [
        (Forgetful, ["render", "decoder", "read_answer", "read_error"]),
        (Silent, ["read", "encoder", "fold", "error", "models", "token_count"]),
        (Endless, ["end"]),
        (Encoder, ["encode", "ping", "fail"]),
    ],
)
def test_what_a_protocol_lacks_is_named(protocol: type, missing: list[str]) -> None:
    with pytest.raises(TypeError, match="abstract method") as told:
        protocol()
    assert all(name in str(told.value) for name in missing)


def test_an_upstream_that_counts_no_tokens_says_so() -> None:
    assert UpstreamProtocol.counts_tokens is False
    with pytest.raises(NotImplementedError, match="lines upstreams do not count tokens"):
        UpstreamProtocol.read_token_count(Lines(), b"{}")


def test_a_client_protocol_need_not_say_how_to_connect() -> None:
    assert Lines().how_to_connect("http://127.0.0.1:4000", "a key") == []


def test_a_client_protocol_need_not_know_what_matters_to_an_answer() -> None:
    request = Lines().read(b'{"model":"m"}', {})
    assert Lines().fingerprint(request, {}) is None
    assert Lines().kind(request, {}) == "main"
    assert Lines().other_models(request) == ()


def test_what_a_protocol_does_unless_it_says_otherwise() -> None:
    assert Lines.default_auth == "bearer"
    assert UpstreamRequest("/v1/x", b"{}", {}).method == "POST"
    assert Encoder.content_type == "text/event-stream"
