"""Signatures of models that are not Claude: sealed on the way to the client, however they come, and opened again."""

import json
from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.types import MessageParam, ThinkingBlock
from hypothesis import given
from hypothesis import strategies as st

from penstock import Exchange, Finish, GatewayError, Piece, Signature, Start, Target, UpstreamFailed, Usage
from penstock.testing import MakeGateway, ScriptedUpstream, event_stream, json_reply
from penstock_translation.anthropic import Quirks
from penstock_translation.anthropic.sealing import resealed
from penstock_translation.seals import is_sealed, maker_of, seal
from tests.protocols.exchanges import PROTOCOL, exchange

OTHER = Quirks(claude=False)
RELAYED: frozenset[type] = frozenset({Start, Usage, Finish})


def frame(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def delta(index: int, **members: Any) -> bytes:
    return frame("content_block_delta", index=index, delta=members)


THOUGHTS = delta(0, type="thinking_delta", thinking='a "signature"') + delta(0, type="thinking_delta", thinking="b")
SIGNED = delta(0, type="signature_delta", signature="c2ln")
REDACTED = frame("content_block_start", index=1, content_block={"type": "redacted_thinking", "data": "blob"})
BEFORE = (
    frame("message_start", message={"id": "msg_1", "model": "m", "content": [], "usage": {"input_tokens": 10}})
    + frame("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
    + THOUGHTS
)
BETWEEN = frame("content_block_stop", index=0)
AFTER = (
    frame("content_block_stop", index=1)
    + frame("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    + frame("message_stop")
)
STREAM = BEFORE + SIGNED + BETWEEN + REDACTED + AFTER


def asked() -> Exchange:
    return exchange(upstream=PROTOCOL)


def sealed(text: str) -> str:
    return seal(maker_of(asked()), msgspec.json.encode({"signature": text}))


def relay(chunks: list[bytes], wanted: frozenset[type] | None, quirks: Quirks = OTHER) -> tuple[list[Piece], bytes]:
    decoder = PROTOCOL.decoder(asked(), wanted, quirks)
    pieces = [piece for chunk in chunks for piece in decoder.feed(chunk)] + decoder.end()
    return pieces, b"".join(piece.raw for piece in pieces)


def data_of(stream: bytes) -> list[Any]:
    return [json.loads(part.split(b"data: ", 1)[1]) for part in stream.split(b"\n\n") if part]


# ---------------------------------------------------------------- to the client


@pytest.mark.parametrize("wanted", [None, RELAYED])
def test_only_the_frames_with_a_seal_are_written_anew(wanted: frozenset[type] | None) -> None:
    _, raw = relay([STREAM], wanted)
    assert raw.startswith(BEFORE)
    assert raw.endswith(AFTER)
    assert BETWEEN in raw
    changed = STREAM.replace(b"c2ln", sealed("c2ln").encode()).replace(b"blob", sealed("blob").encode())
    assert data_of(raw) == data_of(changed)


@pytest.mark.parametrize("wanted", [None, RELAYED])
def test_how_the_bytes_are_cut_does_not_matter(wanted: frozenset[type] | None) -> None:
    _, whole = relay([STREAM], wanted)
    for cut in range(len(STREAM)):
        assert relay([STREAM[:cut], STREAM[cut:]], wanted)[1] == whole
    assert relay([STREAM[at : at + 1] for at in range(len(STREAM))], wanted)[1] == whole


def test_increments_that_nobody_wants_are_relayed_unread_but_for_their_signatures() -> None:
    pieces, raw = relay([BEFORE, SIGNED, BETWEEN, REDACTED, AFTER], RELAYED)
    assert not [event for piece in pieces for event in piece.events if isinstance(event, Signature)]
    assert data_of(raw)[4]["delta"] == {"type": "signature_delta", "signature": sealed("c2ln")}
    plain = delta(0, type="thinking_delta", thinking="b") * 3
    decoder = PROTOCOL.decoder(asked(), RELAYED, OTHER)
    decoder.feed(BEFORE)
    assert decoder.feed(plain) == [Piece((), plain)]


def test_claudes_streams_keep_their_bytes() -> None:
    for wanted in (None, RELAYED):
        assert relay([STREAM], wanted, Quirks())[1] == STREAM


def test_what_comes_sealed_from_another_gateway_is_sealed_again() -> None:
    theirs = seal("0" * 12, b"{}")
    _, raw = relay([STREAM.replace(b"c2ln", theirs.encode())], None)
    assert sealed(theirs).encode() in raw


@pytest.mark.parametrize(
    "broken",
    [
        delta(0, type="signature_delta", signature=5),
        delta(0, type="signature_delta", signature=None),
        frame("content_block_delta", index=0, delta="signature"),
        frame("content_block_delta", index=0, delta={"type": 7, "signature": "x"}),
        b'event: content_block_delta\ndata: {"signature"\n\n',
    ],
)
def test_what_cannot_be_read_is_told_as_ever(broken: bytes) -> None:
    def outcome(quirks: Quirks) -> object:
        try:
            return relay([BEFORE + broken + BETWEEN + AFTER], None, quirks)
        except GatewayError as error:
            return repr(error)

    assert repr(outcome(OTHER)) == repr(outcome(Quirks()))


@given(st.binary(max_size=60))
def test_foreign_bytes_raise_nothing_else(noise: bytes) -> None:
    for chunk in (
        noise,
        b'data: {"signature":' + noise,
        b'event: x\ndata: {"delta":{"signature":"' + noise + b'"}}\n\n',
    ):
        try:
            relay([chunk], RELAYED)
        except UpstreamFailed:
            continue


def test_a_whole_answer_is_written_anew_only_if_something_in_it_was_sealed() -> None:
    text = {"type": "text", "text": 'a "signature"'}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    for quirks, content, anew in (
        (OTHER, [thinking, text], True),
        (OTHER, [{**thinking, "signature": ""}, text], False),
        (Quirks(), [thinking, text], False),
    ):
        made = asked()
        body = json.dumps({"content": content, "stop_reason": "end_turn"}).encode()
        finish = PROTOCOL.read_answer(made, body, quirks)[-1]
        assert isinstance(finish, Finish)
        end = resealed(made, finish)
        assert (end is not None) is anew
        assert end in (None, finish)
        assert end is not finish


# ---------------------------------------------------------------- and back

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=30)


@given(TEXTS, TEXTS)
def test_a_maker_gets_its_own_back_character_by_character(signature: str, data: str) -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": signature},
        {"type": "redacted_thinking", "data": data},
        {"type": "text", "text": "a"},
    ]
    made = asked()
    answer = PROTOCOL.read_answer(made, json.dumps({"content": content}).encode(), OTHER)
    kept = json.loads(PROTOCOL.fold(made, answer))["content"]
    assert is_sealed(kept[0]["signature"])
    assert is_sealed(kept[1]["data"])
    history = {"model": made.request.model, "messages": [{"role": "assistant", "content": kept}]}
    for quirks, target, came_back in (
        (OTHER, Target("up"), content),
        (OTHER, Target("elsewhere"), [{**content[0], "signature": ""}, content[2]]),
        (OTHER, Target("up", "another"), [{**content[0], "signature": ""}, content[2]]),
        (Quirks(), Target("up"), content[2:]),
    ):
        body = PROTOCOL.render(exchange(history), target, quirks).body
        assert json.loads(body)["messages"][0]["content"] == came_back


def test_what_a_client_has_damaged_is_no_signature() -> None:
    damaged = sealed("c2ln")[:-3] + "!"
    content = [{"type": "thinking", "thinking": "hm", "signature": damaged}, {"type": "text", "text": "a"}]
    history = {"model": "claude-opus-5-5", "messages": [{"role": "assistant", "content": content}]}
    for quirks, left in ((OTHER, [{**content[0], "signature": ""}, content[1]]), (Quirks(), content[1:])):
        body = PROTOCOL.render(exchange(history), Target("up"), quirks).body
        assert json.loads(body)["messages"][0]["content"] == left


# ---------------------------------------------------------------- all of it

PIPELINE = """
path: /
upstreams:
  other: {protocol: anthropic, url: "{url}", key: k, quirks: {claude: false}}
  claude: {protocol: anthropic, url: "{url}", key: k}
plugins:
  - models: {routes: {glm: other, claude-x: claude}}
  - translation
"""
WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "glm",
    "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "a"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_session_goes_to_another_model_and_back(
    gateway: MakeGateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    upstream.answers(*([event_stream(STREAM)] * 3 if streamed else [json_reply(WHOLE)] * 3))
    gate = await gateway(PIPELINE, url=upstream.url)
    opening: list[MessageParam] = [{"role": "user", "content": "hi"}]
    async with anthropic.AsyncAnthropic(base_url=gate.url, api_key="k", max_retries=0) as client:
        first = await said(client, "glm", opening, streamed)
        history: list[MessageParam] = [
            *opening,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": "on"},
        ]
        await said(client, "glm", history, streamed)
        claudes = await said(client, "claude-x", history, streamed)
    assert isinstance(first.content[0], ThinkingBlock)
    assert is_sealed(first.content[0].signature)
    assert isinstance(claudes.content[0], ThinkingBlock)
    assert claudes.content[0].signature == "c2ln"
    returned, switched = (call.json()["messages"][1:-1] for call in upstream.calls[1:])
    assert returned[0]["content"][0]["signature"] == "c2ln"
    left = [] if streamed else [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]
    assert [{**turn, "content": [pruned(block) for block in turn["content"]]} for turn in switched] == left


async def said(
    client: anthropic.AsyncAnthropic, model: str, messages: list[MessageParam], streamed: bool
) -> anthropic.types.Message:
    if not streamed:
        return await client.messages.create(model=model, max_tokens=9, messages=messages)
    async with client.messages.stream(model=model, max_tokens=9, messages=messages) as stream:
        return await stream.get_final_message()


def pruned(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if value is not None}
