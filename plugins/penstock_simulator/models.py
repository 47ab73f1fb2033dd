"""The simulated models: what each of them does with a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from penstock import NotFound, Overloaded, PromptTooLong, RateLimited, UpstreamFailed

from .reply import MARK, Part, Reply
from .scene import Scene
from .tools import calls, told

WINDOW = 200_000
"""The window, in tokens, that a simulated prompt can be too long for."""

_LONG = re.compile(r"long-(\d{1,6})")
_MOST_WORDS = 100_000


class Behaviour(NamedTuple):
    """One simulated model."""

    description: str
    play: Callable[[Scene], Reply]


def play(name: str, scene: Scene) -> Reply:
    """The reply of the model `sim/<name>`. Raises NotFound for others, and whatever error the model stands for."""
    if long := _LONG.fullmatch(name):
        return _long(scene, int(long[1]))
    if name not in MODELS:
        raise NotFound(f"model 'sim/{name}' is not offered here; there are: {', '.join(f'sim/{n}' for n in MODELS)}")
    return MODELS[name].play(scene)


def echo(scene: Scene, first: str = "") -> Reply:
    """Say what the user said, after a `first` sentence."""
    words = f"You said: {scene.user_text}" if scene.user_text else "You said nothing in words."
    return Reply(parts=(scene.said(f"{first} {words}".lstrip()),))


def _tools(scene: Scene) -> Reply:
    if scene.results:
        return Reply(parts=(scene.said(told(scene.results)),))
    made = calls(scene)
    if not made or scene.prompt.output_schema is not None:
        return Reply(parts=(scene.said("There is no tool that I could call."),))
    names = " and ".join(call.name for call in made)
    return Reply(parts=(scene.said(f"I call {names}."), *made), stop="tool_use")


def _thinking(scene: Scene) -> Reply:
    thought = Part("thinking", f"{MARK}I pretend to think about this.", signature="simulated")
    return Reply(parts=(thought, scene.said("I have thought about it.")))


def _slow(scene: Scene) -> Reply:
    words = scene.said("One word, then a pause, then the next.")
    return Reply(parts=(words,), delay=scene.pause, pause=scene.pause)


def _long(scene: Scene, words: int = 1_000) -> Reply:
    if not 1 <= words <= _MOST_WORDS:
        raise NotFound(f"sim/long-{words} is not offered here: the number of words is from 1 to {_MOST_WORDS}")
    return Reply(parts=(scene.said(" ".join(f"word{number}" for number in range(1, words + 1))),))


def _cut(scene: Scene) -> Reply:
    failure = UpstreamFailed(f"{MARK}the upstream broke off in the middle of its answer")
    return Reply(parts=(Part("text", f"{MARK}This sentence has no"),), failure=failure)


def _rate_limited(scene: Scene) -> Reply:
    raise RateLimited(f"{MARK}too many requests, try again in a second", retry_after=1)


def _overloaded(scene: Scene) -> Reply:
    raise Overloaded(f"{MARK}the upstream has no capacity")


def _error(scene: Scene) -> Reply:
    raise UpstreamFailed(f"{MARK}the upstream answered 500")


def _too_long(scene: Scene) -> Reply:
    raise PromptTooLong(WINDOW + 1, WINDOW)


MODELS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "echo": Behaviour("says what it was told", echo),
        "tools": Behaviour("calls two tools, then says what came back", _tools),
        "thinking": Behaviour("thinks, then answers", _thinking),
        "slow": Behaviour("pauses before each word", _slow),
        "long": Behaviour("says 1000 words; long-5000 says 5000", _long),
        "429": Behaviour("refuses: too many requests", _rate_limited),
        "overloaded": Behaviour("refuses: no capacity", _overloaded),
        "error": Behaviour("fails as an upstream does", _error),
        "too-long": Behaviour("refuses: the prompt is too long", _too_long),
        "cut": Behaviour("breaks off in the middle of its answer", _cut),
    }
)
