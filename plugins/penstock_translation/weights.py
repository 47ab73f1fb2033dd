"""How large an answer may become: some of it has to be kept, and no upstream is believed without bound."""

from penstock import UpstreamFailed

ANSWER_LIMIT = 64 << 20
"""Characters of an answer, about, beyond which no upstream is believed."""

FRAGMENT = 16
"""What a fragment counts beyond its characters, since an empty one takes room too."""

BLOCK = 256
"""The same for a block."""


class Weighed:
    """Something that grows with an answer."""

    _size = 0

    def weigh(self, size: int) -> None:
        """Count characters that an answer has made somebody keep. Raises UpstreamFailed when they are too many."""
        self._size += size + FRAGMENT
        if self._size > ANSWER_LIMIT:
            raise too_large()


def too_large() -> UpstreamFailed:
    """The error of an answer that nobody can keep."""
    return UpstreamFailed(f"the upstream's answer is larger than {ANSWER_LIMIT >> 20} million characters")
