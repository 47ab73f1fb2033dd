"""Lines of YAML, read for the tests of problems, documents and types."""

from penstock.document import Document
from penstock.problems import Problem


def parse(text: str, **env: str) -> Document:
    return Document.parse(text, "pipelines/team.yaml", env)


def told(problems: list[Problem]) -> list[str]:
    """Problems as `line:column: message`."""
    return [f"{p.line}:{p.column}: {p.message}" for p in problems]


def refused(text: str, **env: str) -> list[str]:
    return told(parse(text, **env).problems)
