"""Every format that upstreams speak."""

import pytest

from tests.protocols.wires.chat import Chat, Routed
from tests.protocols.wires.gemini import Gemini
from tests.protocols.wires.messages import Compatible, Messages
from tests.protocols.wires.responses import Responses
from tests.protocols.wires.wire import Wire

WIRES: tuple[Wire, ...] = (Chat(), Routed(), Messages(), Compatible(), Responses(), Gemini())

for_each_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.title)
"""The test with each format as `wire`."""
