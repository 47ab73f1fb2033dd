"""The notation of the golden sessions; cases/sessions/README.md explains it to whoever writes one."""

import base64
import json
import re
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from penstock.testing import Call, Reply, chat, contents, event_stream, json_reply, messages, responses
from tests.integration.official import message_of
from tests.integration.talk import Said

Json = dict[str, Any]

CASES = Path(__file__).parent.parent / "protocols/cases/sessions"
QUERY = "?beta=true"
"""What the client's address ends with; an upstream of the same format gets it too."""


class Format(NamedTuple):
    """An upstream protocol: the path of its base and of its answers, where the key goes, and a stream's frames."""

    base: str
    path: str
    key: tuple[str, str]
    frame: Callable[[Json], bytes]
    streamed: Json = {}
    whole: Json = {}


_BEARER = ("authorization", "Bearer upstream-key")
FORMATS = {
    "anthropic": Format(
        "", messages.PATH + QUERY, ("x-api-key", "upstream-key"), messages.frame, {"stream": True}, {"stream": False}
    ),
    "openai-chat": Format(
        *("/v1", chat.PATH, _BEARER, chat.frame), {"stream": True, "stream_options": {"include_usage": True}}
    ),
    "openai-responses": Format("/v1", responses.PATH, _BEARER, responses.frame, {"stream": True}),
    "gemini": Format("/v1beta", "", ("x-goog-api-key", "upstream-key"), contents.frame),
}
_ABOUT_RETRIES = ("retry-after", "x-should-retry")


class Both(NamedTuple):
    """What there is, in the words of the case, and what the case says."""

    found: Any
    wanted: Any


class Step(NamedTuple):
    """One request of a session, how the upstream answers it, and what comes of it; `model` is the case's."""

    model: str
    about: Json

    @property
    def upstream(self) -> str:
        return str(self.about["upstream"])

    @property
    def targets(self) -> list[str]:
        """The upstreams in the order in which they are tried."""
        return [*(failing["upstream"] for failing in self.about.get("failing", ())), self.upstream]

    def request(self, before: Json, stream: bool) -> Json:
        """The client's request; it inherits from the one `before`, whose conversation it continues."""
        own: Json = self.about["request"]
        messages = [*before.get("messages", ()), *own.get("messages", ())]
        model = self.model if "failing" in self.about else f"{self.upstream}/{self.model}"
        named: Json = {"model": model, "stream": stream, "messages": messages}
        return {"max_tokens": 1000} | before | own | named

    def replies(self, stream: bool) -> list[Reply]:
        """What the upstreams answer, one after the other."""
        failing = [reply_of(entry["upstream"], entry, stream) for entry in self.about.get("failing", ())]
        return [*failing, reply_of(self.upstream, self.about["reply"], stream)]

    @property
    def format(self) -> Format:
        """What is particular to its upstream."""
        return FORMATS[self.upstream]

    def sent(self, call: Call, stream: bool) -> Both:
        """Where the request went and what it held."""
        format, wanted = self.format, self.about["sent"]
        asked = {"always": True, "never": False}.get(self.about.get("quirks", {}).get("streaming", ""), stream)
        path = format.path or contents.path(self.model, stream=asked) + ("?alt=sse" if asked else "")
        if format.path:
            wanted = wanted | {"model": self.model} | (format.streamed if asked else format.whole)
        return Both((call.target, told(call.json(), wanted)), (format.base + path, wanted))

    def events(self, said: Said) -> Both:
        """The events of the client's stream."""
        events = [data for name, data in said.events if name != "ping"]
        wanted: list[Any] = self.about["events"]
        short = [data["type"] if isinstance(want, str) else data for data, want in zip(events, wanted, strict=False)]
        return Both(told(short + events[len(short) :], wanted), wanted)

    async def message(self, said: Said) -> tuple[Json, Both]:
        """The client's message, and what the case says of it."""
        message, wanted = await message_of(said), {"usage": {}} | self.about["message"]
        return message, Both(told(_named(message, wanted), wanted), wanted)

    def error(self, said: Said) -> Both:
        """The client's error."""
        headers = {name: said.headers[name] for name in _ABOUT_RETRIES if name in said.headers}
        return Both({"status": said.status, **said.error, **headers}, self.about["error"])


class Session(NamedTuple):
    """A golden file."""

    model: str
    about: Json

    @property
    def steps(self) -> list[Step]:
        common = {name: value for name, value in self.about.items() if name != "steps"}
        return [Step(self.model, {**common, **step}) for step in self.about.get("steps", [{}])]

    @property
    def streams(self) -> tuple[bool, ...]:
        """Whether the client asks for a stream: with and without, unless the case says otherwise."""
        return {"stream": (True,), "whole": (False,)}.get(self.about.get("client", ""), (True, False))


def load(file: Path) -> Session:
    """A golden file; its place is the name of its model."""
    return Session(f"{file.parent.name}.{file.stem}".replace("_", "-"), json.loads(file.read_bytes()))


def pipeline(sessions: list[Session]) -> str:
    """A pipeline in which each case has a model of its own, with its quirks and its route."""
    steps = [step for session in sessions for step in session.steps]
    upstreams: dict[str, Json] = {}
    for name in dict.fromkeys(target for step in steps for target in step.targets):
        models = [{"id": session.model, "output": session.about.get("output", 0)} for session in sessions]
        upstream = {"protocol": name, "url": "{url}" + FORMATS[name].base, "key": "upstream-key", "models": models}
        quirks: dict[str, Json] = {}
        for step in steps:
            if step.upstream == name:
                quirks.setdefault(step.model, {}).update(step.about.get("quirks", {}))
        upstreams[name] = upstream | {"model_quirks": quirks}
    routes = {
        step.model: [f"{name}/{step.model}" for name in step.targets] for step in steps if "failing" in step.about
    }
    plugins: list[Any] = [{"models": {"routes": routes, "direct": True}}, "translation"]
    return json.dumps({"path": "/", "upstreams": upstreams, "plugins": plugins}, indent=1)


def reply_of(protocol: str, about: Json, stream: bool) -> Reply:
    """An upstream's answer in the form that was asked for, or the only one that the case has."""
    headers = about.get("headers", {})
    if "stream" in about and (stream or "body" not in about):
        frame = FORMATS[protocol].frame
        made = event_stream(*(part.encode() if isinstance(part, str) else frame(part) for part in about["stream"]))
        return made.with_headers(**headers)
    body = about["body"]
    if isinstance(body, str):
        return Reply(about.get("status", 200), {"content-type": "text/html", **headers}, (body.encode(),))
    return json_reply(body, about.get("status", 200), headers)


def told(value: Any, expected: Any) -> Any:
    """A value in the words of what is expected: "*" for any text, {"sealed": x} for a seal around x."""
    if expected == "*":
        return "*" if isinstance(value, str) and value else value
    if isinstance(expected, dict) and expected.keys() == {"sealed"}:
        return {"sealed": _opened(value)}
    if isinstance(value, dict) and isinstance(expected, dict):
        return {name: told(member, expected.get(name)) for name, member in value.items()}
    if isinstance(value, list) and isinstance(expected, list):
        pairs = zip_longest(value, expected[: len(value)])
        return [told(item, wanted) for item, wanted in pairs]
    return value


def _named(message: Json, expected: Json) -> Json:
    """What a case names of a message and of its usage."""
    found = {name: message.get(name) for name in expected}
    return found | {"usage": {name: message["usage"].get(name) for name in expected.get("usage", ())}}


def _opened(value: Any) -> Any:
    """What is in a seal, or the value if it is none."""
    found = re.fullmatch(r"penstock1\.[0-9a-f]{12}\.([\w-]*)", value) if isinstance(value, str) else None
    return json.loads(base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))) if found else value
