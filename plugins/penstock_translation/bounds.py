"""How much of an answer is read: most of it has to be kept, and no upstream is believed without bound."""

from penstock import UpstreamFailed

ANSWER_LIMIT = 256 << 20
"""Bytes of one answer. The longest that models give, 128,000 tokens in a record each, take about 50 million."""

_RECORD = 256
"""What a record counts beyond its bytes: an empty one takes room, too, where it is kept."""


class Bound:
    """Counts what comes of one answer."""

    def __init__(self) -> None:
        self._size = 0

    def count(self, size: int, records: int = 1) -> None:
        """So many bytes have come, in so many records. Raises UpstreamFailed when they are too many."""
        self._size += size + records * _RECORD
        if self._size > ANSWER_LIMIT:
            raise UpstreamFailed(f"the upstream's answer is larger than {ANSWER_LIMIT >> 20} MiB")
