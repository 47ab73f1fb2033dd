"""The presets: every entry keeps the schema, and every documented provider is there."""

import ipaddress
import re
from collections import Counter
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml
from msgspec import Meta

from penstock_providers import presets
from penstock_translation.anthropic import Quirks as AnthropicQuirks
from penstock_translation.efforts import EFFORTS
from penstock_translation.gemini import GeminiQuirks
from penstock_translation.openai_chat.quirks import ChatQuirks
from penstock_translation.openai_responses import ResponsesQuirks

Line = Annotated[str, Meta(min_length=1, pattern=r"^\S[^\n]*\S$")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
Parameter = Annotated[str, Meta(pattern=r"^[a-z]+$")]
Positive = Annotated[int, Meta(ge=1)]
Variable = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]*$")]


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Refuses what it does not know."""


class Model(Strict):
    """A model worth offering; sizes are in tokens."""

    id: Annotated[str, Meta(pattern=r"^\S+$")]
    name: Line
    context: Positive | None = None
    output: Positive | None = None


class Preset(Strict):
    """A provider that can be used."""

    title: Line
    protocol: Literal["anthropic", "openai-chat", "openai-responses", "gemini"]
    url: str
    auth: Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none"]
    parameters: list[Parameter] = []
    env: list[Variable] = []
    headers: dict[Name, Line] = {}
    models: Annotated[list[Model], Meta(max_length=8)] = []
    quirks: dict[str, Any] = {}
    model_quirks: dict[str, dict[str, Any]] = {}
    docs: Annotated[str, Meta(pattern=r"^https://\S+$")] | None = None
    notes: Line | None = None


class Retired(Strict):
    """A provider that is gone, with what to say about it."""

    retired: Line


QUIRKS: dict[str, type[msgspec.Struct]] = {
    "anthropic": AnthropicQuirks,
    "gemini": GeminiQuirks,
    "openai-chat": ChatQuirks,
    "openai-responses": ResponsesQuirks,
}

TEXT = presets().read_text(encoding="utf-8")
RAW: dict[str, Any] = yaml.safe_load(TEXT)
LIVE = {name: raw for name, raw in RAW.items() if "retired" not in raw}
GONE = {name: raw for name, raw in RAW.items() if "retired" in raw}

# Every documented base URL that speaks one of the two formats. Left out on purpose: Anthropic's OpenAI layer
# (for trying out, says Anthropic), xAI's Anthropic layer (deprecated), Azure's deployment URLs (a query
# behind the path), Claude on Vertex and Bedrock's native calls (neither format), Copilot (private).
BASES = {
    ("anthropic", "https://api.anthropic.com"): "anthropic",
    ("anthropic", "https://aws-external-anthropic.{region}.api.aws"): "aws-claude",
    (
        "anthropic",
        "https://claude.googleapis.com/v1/projects/{project}/locations/global/workspaces/{workspace}/invoke",
    ): "google-claude",
    ("openai-responses", "https://api.openai.com/v1"): "openai",
    ("openai-chat", "https://api.openai.com/v1"): "openai-chat",
    ("openai-responses", "https://{resource}.openai.azure.com/openai/v1"): "azure-openai",
    ("openai-chat", "https://{resource}.openai.azure.com/openai/v1"): "azure-openai-chat",
    ("anthropic", "https://{resource}.services.ai.azure.com/anthropic"): "foundry-claude",
    ("openai-chat", "https://openrouter.ai/api/v1"): "openrouter",
    ("anthropic", "https://openrouter.ai/api"): "openrouter-anthropic",
    ("gemini", "https://generativelanguage.googleapis.com/v1beta"): "gemini",
    ("openai-chat", "https://generativelanguage.googleapis.com/v1beta/openai"): "gemini-chat",
    (
        "gemini",
        "https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}/publishers/google",
    ): "vertex",
    (
        "openai-chat",
        "https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}/endpoints/openapi",
    ): "vertex-chat",
    ("openai-chat", "https://bedrock-runtime.{region}.amazonaws.com/openai/v1"): "bedrock-chat",
    ("anthropic", "https://bedrock-runtime.{region}.amazonaws.com/anthropic"): "bedrock",
    ("openai-chat", "https://bedrock-mantle.{region}.api.aws/v1"): "bedrock-mantle-chat",
    ("anthropic", "https://bedrock-mantle.{region}.api.aws/anthropic"): "bedrock-mantle",
    ("openai-chat", "https://api.z.ai/api/paas/v4"): "zai-chat",
    ("anthropic", "https://api.z.ai/api/anthropic"): "zai zai-coding",
    ("openai-chat", "https://api.z.ai/api/coding/paas/v4"): "zai-coding-chat",
    ("openai-chat", "https://open.bigmodel.cn/api/paas/v4"): "bigmodel-chat",
    ("openai-chat", "https://open.bigmodel.cn/api/coding/paas/v4"): "bigmodel-coding-chat",
    ("anthropic", "https://open.bigmodel.cn/api/anthropic"): "bigmodel",
    ("openai-chat", "https://api.moonshot.ai/v1"): "moonshot-chat",
    ("anthropic", "https://api.moonshot.ai/anthropic"): "moonshot",
    ("openai-chat", "https://api.moonshot.cn/v1"): "moonshot-cn-chat",
    ("anthropic", "https://api.moonshot.cn/anthropic"): "moonshot-cn",
    ("openai-chat", "https://api.kimi.com/coding/v1"): "kimi-coding-chat",
    ("anthropic", "https://api.kimi.com/coding"): "kimi-coding",
    ("openai-chat", "https://api.deepseek.com"): "deepseek-chat",
    ("anthropic", "https://api.deepseek.com/anthropic"): "deepseek",
    ("openai-chat", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"): "qwen-chat",
    ("anthropic", "https://dashscope-intl.aliyuncs.com/apps/anthropic"): "qwen",
    (
        "openai-chat",
        "https://{workspace}.{region}.maas.aliyuncs.com/compatible-mode/v1",
    ): "qwen-workspace-chat",
    ("anthropic", "https://{workspace}.{region}.maas.aliyuncs.com/apps/anthropic"): "qwen-workspace",
    ("openai-chat", "https://dashscope.aliyuncs.com/compatible-mode/v1"): "qwen-cn-chat",
    ("anthropic", "https://dashscope.aliyuncs.com/apps/anthropic"): "qwen-cn",
    ("openai-chat", "https://coding-intl.dashscope.aliyuncs.com/v1"): "qwen-coding-chat",
    ("anthropic", "https://coding-intl.dashscope.aliyuncs.com/apps/anthropic"): "qwen-coding",
    ("openai-chat", "https://coding.dashscope.aliyuncs.com/v1"): "qwen-coding-cn-chat",
    ("anthropic", "https://coding.dashscope.aliyuncs.com/apps/anthropic"): "qwen-coding-cn",
    ("openai-chat", "https://api.minimax.io/v1"): "minimax-chat",
    ("anthropic", "https://api.minimax.io/anthropic"): "minimax",
    ("openai-chat", "https://api.minimaxi.com/v1"): "minimax-cn-chat",
    ("anthropic", "https://api.minimaxi.com/anthropic"): "minimax-cn",
    ("openai-chat", "https://api.mistral.ai/v1"): "mistral",
    ("openai-chat", "https://api.siliconflow.com/v1"): "siliconflow",
    ("anthropic", "https://api.siliconflow.com"): "siliconflow-anthropic",
    ("openai-chat", "https://api.siliconflow.cn/v1"): "siliconflow-cn",
    ("anthropic", "https://api.siliconflow.cn"): "siliconflow-cn-anthropic",
    ("openai-chat", "https://ark.cn-beijing.volces.com/api/v3"): "ark",
    ("anthropic", "https://ark.cn-beijing.volces.com/api/coding"): "ark-coding",
    ("openai-chat", "https://ark.cn-beijing.volces.com/api/coding/v3"): "ark-coding-chat",
    ("openai-chat", "http://127.0.0.1:11434/v1"): "ollama",
    ("anthropic", "http://127.0.0.1:11434"): "ollama-anthropic",
    ("openai-chat", "https://ollama.com/v1"): "ollama-cloud",
    ("openai-chat", "http://127.0.0.1:8080/v1"): "llamacpp localai",
    ("anthropic", "http://127.0.0.1:8080"): "llamacpp-anthropic localai-anthropic",
    ("openai-chat", "http://127.0.0.1:1234/v1"): "lmstudio",
    ("anthropic", "http://127.0.0.1:1234"): "lmstudio-anthropic",
    ("openai-chat", "http://127.0.0.1:8000/v1"): "vllm",
    ("anthropic", "http://127.0.0.1:8000"): "vllm-anthropic",
    ("openai-chat", "https://api.groq.com/openai/v1"): "groq",
    ("openai-chat", "https://api.cerebras.ai/v1"): "cerebras",
    ("openai-responses", "https://api.x.ai/v1"): "xai",
    ("openai-chat", "https://api.x.ai/v1"): "xai-chat",
    ("openai-responses", "https://us.api.x.ai/v1"): "xai-us",
    ("openai-chat", "https://us.api.x.ai/v1"): "xai-us-chat",
}


def preset(name: str) -> Preset:
    return msgspec.convert(LIVE[name], Preset)


def quirks_of(preset: Preset) -> list[msgspec.Struct]:
    """The quirks that hold for an unlisted model, then those of each listed one."""
    kind = QUIRKS[preset.protocol]
    return [msgspec.convert(preset.quirks | quirks, kind) for quirks in [{}, *preset.model_quirks.values()]]


def is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def test_the_file_is_beside_the_package() -> None:
    assert presets().is_file()
    assert presets().name == "presets.yaml"


def test_no_key_is_written_twice() -> None:
    def check(node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            twice = [key for key, count in Counter(key.value for key, _ in node.value).items() if count > 1]
            assert not twice, f"line {node.start_mark.line + 1}: {twice}"
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        for child in children:
            for part in child if isinstance(child, tuple) else [child]:
                check(part)

    check(yaml.compose(TEXT, Loader=yaml.SafeLoader))


def test_no_anchors_and_no_variables() -> None:
    assert not [event for event in yaml.parse(TEXT) if isinstance(event, yaml.AliasEvent)]
    assert "${" not in TEXT


@pytest.mark.parametrize("name", RAW)
def test_names_are_kebab_case(name: str) -> None:
    msgspec.convert(name, Name)


@pytest.mark.parametrize("name", LIVE)
class TestPreset:
    def test_has_known_keys_only(self, name: str) -> None:
        preset(name)

    def test_url_is_a_plain_base(self, name: str) -> None:
        url = preset(name).url
        parts = urlsplit(url)
        assert parts.scheme == ("http" if is_local(url) else "https")
        assert parts.netloc
        assert (parts.query, parts.fragment, parts.username) == ("", "", None)
        assert not url.endswith("/")
        assert not url.endswith(("/messages", "/completions", "/responses"))
        if preset(name).protocol == "anthropic":
            assert not url.endswith("/v1"), "the protocol appends /v1/messages"

    def test_parameters_are_the_placeholders(self, name: str) -> None:
        entry = preset(name)
        used = re.findall(r"{(.*?)}", " ".join([entry.url, *entry.headers.values()]))
        assert sorted(set(used)) == sorted(entry.parameters)

    def test_only_local_servers_go_without_a_key(self, name: str) -> None:
        entry = preset(name)
        assert bool(entry.env) is not is_local(entry.url)
        assert entry.auth != "none" or is_local(entry.url)
        assert len(set(entry.env)) == len(entry.env)

    def test_models_are_unique_and_sane(self, name: str) -> None:
        models = preset(name).models
        assert len({model.id for model in models}) == len(models)
        assert len({model.name for model in models}) == len(models)
        for model in models:
            assert (model.output or 1) <= (model.context or model.output or 1)

    def test_quirks_are_known_to_the_protocol(self, name: str) -> None:
        assert quirks_of(preset(name))

    def test_claude_is_where_its_models_are(self, name: str) -> None:
        entry = preset(name)
        for quirks in quirks_of(entry):
            if isinstance(quirks, AnthropicQuirks):
                assert quirks.claude is any("claude" in model.id for model in entry.models)

    def test_chat_presets_say_how_to_ask(self, name: str) -> None:
        if preset(name).protocol == "openai-chat":
            assert {"max_tokens_field", "reasoning", "reasoning_field"} <= preset(name).quirks.keys()

    def test_responses_presets_say_how_to_ask(self, name: str) -> None:
        if preset(name).protocol == "openai-responses":
            assert {"reasoning", "efforts"} <= preset(name).quirks.keys()

    def test_efforts_ascend_and_fit_the_way_of_asking(self, name: str) -> None:
        for quirks in quirks_of(preset(name)):
            if isinstance(quirks, ChatQuirks):
                ranks = [EFFORTS.index(effort) for effort in quirks.efforts]
                assert ranks == sorted(set(ranks))
                assert ranks or not str(quirks.reasoning).startswith("effort")

    def test_nothing_is_both_added_and_dropped(self, name: str) -> None:
        for quirks in quirks_of(preset(name)):
            if isinstance(quirks, ChatQuirks):
                assert not set(quirks.drop) & quirks.extra_body.keys()
                assert "reasoning_effort" not in quirks.extra_body or quirks.reasoning == "none"


@pytest.mark.parametrize(("base", "names"), BASES.items(), ids=lambda value: str(value))
def test_every_documented_base_has_its_preset(base: tuple[str, str], names: str) -> None:
    assert [name for name, raw in LIVE.items() if (raw["protocol"], raw["url"]) == base] == names.split()


def test_no_preset_is_missing_from_the_table() -> None:
    assert {name for names in BASES.values() for name in names.split()} == set(LIVE)


def test_a_second_format_is_named_after_the_first() -> None:
    for name, raw in LIVE.items():
        for suffix, protocol in (("-chat", "openai-chat"), ("-anthropic", "anthropic")):
            if name.endswith(suffix):
                assert raw["protocol"] == protocol
                main = LIVE.get(name.removesuffix(suffix))
                assert main is None or main["protocol"] != protocol


@pytest.mark.parametrize("name", GONE)
def test_a_retired_provider_names_presets_that_exist(name: str) -> None:
    message = msgspec.convert(GONE[name], Retired).retired
    offered = message.removesuffix(".").partition("use the preset ")[2]
    assert set(re.split(", | or ", offered)) <= set(LIVE)


def test_the_retired_providers_are_known() -> None:
    assert set(GONE) == {"github-models", "iflow"}
