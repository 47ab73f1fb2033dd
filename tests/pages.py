"""Markdown pages as the tests of the documentation see them: code blocks, links, headings and tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^```(\w*)(?: (\S+))?( wrong)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A code block: its language, the file it belongs to (if the page names one), where it stands.

    `wrong` says that it shows a mistake.
    """

    language: str
    file: str
    wrong: bool
    text: str
    place: str


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            found[1],
            found[2] or "",
            bool(found[3]),
            found[4],
            f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for found in _FENCE.finditer(text)
    ]


def code(page: Path) -> str:
    """Everything on a page that is set as code."""
    text = page.read_text("utf-8")
    return "\n".join((*(block.text for block in blocks(page)), *re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """The links of a page that stay inside the repository: file ("" for the page itself) and anchor."""
    for target in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(page: Path) -> set[str]:
    """What a link may name after `#`, by the rules of GitHub."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its header."""
    below = page.read_text("utf-8").partition(f" {heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines, f"{page.name}: no table below {heading!r}"
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]
