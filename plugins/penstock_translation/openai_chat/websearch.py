"""A client's web search where a Chat Completions vendor has one: how it is asked for, and the sources that come back.

Sources: openrouter.ai/docs (server tools, web search); docs.z.ai (chat completion: `WebSearchToolSchema`);
alibabacloud.com/help (Model Studio, web search).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from penstock import Tool

from ..searches import Page, citation
from ..untyped import items, members, words
from .quirks import ChatQuirks

Fields = dict[str, Any]


class _Options(msgspec.Struct):
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: dict[str, Any] | None = None


def is_bridged(tool: Tool, quirks: ChatQuirks) -> bool:
    """Whether the upstream has a counterpart for a tool of the client's provider."""
    return quirks.web_search != "none" and tool.type.startswith("web_search")


def search_fields(tool: Tool, quirks: ChatQuirks) -> tuple[list[Fields], Fields]:
    """The entries among the tools, and the parameters, that ask for a search of the web."""
    if quirks.web_search == "enable_search":
        return [], {"enable_search": True}
    try:
        options = msgspec.json.decode(tool.options, type=_Options)
    except msgspec.DecodeError:
        options = _Options()
    if quirks.web_search == "zai":
        return [{"type": "web_search", "web_search": _zai(options)}], {}
    entry: Fields = {"type": "openrouter:web_search"}
    if parameters := _openrouter(options):
        entry["parameters"] = parameters
    return [entry], {}


def citations(annotations: object) -> Iterator[str]:
    """Sources as Anthropic's citations, in JSON: `url_citation` annotations, or the results that Z.ai lists."""
    for annotation in map(members, items(annotations)):
        source = members(annotation.get("url_citation")) or annotation
        if url := words(source.get("url") or source.get("link")):
            yield citation(Page(url, words(source.get("title"))), words(source.get("content")))


def _zai(options: _Options) -> Fields:
    fields: Fields = {"enable": True, "search_engine": "search_pro_jina", "search_result": True}
    domains = options.allowed_domains or ()
    return fields | _given(search_domain_filter=domains[0] if len(domains) == 1 else None)


def _openrouter(options: _Options) -> Fields:
    return _given(
        allowed_domains=options.allowed_domains,
        excluded_domains=options.blocked_domains,
        user_location=options.user_location,
    )


def _given(**fields: Any) -> Fields:
    return {name: value for name, value in fields.items() if value}


def bridged(tools: Iterable[Tool], quirks: ChatQuirks) -> Tool | None:
    """The tool for which the upstream has a counterpart; two of them would be the same search."""
    return next((tool for tool in tools if is_bridged(tool, quirks)), None)
