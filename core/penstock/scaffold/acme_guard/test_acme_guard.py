"""Acme Guard, as a client of a gateway sees it, with a scripted upstream behind."""

from acme_guard import AcmeGuard
from penstock.testing import MakePipeline, ScriptedUpstream

PIPELINE = "plugins: [{acme_guard: {words: [tangerine]}}]"


async def test_an_answer_is_marked(pipeline: MakePipeline, upstream: ScriptedUpstream) -> None:
    upstream.answers("hello")
    gate = pipeline(PIPELINE, acme_guard=AcmeGuard)
    answer = await gate.ask("hi")
    assert (answer.text, answer.headers["x-acme-guard"]) == ("hello", "passed")


async def test_a_word_is_refused_before_it_leaves(pipeline: MakePipeline, upstream: ScriptedUpstream) -> None:
    gate = pipeline(PIPELINE, acme_guard=AcmeGuard)
    answer = await gate.ask("the plan is called tangerine")
    assert answer.error is not None
    assert answer.error.status == 403
    assert "'tangerine' must not leave the house" in answer.error.message
    assert upstream.calls == []
