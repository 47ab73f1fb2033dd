"""Write those parts of the documentation that the code knows best: `make docs`.

A page asks for such a part with the lines `<!-- generated: NAME ARGUMENT -->` and `<!-- end -->`; NAME is one of PARTS.
What stands between the two lines is replaced. `pipeline.schema.json` is generated as a whole.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from docs.parts import PARTS, ROOT
from penstock.cli.schema import pipeline_schema

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- generated: (\w+) ?(\S*) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """All pages: the Markdown files of this folder and of the repository's root."""
    return sorted((*DOCS.rglob("*.md"), *ROOT.glob("*.md")))


def rendered(page: str) -> str:
    """A page's text with its generated parts as they should be now."""
    return MARKED.sub(lambda found: f"{found[1]}\n{PARTS[found[2]](*found[3].split()).strip()}\n\n{found[4]}", page)


def generated() -> Iterator[tuple[Path, str]]:
    """Every file that holds something generated, with its right text."""
    yield from ((page, rendered(page.read_text("utf-8"))) for page in pages())
    yield DOCS / "reference/pipeline.schema.json", pipeline_schema(ROOT / "pipelines") + "\n"


if __name__ == "__main__":
    for path, text in generated():
        path.write_text(text, "utf-8")
