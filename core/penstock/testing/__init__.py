"""The test kit for authors of plugins and protocols: a gateway on a real socket, and a scripted upstream behind it.

    async def test_second_time_from_the_cache(pipeline, upstream):
        upstream.answers("hello")
        gate = pipeline("plugins: [{cache: {ttl: 1m}}]")
        first, again = await gate.ask("hi"), await gate.ask("hi")
        assert again.text == first.text == "hello"
        assert len(upstream.calls) == 1

The fixtures `pipeline`, `upstream`, `client`, `clock` and `playbook` come with the package (see `penstock.testing.
fixtures`); they need pytest-asyncio in its mode `auto`. What is imported from here are types and the rest of the kit.
`messages`, `chat`, `responses` and `contents` make answers in the four usual formats, `Reply` any other.
"""

from penstock.testing import chat, contents, messages, responses
from penstock.testing.answers import Answer, Failure, events_of
from penstock.testing.client import Client, Opened
from penstock.testing.clock import Clock
from penstock.testing.cost import Costs, costs
from penstock.testing.fixtures import MakeClient, MakeGateway, MakePipeline, MakePlaybook, MakeProcess, MakeUpstream
from penstock.testing.gateway import GatewayProcess, Place, RunningGateway, clean_environment
from penstock.testing.parts import Thought, ToolCall
from penstock.testing.playbook import Playbook, Played
from penstock.testing.recordings import Recorded, recorded, recorded_names
from penstock.testing.reply import CUT, HANG, RESET, Reply, event_stream, html_reply, json_reply
from penstock.testing.upstream import PATIENCE, Call, ScriptedUpstream
from penstock.testing.validation import assert_valid_stream

__all__ = [
    "CUT",
    "HANG",
    "PATIENCE",
    "RESET",
    "Answer",
    "Call",
    "Client",
    "Clock",
    "Costs",
    "Failure",
    "GatewayProcess",
    "MakeClient",
    "MakeGateway",
    "MakePipeline",
    "MakePlaybook",
    "MakeProcess",
    "MakeUpstream",
    "Opened",
    "Place",
    "Playbook",
    "Played",
    "Recorded",
    "Reply",
    "RunningGateway",
    "ScriptedUpstream",
    "Thought",
    "ToolCall",
    "assert_valid_stream",
    "chat",
    "clean_environment",
    "contents",
    "costs",
    "event_stream",
    "events_of",
    "html_reply",
    "json_reply",
    "messages",
    "recorded",
    "recorded_names",
    "responses",
]
