"""The documentation is true: generated parts are fresh, the public is described, examples work, links lead on."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import penstock
from docs.generate import DOCS, generated, pages
from docs.parts import ROOT, every_command
from penstock.document import Document
from penstock.gatewayfile import TLS, GatewayFile
from penstock.options import decode_hook
from penstock.plan import HOOKS
from penstock.reach import UpstreamFile
from penstock.typed import convert
from penstock_auth.keysfile import Entry as KeyEntry
from penstock_auth.signon import SignOn
from penstock_logging.record import Failure, Line, Tokens, Tried
from penstock_simulator.script import Entry
from tests.pages import anchors, code, links, table
from tests.stage import Stage
from tests.test_architecture import LAYERS

PAGES = pages()
REFERENCE = DOCS / "reference"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ---------------------------------------------------------------- what is generated


def test_generated_parts_are_fresh() -> None:
    stale = [name_of(path) for path, text in generated() if path.read_text("utf-8") != text]
    assert not stale, "these no longer say what the code says; run `make docs`"


# ---------------------------------------------------------------- what must be described


def words() -> set[str]:
    """Everything that the reference and the how-to pages set as code, in single words."""
    texts = (code(page) for folder in ("reference", "how-to") for page in (DOCS / folder).glob("*.md"))
    return set(re.findall(r"[\w-]+", " ".join(texts)))


def public() -> Iterator[str]:
    """All names that users and authors of plugins may meet."""
    yield from penstock.__all__
    yield from HOOKS
    yield from (kind.kind for kind in vars(penstock).values() if hasattr(kind, "default_retryable"))
    for names, command in every_command():
        yield names[-1]
        yield from (option for parameter in command.params for option in parameter.opts if option.startswith("--"))


def test_everything_public_is_described() -> None:
    assert sorted(set(public()) - words()) == []


def test_every_field_of_a_log_line_is_described() -> None:
    kinds = (Line, Tried, Failure, Tokens)
    fields = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}
    assert len(fields) > 20
    assert fields - set(re.findall(r"\w+", code(DOCS / "how-to/read-the-log.md"))) == set()


def test_every_hook_has_its_moment() -> None:
    rows = table(REFERENCE / "hooks.md", "When they are called")
    assert [row[0].strip("`") for row in rows] == list(HOOKS)


TABLES: Mapping[str, tuple[str, str, type[msgspec.Struct]]] = {
    "upstream": ("reference/pipeline-file.md", "upstreams", UpstreamFile),
    "gateway": ("reference/gateway-file.md", "Options", GatewayFile),
    "key": ("how-to/keys-and-teams.md", "A file instead of the database", KeyEntry),
    "sign-on": ("how-to/keys-and-teams.md", "Single sign-on", SignOn),
    "script": ("how-to/try-without-a-key.md", "Answers of your own", Entry),
}


@pytest.mark.parametrize(("page", "heading", "kind"), TABLES.values(), ids=TABLES)
def test_a_table_of_options_tells_all_with_their_defaults(page: str, heading: str, kind: type[msgspec.Struct]) -> None:
    told = {row[0].strip("`"): row[1] for row in table(DOCS / page, heading)}
    assert told.keys() == {field.encode_name for field in msgspec.structs.fields(kind)}
    for field in msgspec.structs.fields(kind):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if field.required:
            assert told[field.encode_name] == "required"
        elif default is None:
            assert told[field.encode_name] == "none"
        else:
            assert read(told[field.encode_name].strip("`"), field.type) == default, field.encode_name


def read(text: str, kind: Any) -> object:
    """What a text means where a value of that type is expected."""
    value, problems = convert(Document.parse(f"value: {text}", "table", {}), ("value",), kind, decode_hook())
    assert not problems, problems
    return value


def test_the_timeouts_of_the_how_to_are_those_of_the_reference() -> None:
    known = {row[0]: row[1] for row in table(REFERENCE / "pipeline-file.md", "upstreams")}
    told = {row[0]: row[1] for row in table(DOCS / "how-to/add-a-provider.md", "Patience")}
    assert told.items() <= known.items()


def test_the_options_of_tls_are_described() -> None:
    (row,) = (row for row in table(REFERENCE / "gateway-file.md", "Options") if row[0] == "`tls`")
    assert all(f"`{field.name}`" in row[2] for field in msgspec.structs.fields(TLS))


def test_the_layers_are_those_of_the_walls() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8").partition("## The layers")[2].partition("\n## ")[0]
    told = [set(re.findall(r"`(\w+)`", line)) for line in re.findall(r"^\d\. (.+)$", text, re.MULTILINE)]
    assert told == [{part for part in layer if not part.startswith("__")} for layer in LAYERS]


def test_decisions_are_numbered_complete_and_listed() -> None:
    records = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    assert [file for file, _ in links(DOCS / "decisions/README.md")] == [record.name for record in records]
    for record in records:
        assert {"context", "decision", "rivals", "consequences"} < anchors(record), record.name


# ---------------------------------------------------------------- what must work


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"no file {file}"
        assert not anchor or anchor in anchors(target), f"no heading {file}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
async def test_a_page_can_be_acted_out(page: Path, tmp_path: Path) -> None:
    if "curl " in code(page) and not shutil.which("curl"):
        pytest.skip("needs curl")
    stage = Stage(tmp_path.resolve())
    try:
        await stage.play(page)
    finally:
        await stage.close()
