"""Model names to targets: which rule decides, what is refused and how, and what clients are offered."""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Exchange, ModelInfo, NotFound, Operation, Prompt, Request, Target, Upstream
from penstock.options import decode_hook
from penstock_models import Models

NOBODY = cast(Any, None)  # these hooks never ask a protocol


def upstream(name: str, *models: str | ModelInfo, title: str = "", missing: str = "") -> Upstream:
    infos = tuple(model if isinstance(model, ModelInfo) else ModelInfo(id=model) for model in models)
    return Upstream(name=name, protocol=NOBODY, title=title, models=infos, missing=missing)


def world(*upstreams: Upstream) -> dict[str, Upstream]:
    return {each.name: each for each in upstreams}


GLM = ModelInfo(id="glm-5.3", name="GLM 5.3", context=200_000, output=64_000)
ANTHROPIC = upstream("anthropic", "claude-opus-5-5", "claude-haiku-5-5", title="Anthropic")
BEDROCK = upstream("bedrock", "global.anthropic.claude-opus-5-5")
ZAI = upstream("zai", GLM, "glm-5.3-air", title="Z.ai")
NO_KEY = upstream("zai", GLM, title="Z.ai", missing="set ZAI_API_KEY")
LOCAL = upstream("local")
ALL = world(ANTHROPIC, BEDROCK, ZAI, LOCAL)


def models(upstreams: Mapping[str, Upstream], **options: object) -> Models:
    return msgspec.convert(options, Models, dec_hook=decode_hook(upstreams))


def exchange(
    upstreams: Mapping[str, Upstream],
    model: str = "",
    operation: Operation = "generate",
    headers: Mapping[str, str] | None = None,
) -> Exchange:
    return Exchange(
        pipeline="test",
        protocol=NOBODY,
        operation=operation,
        request=Request(b"{}", lambda _: Prompt(), model=model),
        headers=headers or {},
        upstreams=upstreams,
        started=0.0,
    )


def targets(plugin: Models, upstreams: Mapping[str, Upstream], model: str) -> list[Target]:
    asked = exchange(upstreams, model)
    assert plugin.on_request(asked) is None
    return asked.targets


def first(plugin: Models, upstreams: Mapping[str, Upstream], model: str) -> str:
    target = targets(plugin, upstreams, model)[0]
    return f"{target.upstream}:{target.model}"


def refusal(plugin: Models, upstreams: Mapping[str, Upstream], model: str) -> str:
    with pytest.raises(NotFound) as caught:
        plugin.on_request(exchange(upstreams, model))
    return caught.value.message


def offered(plugin: Models, upstreams: Mapping[str, Upstream], claude: bool = False) -> list[ModelInfo]:
    headers = {"anthropic-version": "2023-06-01"} if claude else {}
    response = plugin.on_request(exchange(upstreams, operation="list_models", headers=headers))
    assert response is not None
    assert response.models is not None
    return list(response.models)


def ids(infos: list[ModelInfo]) -> list[str]:
    return [info.id for info in infos]


# ---------------------------------------------------------------- which rule decides


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-5-5", "local:exact"),
        ("claude-opus-9", "local:slot"),
        ("us.anthropic.Claude-Opus-9", "local:slot"),
        ("claude-haiku-5-5", "local:first-pattern"),
        ("opus-mt", "local:star"),
        ("glm-5.3", "local:star"),
        ("claude-zai-glm-5-3", "zai:glm-5.3"),
        ("zai/glm-5.3-air", "zai:glm-5.3-air"),
        ("zai,anything", "zai:anything"),
        ("zai/", "local:star"),
        ("nowhere/glm", "local:star"),
    ],
)
def test_exact_names_aliases_addresses_slots_and_patterns_in_this_order(model: str, expected: str) -> None:
    routes = {"*": "local/star", "claude-h*": "local/first-pattern", "claude-*": "local/second-pattern"}
    plugin = models(ALL, routes={**routes, "claude-opus-5-5": "local/exact"}, slots={"opus": "local/slot"}, direct=True)
    assert first(plugin, ALL, model) == expected


def test_an_exact_route_beats_an_alias_and_an_address_of_the_same_name() -> None:
    plugin = models(ALL, routes={"claude-zai-glm-5-3": "local/x", "zai/glm-5.3": "local/y"}, direct=True)
    assert first(plugin, ALL, "claude-zai-glm-5-3") == "local:x"
    assert first(plugin, ALL, "zai/glm-5.3") == "local:y"


def test_a_target_without_a_model_keeps_the_clients_name() -> None:
    plugin = models(ALL, routes={"claude-*": "anthropic"})
    assert targets(plugin, ALL, "claude-opus-4-1") == [Target("anthropic", "")]


def test_a_list_is_the_order_to_try_and_upstreams_without_a_key_are_skipped() -> None:
    upstreams = world(NO_KEY, LOCAL, ANTHROPIC)
    plugin = models(upstreams, routes={"fast": ["anthropic/claude-haiku-5-5", "zai/glm-5.3", "local/small"]})
    assert targets(plugin, upstreams, "fast") == [Target("anthropic", "claude-haiku-5-5"), Target("local", "small")]


def test_token_counts_go_the_same_way_and_probes_nowhere() -> None:
    plugin = models(ALL, routes={"fast": "local/small"})
    count, probe = exchange(ALL, "fast", "count_tokens"), exchange(ALL, "", "probe")
    assert plugin.on_request(count) is None
    assert plugin.on_request(probe) is None
    assert (count.targets, probe.targets) == ([Target("local", "small")], [])


def test_new_upstreams_are_noticed() -> None:
    plugin = models(ALL, routes={"glm": "zai/glm-5.3"})
    assert "set ZAI_API_KEY" in refusal(plugin, world(NO_KEY), "glm")
    assert first(plugin, ALL, "glm") == "zai:glm-5.3"


# ---------------------------------------------------------------- refusals


def test_a_model_whose_upstream_lacks_a_key_says_which_and_what_to_set() -> None:
    upstreams = world(NO_KEY, upstream("openrouter", missing="set OPENROUTER_API_KEY"))
    plugin = models(upstreams, routes={"glm-5": "zai/glm-5", "both": ["zai/a", "openrouter/b", "zai/c"]})
    assert refusal(plugin, upstreams, "glm-5") == "model 'glm-5' needs upstream 'zai': set ZAI_API_KEY"
    assert refusal(plugin, upstreams, "both") == (
        "model 'both' needs upstream 'zai': set ZAI_API_KEY, or upstream 'openrouter': set OPENROUTER_API_KEY"
    )


def test_an_unknown_model_is_answered_with_what_there_is() -> None:
    plugin = models(ALL, routes={"fast": "zai/glm-5.3", "gpt-*": "local/x"}, slots={"opus": "anthropic"})
    assert refusal(plugin, ALL, "fats") == (
        "model 'fats' is not offered here; did you mean 'fast'? There are: fast, claude-opus-5-5, "
        "claude-local-x, claude-opus-*, gpt-*"
    )
    assert "; there are: fast, " in refusal(plugin, ALL, "mistral")


def test_a_long_list_is_cut() -> None:
    upstreams = world(upstream("big", *(f"m{number}" for number in range(25))))
    message = refusal(models(upstreams, direct=True), upstreams, "nothing-like-it")
    assert message.endswith("big/m8, big/m9 and 15 more")


def test_where_nothing_is_usable_nothing_is_promised() -> None:
    plugin = models(world(NO_KEY), routes={"glm-*": "zai"}, direct=True)
    assert refusal(plugin, world(NO_KEY), "x") == (
        "model 'x' is not offered here, nor is any other: no route leads to a usable upstream"
    )
    assert offered(plugin, world(NO_KEY)) == []


def test_addresses_are_refused_unless_they_are_switched_on() -> None:
    plugin = models(ALL, routes={"fast": "local/small"})
    assert "is not offered here" in refusal(plugin, ALL, "zai/glm-5.3")
    assert "is not offered here" in refusal(plugin, ALL, "zai,glm-5.3")


def test_an_alias_is_no_way_around_the_routes() -> None:
    plugin = models(ALL, routes={"fast": "zai/glm-5.3"})
    assert first(plugin, ALL, "claude-zai-glm-5-3") == "zai:glm-5.3"
    assert "is not offered here" in refusal(plugin, ALL, "claude-zai-glm-5-3-air")
    interns = models(ALL, routes={"*": "zai/glm-5.3"})
    assert first(interns, ALL, "claude-zai-glm-5-3-air") == "zai:glm-5.3"


def test_an_alias_that_lost_its_key_does_not_go_elsewhere() -> None:
    upstreams = world(ANTHROPIC, NO_KEY)
    plugin = models(upstreams, routes={"claude-*": "anthropic", "glm-*": "zai"})
    assert refusal(plugin, upstreams, "claude-zai-glm-5-3") == (
        "model 'claude-zai-glm-5-3' needs upstream 'zai': set ZAI_API_KEY"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"routes": {" ": "zai"}}, "routes: a model name cannot be empty"),
        ({"routes": {"a": "zia"}}, "unknown upstream 'zia'; did you mean 'zai'?"),
        ({"slots": {"opsu": "zai"}}, "opsu"),
        ({"route": {}}, "route"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        models(ALL, **options)


# ---------------------------------------------------------------- the list of models


def test_claude_code_is_offered_names_that_it_shows_and_texts_that_it_prints() -> None:
    plugin = models(ALL, routes={"claude-*": "anthropic", "glm-*": "zai", "fast": "local/small"})
    listed = {info.id: info for info in offered(plugin, ALL, claude=True)}
    assert list(listed) == [
        "claude-opus-5-5",
        "claude-haiku-5-5",
        "claude-zai-glm-5-3",
        "claude-zai-glm-5-3-air",
        "claude-local-small",
    ]
    assert listed["claude-zai-glm-5-3"] == ModelInfo(
        id="claude-zai-glm-5-3",
        name="GLM 5.3 (Z.ai)",
        description="served by zai as glm-5.3",
        upstream="zai",
        context=200_000,
        output=64_000,
    )
    assert listed["claude-local-small"].name == "small (local)"


def test_other_clients_are_offered_plain_names() -> None:
    plugin = models(ALL, routes={"fast": "zai/glm-5.3-air", "glm-*": "zai"}, slots={"opus": "anthropic"})
    assert ids(offered(plugin, ALL)) == ["fast", "claude-opus-5-5", "glm-5.3"]
    addressed = models(ALL, routes={"fast": "zai/glm-5.3"}, direct=True)
    assert ids(offered(addressed, ALL)) == [
        "fast",
        "anthropic/claude-opus-5-5",
        "anthropic/claude-haiku-5-5",
        "bedrock/global.anthropic.claude-opus-5-5",
        "zai/glm-5.3",
        "zai/glm-5.3-air",
    ]


def test_a_model_that_only_a_slot_names_is_offered_by_alias() -> None:
    plugin = models(ALL, slots={"opus": "zai/glm-5.3"})
    for claude in (True, False):
        assert ids(offered(plugin, ALL, claude)) == ["claude-zai-glm-5-3"]


def test_a_route_with_a_name_that_claude_code_shows_needs_no_alias_beside_it() -> None:
    plugin = models(ALL, routes={"claude-fast": "zai/glm-5.3"})
    assert ids(offered(plugin, ALL, claude=True)) == ["claude-fast"]


def test_models_without_a_key_are_not_offered() -> None:
    upstreams = world(ANTHROPIC, NO_KEY)
    plugin = models(upstreams, routes={"fast": "zai/glm-5.3", "cheap": ["zai/glm-5.3", "anthropic/claude-haiku-5-5"]})
    assert ids(offered(plugin, upstreams)) == ["cheap"]


def test_a_claude_model_at_a_cloud_keeps_its_profile() -> None:
    plugin = models(ALL, routes={"claude-*": "anthropic"}, direct=True)
    assert "claude-opus-5-5-via-bedrock" in ids(offered(plugin, ALL, claude=True))
    assert first(plugin, ALL, "claude-opus-5-5-via-bedrock") == "bedrock:global.anthropic.claude-opus-5-5"


def test_aliases_of_other_models_hold_no_claude_family() -> None:
    upstreams = world(upstream("opus-lab", "sonnet-writer", "my-haiku"), upstream("fable", "x"))
    listed = ids(offered(models(upstreams, direct=True), upstreams, claude=True))
    assert len(listed) == 3
    assert not re.search("opus|sonnet|haiku|fable", " ".join(listed))


def test_models_with_like_names_get_different_aliases() -> None:
    upstreams = world(upstream("a", "x.1", "x-1", "x_1", "claude-a-x-1-2"))
    plugin = models(upstreams, direct=True)
    by_alias = {alias: first(plugin, upstreams, alias) for alias in ids(offered(plugin, upstreams, claude=True))}
    assert by_alias == {
        "claude-a-x-1": "a:x.1",
        "claude-a-x-1-3": "a:x-1",
        "claude-a-x-1-4": "a:x_1",
        "claude-a-x-1-2-via-a": "a:claude-a-x-1-2",
    }


NAMES = st.text("abz015.-_:/é", min_size=1, max_size=6)
WORLDS = st.dictionaries(
    st.text("abz-", min_size=1, max_size=3), st.lists(NAMES, max_size=4, unique=True), min_size=1, max_size=3
)


@given(WORLDS, st.booleans(), st.booleans())
def test_whatever_is_offered_leads_to_the_model_it_promises(
    names: dict[str, list[str]], direct: bool, claude: bool
) -> None:
    upstreams = world(*(upstream(name, *ids) for name, ids in names.items()))
    routes = {"*": list(names), "a*": next(iter(names)), "fast": f"{next(iter(names))}/special"}
    plugin = models(upstreams, routes=routes, direct=direct)
    listed = offered(plugin, upstreams, claude)
    assert len(ids(listed)) == len(set(ids(listed)))
    for info in listed:
        target = targets(plugin, upstreams, info.id)[0]
        assert info.description == f"served by {target.upstream} as {target.model or info.id}"
        assert info.id.startswith("claude-") or not claude
