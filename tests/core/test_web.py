"""What a plugin gets of an HTTP answer."""

import msgspec
import pytest

from penstock import HttpAnswer, HttpFailed


class Verdict(msgspec.Struct):
    allowed: bool


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_whether_it_went_well(status: int, ok: bool) -> None:
    assert HttpAnswer(status, {}, b"").ok is ok


def test_json_of_a_type() -> None:
    answer = HttpAnswer(200, {}, b'{"allowed": true}')
    assert answer.json(Verdict) == Verdict(allowed=True)
    assert answer.json(dict[str, bool]) == {"allowed": True}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"allowed": 1}', b"\xff", b"[" * 100_000, b"null"])
def test_anything_else_is_a_failure(body: bytes) -> None:
    with pytest.raises(HttpFailed, match="not what was expected"):
        HttpAnswer(200, {}, body).json(Verdict)
