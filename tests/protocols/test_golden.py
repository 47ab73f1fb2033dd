"""Upstream protocols against golden files: cases/README.md says what the files hold."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import PromptTooLong
from tests.protocols.golden import Golden, check, check_error, compact, files, goldens, load


@goldens("request")
def test_request(golden: Golden) -> None:
    request = golden.render()
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == golden.case["upstream"]
    assert list(request.dropped) == golden.case.get("dropped", [])
    if "path" in golden.case:
        assert request.path == golden.case["path"]


@goldens("stream")
def test_stream(golden: Golden) -> None:
    check(golden.decode([golden.stream()]), golden.case)


@goldens("stream")
def test_stream_does_not_depend_on_how_it_is_cut(golden: Golden) -> None:
    data = golden.stream()
    check(golden.decode([data[at : at + 1] for at in range(len(data))]), golden.case)
    for at in range(1, len(data)):
        check(golden.decode([data[:at], data[at:]]), golden.case)


@goldens("stream")
def test_stream_keeps_the_order_of_an_answer(golden: Golden) -> None:
    """One Start first, blocks one after the other with their own increments, Usage and one Finish last."""
    events, error = golden.decode([golden.stream()])
    names = [type(event).__name__ for event in events if type(event).__name__ != "Ping"]
    if names:
        assert names[0] == "Start"
    assert names.count("Start") <= 1
    if error is None:
        assert names[-2:] == ["Usage", "Finish"]
    depth, opened = 0, 0
    for event in events:
        match type(event).__name__:
            case "BlockStart":
                assert (depth, getattr(event, "index", -1)) == (0, opened)
                depth, opened = 1, opened + 1
            case "BlockStop":
                assert (depth, getattr(event, "index", -1)) == (1, opened - 1)
                depth = 0
            case "Text" | "Thinking" | "ToolInput" | "Signature" | "Citation":
                assert (depth, getattr(event, "index", -1)) == (1, opened - 1)
    assert error is not None or depth == 0


@goldens("answer")
def test_answer(golden: Golden) -> None:
    answer = golden.case["answer"]
    check(golden.read((answer if isinstance(answer, str) else compact(answer)).encode()), golden.case)


@goldens("error")
def test_error(golden: Golden) -> None:
    case = golden.case
    body = (case["body"] if isinstance(case["body"], str) else compact(case["body"])).encode()
    error = golden.protocol.read_error(case["status"], case.get("headers", {}), body)
    check_error(error, case["error"])
    if isinstance(error, PromptTooLong):
        assert error.tokens > error.maximum > 0
    if case["status"] in (401, 402, 403):
        assert error.raw is None, "what is said about the gateway's own account is not for the client"
    else:
        assert error.raw is not None
        assert (error.raw.protocol, error.raw.body) == (golden.protocol.name, body)


@given(st.sampled_from(files("stream")), st.data())
def test_damaged_streams_are_read_or_refused(file: Path, data: st.DataObject) -> None:
    golden = load(file)
    whole = golden.stream()
    start = data.draw(st.integers(0, len(whole)))
    damage = data.draw(st.binary(max_size=3))
    end = data.draw(st.integers(start, min(len(whole), start + 3)))
    golden.decode([whole[:start] + damage + whole[end:]])


@pytest.mark.parametrize("file", files("*"), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_case_says_what_it_shows(file: Path) -> None:
    assert load(file).case["about"]
