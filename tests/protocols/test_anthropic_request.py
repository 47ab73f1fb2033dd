"""A request of the Messages format for upstreams of this format: what other models than Claude get of it."""

import json
from typing import Any

import pytest

from penstock import Attempt, Finish, ModelInfo, Start, Target, Upstream, UpstreamRequest, Usage
from penstock_translation.anthropic import Quirks
from penstock_translation.anthropic.safeguards import unclaimed
from tests.protocols.exchanges import PROTOCOL, exchange

OTHER = Quirks(claude=False)
BETAS = {
    "anthropic-beta": "effort-2025-11-24, context-management-2025-06-27,request-tags-2026-08-21,"
    "dangerous-tool-use-2026-09-03,afk-mode-2026-01-31,interleaved-thinking-2025-05-14"
}
FULL = (
    b'{"model":"claude-x","max_tokens": 9,"big":12345678901234567890123,"n":1.0,'
    b'"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2;"},'
    b'{"type": "text", "text":"\\u00e9", "cache_control":{"type":"ephemeral"}}],'
    b'"tags":{"a":1},"safeguards":[{"type":"dangerous_tool_use"}],"context_management":{"edits":[]},'
    b'"thinking":{"type":"adaptive"},"output_config":{"effort":"low"},'
    b'"messages":[{"role": "user","content":"hi"}]}'
)
KEPT = (
    b'{"model":"claude-x","max_tokens":9,"big":12345678901234567890123,"n":1.0,'
    b'"system":[{"type": "text", "text":"\\u00e9", "cache_control":{"type":"ephemeral"}}],'
    b'"thinking":{"type":"adaptive"},"output_config":{"effort":"low"},'
    b'"messages":[{"role": "user","content":"hi"}]}'
)


def render(body: Any, quirks: Quirks, model: str = "", headers: Any = None, output: int = 0) -> UpstreamRequest:
    sent = exchange(body, headers=headers)
    models = (ModelInfo(id=model or sent.request.model, output=output),)
    sent.upstreams = {"up": Upstream(name="up", protocol=PROTOCOL, models=models)}
    before = sent.request.body
    rendered = PROTOCOL.render(sent, Target("up", model), quirks)
    assert sent.request.body == before, "the next upstream gets the client's own document"
    return rendered


def sent(quirks: Quirks, model: str = "", output: int = 0, **fields: Any) -> Any:
    body = {"model": "claude-x", "messages": [], **fields}
    return json.loads(render(body, quirks, model, output=output).body)


# ---------------------------------------------------------------- fields and their betas


def test_another_model_gets_no_fields_of_claude_and_the_bytes_of_all_others() -> None:
    assert render(FULL, OTHER).body == KEPT
    assert render(FULL, OTHER, "glm").body == KEPT.replace(b"claude-x", b"glm")


def test_claude_gets_the_very_bytes() -> None:
    rendered = render(FULL, Quirks(), headers=BETAS)
    assert rendered.body == FULL
    assert rendered.headers["anthropic-beta"] == BETAS["anthropic-beta"]


def test_a_beta_goes_with_its_field() -> None:
    beta = render(FULL, OTHER, headers=BETAS).headers["anthropic-beta"]
    assert beta == "effort-2025-11-24,interleaved-thinking-2025-05-14"
    only = {"anthropic-beta": "request-tags-2026-08-21"}
    assert "anthropic-beta" not in render(FULL, OTHER, headers=only).headers


def test_fields_that_an_upstream_refuses_are_named_by_a_quirk() -> None:
    rendered = render(FULL, Quirks(drop=("tags", "n")), headers=BETAS)
    assert json.loads(rendered.body).keys() == json.loads(FULL).keys() - {"tags", "n"}
    assert rendered.headers["anthropic-beta"] == BETAS["anthropic-beta"].replace(" ", "").replace(
        "request-tags-2026-08-21,", ""
    )


def test_what_is_dropped_does_not_come_back_fitted() -> None:
    thinking = {"type": "enabled", "budget_tokens": 31999}
    body = sent(Quirks(drop=("thinking",)), "claude-y", output=8192, max_tokens=32000, thinking=thinking)
    assert body == {"model": "claude-y", "messages": [], "max_tokens": 8192}


def test_what_a_step_has_written_counts() -> None:
    asked = exchange(FULL)
    asked.request.set("system", "Be brief.")
    asked.request.set("tags", {"late": 1})
    body = json.loads(PROTOCOL.render(asked, Target("up"), OTHER).body)
    assert body["system"] == "Be brief."
    assert "tags" not in body


@pytest.mark.parametrize(
    ("system", "left"),
    [
        ([{"type": "text", "text": "x-anthropic-billing-header: a"}], None),
        ([{"type": "text", "text": "a"}], [{"type": "text", "text": "a"}]),
        ([], []),
        ("x-anthropic-billing-header: a", "x-anthropic-billing-header: a"),
        ([7], [7]),
        (None, None),
    ],
)
def test_only_an_entry_of_attribution_is_taken_out(system: Any, left: Any) -> None:
    assert sent(OTHER, system=system).get("system") == left


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("budget", [8192, 31999])
def test_a_budget_of_thinking_stays_below_the_limit(budget: int) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget, "display": "updates"}
    for quirks, model in ((OTHER, "glm"), (OTHER, ""), (Quirks(), "claude-y")):
        body = sent(quirks, model, output=8192, max_tokens=32000, thinking=thinking)
        assert (body["max_tokens"], body["thinking"]) == (8192, {**thinking, "budget_tokens": 8191})


def test_what_fits_stays() -> None:
    thinking = {"type": "enabled", "budget_tokens": 8191}
    assert sent(OTHER, "glm", output=8192, max_tokens=32000, thinking=thinking)["thinking"] == thinking
    assert sent(OTHER, "glm", output=8192, max_tokens=8000, thinking=thinking)["max_tokens"] == 8000
    assert sent(OTHER, "glm", output=8192, max_tokens=32000, thinking={"type": "adaptive"})["thinking"] == {
        "type": "adaptive"
    }


def test_a_model_that_writes_little_does_not_think() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert sent(OTHER, "tiny", output=1000, max_tokens=4000, thinking=thinking)["thinking"] == {"type": "disabled"}


# ---------------------------------------------------------------- turns

FOREIGN = {"type": "thinking", "thinking": "hm", "signature": ""}
SEALED = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
CALL = {"type": "tool_use", "id": "t", "name": "Read", "input": {"signature": ""}}


def test_claude_gets_no_thinking_that_another_model_has_made() -> None:
    turns = (
        b'{"role": "user","content":"\\u00e9"}',
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""},'
        b'{"type":"text", "text":"b","n":1.0}],"novel":1}',
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature" : ""}]}',
        b'{"role":"assistant","content":[{"type":"redacted_thinking","data":"c2ln"}, {"type":"text","text":"c"}]}',
    )
    body = b'{"model":"claude-x","messages":[%b]}'
    without = (turns[0], b'{"role":"assistant","content":[{"type":"text", "text":"b","n":1.0}],"novel":1}', turns[3])
    assert render(body % b",".join(turns), Quirks()).body == body % b",".join(without)
    assert render(body % b",".join(turns), OTHER).body == body % b",".join(turns)


@pytest.mark.parametrize(
    "content",
    [
        [SEALED, CALL],
        [CALL],
        [{"type": "text", "text": json.dumps(FOREIGN)}],
        json.dumps(FOREIGN),
    ],
)
def test_all_other_conversations_keep_their_bytes(content: Any) -> None:
    body = json.dumps({"model": "claude-x", "messages": [{"role": "assistant", "content": content}]}, indent=1).encode()
    assert render(body, Quirks()).body == body


@pytest.mark.parametrize("messages", [7, [7, FOREIGN], [{"role": "assistant", "content": [7, FOREIGN]}]])
def test_what_cannot_be_read_is_for_the_upstream_to_refuse(messages: Any) -> None:
    for quirks in (Quirks(), Quirks(claude=False, system_messages="user")):
        assert sent(quirks, messages=messages, again=FOREIGN)["messages"] == messages


def test_system_messages_become_text_of_the_user_where_they_are_refused() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "Be brief.", "output_config": {"effort": "low"}},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "system", "content": []},
    ]
    assert sent(Quirks(), messages=messages)["messages"] == messages
    assert sent(Quirks(system_messages="user"), messages=messages)["messages"] == [
        messages[0],
        {"role": "user", "content": "<system>\nBe brief.\n</system>"},
        {"role": "user", "content": "<system>\na\n\nb\n</system>"},
    ]


# ---------------------------------------------------------------- safety checks


@pytest.mark.parametrize(
    ("quirks", "checks"), [(Quirks(), True), (OTHER, False), (Quirks(drop=("safeguards",)), False)]
)
def test_checks_that_an_upstream_was_not_asked_for_are_unsupported(quirks: Quirks, checks: bool) -> None:
    asked = exchange(FULL, upstream=PROTOCOL)
    upstream = Upstream(name="up", protocol=PROTOCOL, quirks=quirks)
    asked.attempts = [Attempt(1, Target("up"), upstream)]
    claim = '[{"type":"dangerous_tool_use","status":{"type":"available","tool_uses":{}}}]'
    finish = Finish(extra={"safeguard_results": claim, "novel": "1"})
    changed = unclaimed(asked, finish)
    record = json.loads(PROTOCOL.fold(asked, [Start(), Usage(), changed or finish]))
    assert (changed is None) is checks
    assert record["novel"] == 1
    assert record["safeguard_results"] == (
        json.loads(claim) if checks else [{"type": "dangerous_tool_use", "status": {"type": "unsupported"}}]
    )
    assert unclaimed(exchange(upstream=PROTOCOL), finish) is None
