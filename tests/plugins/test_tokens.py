"""Token counts made offline: how near they come, for which models, and what pictures and documents count."""

import base64
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator

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
