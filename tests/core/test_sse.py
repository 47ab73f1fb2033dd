"""Frames do not depend on how the bytes were cut, and foreign bytes cannot make reading slow."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import sse

STREAM = (
    b': keep-alive\n\nevent: a\ndata: {"x":1}\ndata: 2\n\n\ndata:z\n\ndata\n\n'
    b"id: 3\nretry: 1\ndata: \xf0\x9f\x90\x8d\n\n"
    b"data: [DONE]\n\n"
)
FRAMES = [(b"", b""), (b"a", b'{"x":1}\n2'), (b"", b"z"), (b"", b""), (b"", b"\xf0\x9f\x90\x8d"), (b"", b"[DONE]")]


def read(*chunks: bytes) -> list[tuple[bytes, bytes]]:
    reader = sse.Reader()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)] + reader.rest()
    return [(frame.name, frame.data) for frame in frames]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_any_cut_gives_the_same_frames(line_end: bytes, bom: bytes) -> None:
    stream = bom + STREAM.replace(b"\n", line_end)
    assert read(stream) == FRAMES
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == FRAMES
    for cut in range(1, len(stream)):
        assert read(stream[:cut], stream[cut:]) == FRAMES


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_arbitrary_bytes_read_the_same_in_pieces(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read(*(stream[a:b] for a, b in itertools.pairwise(edges))) == read(stream)


def test_raw_bytes_of_a_frame_say_the_same_again() -> None:
    reader = sse.Reader()
    raw = b"".join(frame.raw for frame in reader.feed(STREAM))
    assert read(raw) == FRAMES


def test_a_frame_cut_off_by_the_end_is_still_given() -> None:
    assert read(b"data: 1\n\nevent: x\ndata: 2") == [(b"", b"1"), (b"x", b"2")]


def test_a_frame_beyond_the_limit_is_refused() -> None:
    reader = sse.Reader(limit=100)
    reader.feed(b"data: abc\n" * 10)
    with pytest.raises(sse.FrameTooLarge, match="100 bytes"):
        reader.feed(b"data: abc\n")


@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"A" * 4_000_000 + b"\n\n", b"data: a\r" * 250_000 + b"\r\r", b"\n" * 1_000_000, b"a\n" * 500_000],
    ids=["one line", "many lines", "blank lines", "no data"],
)
def test_cost_grows_with_the_bytes_not_with_their_square(stream: bytes) -> None:
    def seconds(size: int) -> float:
        reader, started = sse.Reader(), time.process_time()
        for at in range(0, size, 500):
            reader.feed(stream[at : at + 500])
        reader.rest()
        return time.process_time() - started

    small = min(seconds(len(stream) // 8) for _ in range(3))
    assert seconds(len(stream)) < 40 * small + 0.2  # 8 times the bytes; a quadratic reader takes 64 times as long


def test_written_frames_are_read_back() -> None:
    assert read(sse.write("ping", b"{}") + sse.write("stop", b"[DONE]")) == [(b"ping", b"{}"), (b"stop", b"[DONE]")]
