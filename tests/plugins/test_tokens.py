"""Token counts made offline: how near they come, for which models, and what pictures and documents count."""

import base64
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import (
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    OtherBlock,
    Prompt,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from penstock_translation import tokens
from penstock_translation.tokens import count, count_text

GPT, OLD_CLAUDE, NEW_CLAUDE = "gpt-5.5", "claude-sonnet-4-5", "claude-opus-5-5"

PYTHON = '''
class LeaseTable:
    """Counted leases that expire unless they are renewed."""

    def __init__(self, clock: Callable[[], float], ttl: float = 30.0) -> None:
        self._clock = clock
        self._ttl = ttl
        self._leases: dict[str, dict[int, float]] = {}
        self._numbers = itertools.count(1)

    def acquire(self, name: str, limit: int) -> int | None:
        """The number of a new lease, or None when `limit` of them are out."""
        leases = self._leases.setdefault(name, {})
        now = self._clock()
        for number in [number for number, expires in leases.items() if expires <= now]:
            del leases[number]
        if len(leases) >= limit:
            return None
        number = next(self._numbers)
        leases[number] = now + self._ttl
        return number

    def renew(self, name: str, number: int) -> bool:
        if number not in self._leases.get(name, {}):
            raise KeyError(f"lease {number} of {name!r} has expired")
        self._leases[name][number] = self._clock() + self._ttl
        return True
'''
TYPESCRIPT = """
export async function* readEvents(response: Response, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    while (!signal?.aborted) {
      const { value, done } = await reader.read();
      if (done) return;
      pending += value;
      const frames = pending.split("\\n\\n");
      pending = frames.pop() ?? "";
      for (const frame of frames) {
        const fields = Object.fromEntries(frame.split("\\n").map((line) => line.split(/: ?(.*)/s)));
        if (fields.data !== undefined) yield { name: fields.event ?? "message", data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.releaseLock();
  }
}
"""
MARKDOWN = """
# Rotating a key

1. Make a new key with `python -m penstock_auth --user alice` and paste the lines into `keys.yaml`.
2. Give the key to its user; **do not** send it by mail.
3. When `requests.jsonl` shows no more lines with the old key's name, delete its entry.

| Field     | Meaning                          | Required |
| --------- | -------------------------------- | -------- |
| `hash`    | `sha256:` and 64 hexadecimal digits | yes   |
| `user`    | whose key it is                  | yes      |
| `expires` | last day on which it works, UTC  | no       |

> The file is read again whenever it changes; see [reloading](../explanation/reload.md#files).

```console
$ curl -s http://127.0.0.1:4000/v1/models -H "x-api-key: $KEY" | jq '.data[].id'
"claude-opus-5-5"
```
"""
ENGLISH = """
A gateway stands between the people who write software and the machines that answer them. It reads each request,
finds out who is asking, and decides where the question should go. When the first place does not answer, it tries
the next one, and nobody needs to notice. The person in charge keeps all settings in one short file, which can be
read aloud and understood. Every conversation leaves a single line behind that says how long it took and what it
cost, but never what was said. Most of the work is careful waiting: streams must flow without delay, and yet they
have to be stopped at once when the listener has gone away, because every unread word still has to be paid for.
"""
CHINESE = """
网关是位于编程助手和模型服务商之间的一个程序。它读取客户端的请求，确认提问者的身份，然后决定把请求发送到哪里。如果第一个服务商没有回应，
它会自动尝试第二个，用户不会察觉到任何变化。管理员把所有的设置写在一个简短清楚的文件里，需要的时候可以增加新的插件。每一次操作都会记录成
一行日志，方便以后查找。为了保护用户的隐私，网关默认不保存消息的内容，除非管理员明确要求这样做。令牌的数量决定了费用，因此我们需要在不联网
的情况下，也能相当准确地估计一段文字包含多少个令牌。中文、日文和韩文的计算方法与英文不同，代码中的空格、符号和数字也要分别处理。
"""
JSON = """
{"id":"msg_01","model":"claude-opus-5-5","content":[{"type":"tool_use","id":"toolu_17","name":"read_file","input":
{"file_path":"/home/dev/project/src/main.rs","offset":120,"limit":80}},{"type":"text","text":"Reading the file."}],
"usage":{"input_tokens":20431,"cache_read_input_tokens":18872,"cache_creation":{"ephemeral_5m_input_tokens":1559},
"output_tokens":87},"stop_reason":"tool_use","stop_sequence":null,"service_tier":"standard","is_error":false}
"""
LISTING = """
-rw-r--r-- 1 dev dev  4963 Nov 21 10:57 errors.py
-rw-r--r-- 1 dev dev  3563 Nov 21 11:03 events.py
drwxr-xr-x 2 dev dev  4096 Nov 21 11:14 testing
-rw-r--r-- 1 dev dev 30564 Nov 21 11:13 document.py
2026-11-21 11:14:07,381 INFO [pool-3] GET /v1/models 200 took 41 ms
2026-11-21 11:14:09,020 WARNING [pool-1] POST /v1/messages 529 took 2310 ms, retrying
tests/core/test_store.py:41: AssertionError: assert 0.0 == 1.5
"""
RANDOM = base64.b64encode(b"".join(struct.pack(">I", n * 2654435761 % 2**32) for n in range(200))).decode()

# Tokens of o200k_base as bpe-openai 0.1.4 counts them.
SAMPLES = {
    "python": (PYTHON, 267),
    "typescript": (TYPESCRIPT, 177),
    "markdown": (MARKDOWN, 219),
    "english": (ENGLISH, 146),
    "chinese": (CHINESE, 184),
    "json": (JSON, 132),
    "listing": (LISTING, 185),
    "random": (RANDOM, 738),
}


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where the extra [tokens] is not installed."""
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    tokens._encoder.cache_clear()
    yield
    tokens._encoder.cache_clear()


def prompt(*content: Block) -> Prompt:
    return Prompt(messages=(Message("user", (TextBlock("Look at this:"), *content)),))


def cost(*content: Block, model: str = GPT) -> int:
    """What blocks add to a prompt."""
    return count(prompt(*content), model) - count(prompt(), model)


# ---------------------------------------------------------------- texts


@pytest.mark.usefixtures("without_extra")
@pytest.mark.parametrize("name", SAMPLES)
def test_an_estimate_is_within_15_percent(name: str) -> None:
    text, exact = SAMPLES[name]
    assert count_text(text, GPT) == pytest.approx(exact, rel=0.15)
    assert count_text(text * 20, GPT) == pytest.approx(exact * 20, rel=0.15)


@pytest.mark.parametrize("name", SAMPLES)
def test_with_the_extra_the_count_is_exact(name: str) -> None:
    pytest.importorskip("bpe_openai", reason="needs the extra [tokens]")
    text, exact = SAMPLES[name]
    assert count_text(text, GPT) == exact
    assert count_text(text, NEW_CLAUDE) > exact * 1.3


def test_with_the_extra_a_long_text_is_counted_in_pieces() -> None:
    pytest.importorskip("bpe_openai", reason="needs the extra [tokens]")
    assert count_text(ENGLISH * 2000, GPT) == pytest.approx(count_text(ENGLISH * 20, GPT) * 100, rel=0.001)
    assert count_text("\U0001f9ff" * 200_000, GPT) > 200_000


def test_the_extra_is_not_loaded_before_the_first_count() -> None:
    program = "import sys, penstock_translation; sys.exit('bpe_openai' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.usefixtures("without_extra")
@pytest.mark.parametrize(
    ("text", "order"),
    [
        (ENGLISH, ["minimax-m2", GPT, "deepseek-v3.2", "gemini-3-pro", OLD_CLAUDE, NEW_CLAUDE]),
        (CHINESE, ["kimi-k2", "qwen3-coder", "glm-4.6", "gemini-3-pro", GPT, "gpt-4-turbo", OLD_CLAUDE]),
    ],
)
def test_families_differ_as_their_tokenizers_do(text: str, order: list[str]) -> None:
    counts = [count_text(text, model) for model in order]
    assert counts == sorted(set(counts)), dict(zip(order, counts, strict=True))


@pytest.mark.usefixtures("without_extra")
@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("claude-3-5-sonnet-20241022", OLD_CLAUDE),
        ("claude-opus-4-20250514", OLD_CLAUDE),
        ("claude-opus-4-6", OLD_CLAUDE),
        ("claude-4.5-sonnet", OLD_CLAUDE),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", OLD_CLAUDE),
        ("claude-opus-4-7", NEW_CLAUDE),
        ("anthropic/claude-opus-4.8", NEW_CLAUDE),
        ("claude-opus-4-10", NEW_CLAUDE),
        ("claude-sonnet-5-20260630", NEW_CLAUDE),
        ("claude-fable-5", NEW_CLAUDE),
        ("claude-qwen3-coder", "qwen3-coder"),
        ("moonshotai/Kimi-K2-Instruct", "kimi-k2"),
        ("gpt-4o-mini", GPT),
        ("gpt-4.1", GPT),
        ("gpt-4-0613", "gpt-3.5-turbo"),
        ("something-new", GPT),
    ],
)
def test_a_family_is_recognised_by_the_models_name(model: str, like: str) -> None:
    assert count_text(ENGLISH + CHINESE, model) == count_text(ENGLISH + CHINESE, like)


@pytest.mark.usefixtures("without_extra")
@given(st.text(st.characters(), max_size=200))
def test_any_text_has_tokens_but_not_more_than_bytes(text: str) -> None:
    tokens_, size = count_text(text, GPT), len(text.encode("utf-8", "replace"))
    assert isinstance(tokens_, int)
    assert bool(text) <= tokens_ <= 3 * size


@pytest.mark.usefixtures("without_extra")
@pytest.mark.parametrize(
    "unit", ["a", " ", "\n", "aA", "a0", ".", "a.", "=\n", "中", "\u2500", "é", "\U0001f600", "\ud800"]
)
def test_no_text_takes_long(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.perf_counter()
    assert count_text(text, GPT) > 100
    assert time.perf_counter() - started < 2, "a megabyte takes about 0.03 s"


# ---------------------------------------------------------------- prompts

WEATHER = Tool(
    "get_weather",
    "Get the current weather in a given location",
    msgspec.Raw(
        b'{"type":"object","properties":{"location":{"type":"string","description":"The city and state, e.g. San '
        b'Francisco, CA"}},"required":["location"]}'
    ),
)


@pytest.mark.usefixtures("without_extra")
def test_the_examples_of_anthropics_documentation() -> None:
    """platform.claude.com, page on token counting: 14 and 403 tokens."""
    hello = Prompt((TextBlock("You are a scientist"),), (Message("user", (TextBlock("Hello, Claude"),)),))
    assert count(hello, NEW_CLAUDE) == pytest.approx(14, abs=7)
    question = (TextBlock("What's the weather like in San Francisco?"),)
    weather = Prompt(messages=(Message("user", question),), tools=(WEATHER,))
    assert count(weather, NEW_CLAUDE) == pytest.approx(403, rel=0.15)


@pytest.mark.usefixtures("without_extra")
def test_everything_in_a_prompt_is_counted() -> None:
    words, exact = SAMPLES["english"]
    schema = msgspec.Raw(msgspec.json.encode({"description": words}))
    near = pytest.approx(exact, rel=0.2)
    empty = count(Prompt(), GPT)
    assert 0 < empty < 10
    assert count(Prompt(system=(TextBlock(words),)), GPT) - empty == near
    assert count(Prompt(tools=(Tool("a", words),)), GPT) - count(Prompt(tools=(Tool("a"),)), GPT) == near
    assert count(Prompt(tools=(Tool("a", schema=schema),)), GPT) - empty == near
    assert count(Prompt(output_schema=schema), GPT) - empty == near
    for block in (
        TextBlock(words),
        ThinkingBlock(words),
        OtherBlock("search_result", words),
        DocumentBlock(text=words),
        DocumentBlock("text/plain", base64.b64encode(words.encode()).decode()),
        ToolUseBlock("toolu_1", "write", schema),
        ToolResultBlock("toolu_1", (TextBlock(words),)),
    ):
        assert cost(block) == near, block


@pytest.mark.usefixtures("without_extra")
def test_a_message_costs_a_few_tokens_itself() -> None:
    one, three = (Prompt(messages=(Message("user", (TextBlock("word"),)),) * times) for times in (1, 3))
    assert 2 * 4 <= count(three, GPT) - count(one, GPT) <= 2 * 7


@pytest.mark.usefixtures("without_extra")
def test_what_the_model_does_not_read_is_not_counted() -> None:
    sealed = ThinkingBlock("Let me see.", signature=RANDOM * 10)
    assert cost(sealed) == cost(ThinkingBlock("Let me see."))
    assert cost(ThinkingBlock(redacted=RANDOM * 10)) <= 1


# ---------------------------------------------------------------- pictures and documents


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5x", 13, b"IHDR", width, height)


def picture(content: bytes) -> ImageBlock:
    return ImageBlock("image/whatever", base64.b64encode(content).decode())


def vp8x(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + size + bytes(30)


def vp8l(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\x40\0\0\0WEBPVP8L\x20\0\0\0\x2f" + bits.to_bytes(4, "little") + bytes(30)


def vp8(width: int, height: int) -> bytes:
    return b"RIFF\x40\0\0\0WEBPVP8 \x20\0\0\0\x10\x02\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(30)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(10)


def jpeg(width: int, height: int, frame: int = 0xC0) -> bytes:
    preview = b"\xff\xe1" + struct.pack(">H", 60_000) + b"\xff\xc0\0\x11\x08\0\x10\0\x10" + bytes(60_000 - 11)
    tables = b"\xff\xff\xdb\0\x04ab" + b"\xff\xc4\0\x03x"
    return (
        b"\xff\xd8" + preview + tables + b"\xff" + bytes([frame]) + struct.pack(">HBHH", 17, 8, height, width) + b"\x03"
    )


FORMATS: list[Callable[[int, int], bytes]] = [
    png,
    gif,
    vp8x,
    vp8l,
    vp8,
    jpeg,
    lambda width, height: jpeg(width, height, 0xC2),
]


@pytest.mark.parametrize("make", FORMATS)
def test_the_size_of_a_picture_decides_in_every_format(make: Callable[[int, int], bytes]) -> None:
    assert cost(picture(make(1000, 600)), model=OLD_CLAUDE) == 800
    assert cost(picture(make(75, 100)), model=OLD_CLAUDE) == 10


@pytest.mark.parametrize(
    ("size", "old", "new"),
    [
        ((1, 1), 1, 1),
        ((1000, 1000), 1334, 1334),
        ((1600, 1200), 1600, 2560),
        ((8000, 6000), 1600, 4784),
        ((8000, 100), 41, 111),
    ],
)
def test_a_picture_is_scaled_down_to_what_the_model_sees(size: tuple[int, int], old: int, new: int) -> None:
    image = picture(png(*size))
    assert (cost(image, model=OLD_CLAUDE), cost(image, model=NEW_CLAUDE)) == (old, new)
    assert cost(ToolResultBlock("t", (image,)), model=OLD_CLAUDE) == pytest.approx(old, abs=12)


@pytest.mark.parametrize(
    "block",
    [
        ImageBlock(url="https://example.com/a.png"),
        ImageBlock("image/png", "no base64 at all ☃"),
        ImageBlock("image/png", base64.b64encode(png(0, 10)).decode()),
        ImageBlock("image/png", base64.b64encode(png(10, 10)[:20]).decode()),
        ImageBlock("image/jpeg", base64.b64encode(jpeg(10, 10)[:1000]).decode()),
        ImageBlock("image/bmp", base64.b64encode(b"BM" + bytes(100)).decode()),
        OtherBlock("image"),
    ],
)
def test_a_picture_that_cannot_be_read_counts_as_a_usual_one(block: Block) -> None:
    assert cost(block, model=OLD_CLAUDE) == cost(block, model="something-new") == 1500
    assert cost(block, model="gemini-2.5-pro") == 258 * 6


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        # OpenAI's guide: tiles
        ("gpt-4o", (1024, 1024), 765),
        ("gpt-4.1", (2048, 4096), 1105),
        ("gpt-4o", (128, 64), 255),  # as measured: nothing is scaled up
        ("gpt-4o-mini", (512, 512), 2833 + 5667),
        ("gpt-5", (1024, 1024), 70 + 4 * 140),
        ("openai/gpt-5.1-chat", (512, 512), 210),
        ("o3", (512, 512), 225),
        ("gpt-4-turbo", (512, 512), 255),
        # and patches
        ("gpt-4.1-mini", (1024, 1024), 1659),
        ("gpt-4.1-mini", (1800, 2400), 2353),
        ("gpt-4.1-nano", (32, 32), 3),
        ("o4-mini", (128, 64), 14),
        ("gpt-5-mini", (640, 320), 240),
        ("gpt-5.4-mini", (1600, 1600), 1826),
        ("gpt-5-nano", (320, 320), 150),
        ("gpt-5.2", (320, 320), 120),
        ("gpt-5.5", (1600, 1600), 3000),
        ("gpt-5.5", (1, 100_000), 3000),
        # Google's pages
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (960, 540), 1548),
        ("gemini-3.8-flash", (4000, 3000), 1120),
        ("gemma-3-27b", (4000, 3000), 258),
        # xAI: 256 to 1,792
        ("grok-4", (10, 10), 256),
        ("grok-4", (4000, 3000), 1792),
        # the open models' processors
        ("qwen3-vl-plus", (320, 320), 100),
        ("qwen2.5-vl-72b", (280, 280), 100),
        ("mistral-medium-3", (280, 280), 100),
        ("pixtral-12b", (1024, 1024), 4096),
        ("kimi-k2.5", (280, 280), 100),
        ("claude-qwen3-vl", (320, 320), 100),
    ],
)
def test_a_picture_counts_as_the_vendor_of_the_model_says(model: str, size: tuple[int, int], tokens: int) -> None:
    assert cost(picture(png(*size)), model=model) == tokens


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_a_picture_of_any_size_has_some_tokens(width: int, height: int) -> None:
    for model in ("gpt-4o", "gpt-5.5", "gemini-2.5-pro", "grok-4", "qwen3-vl", "mistral-large-3", NEW_CLAUDE):
        assert 1 <= cost(picture(png(width, height)), model=model) <= 258 * 400_000


def pdf(pages: int, packed: bool = False, line_end: bytes = b"\n") -> bytes:
    objects = b"<< /Type /Pages /Count 9 >>" + b"<</Type/Page /Parent 1 0 R>>\n<< /Type  /PageLabel >>" * pages
    if packed:
        head = b"4 0 obj << /Type /ObjStm /Filter /FlateDecode /N 3 >>" + line_end + b"stream" + line_end
        objects = head + zlib.compress(objects) + b"\nendstream\n"
    return b"%PDF-1.5\n" + objects + b"\n%%EOF"


@pytest.mark.parametrize(
    ("content", "pages"),
    [
        (pdf(3), 3),
        (pdf(12, packed=True), 12),
        (pdf(2, packed=True, line_end=b"\r\n") + pdf(5, packed=True) + pdf(1), 8),
        (pdf(0), 1),
        (pdf(3, packed=True).replace(b"stream\nx", b"stream\n!"), 1),
        (b"garbage", 1),
        (b"", 1),
    ],
)
def test_a_pdf_counts_by_its_pages(content: bytes, pages: int) -> None:
    data = base64.b64encode(content).decode() or "%"
    assert cost(DocumentBlock("application/pdf", data)) == pytest.approx(2000 * pages, abs=2)


@pytest.mark.parametrize(("model", "page"), [(NEW_CLAUDE, 2000), ("gemini-2.5-pro", 258), ("gemini-3-pro", 560)])
def test_a_page_of_a_pdf_counts_as_the_vendor_says(model: str, page: int) -> None:
    document = DocumentBlock("application/pdf", base64.b64encode(pdf(10)).decode())
    assert cost(document, model=model) == pytest.approx(10 * page, abs=2)


def test_a_document_that_is_elsewhere_counts_as_a_page() -> None:
    assert cost(DocumentBlock(url="https://example.com/a.pdf")) == pytest.approx(2000, abs=2)


def test_a_pdf_cannot_be_made_expensive() -> None:
    bomb = b"/ObjStm stream\n" + zlib.compress(bytes(20_000_000), 9)
    started = time.perf_counter()
    for content in (bomb * 500, b"/ObjStm" * 1_000_000, b"/ObjStm stream\n" * 500_000, b"/Type" + b" " * 5_000_000):
        assert cost(DocumentBlock("application/pdf", base64.b64encode(content).decode())) < 2010
    assert time.perf_counter() - started < 5, "all together take about 0.3 s"


def test_many_documents_share_what_may_be_unpacked() -> None:
    bomb = b"/ObjStm stream\n" + zlib.compress(bytes(20_000_000), 9)
    document = DocumentBlock("application/pdf", base64.b64encode(bomb).decode())
    started = time.perf_counter()
    count(Prompt(messages=(Message("user", (document,) * 1000),)), "gpt-5")
    assert time.perf_counter() - started < 3, "it takes about 0.2 s; unpacking each takes 20 s"


def test_the_name_of_a_model_cannot_be_made_expensive() -> None:
    started = time.perf_counter()
    count_text("x", "claude" * 20_000)
    assert time.perf_counter() - started < 1
