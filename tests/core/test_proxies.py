"""Whose address a request comes from: what proxies say, and who is believed."""

import pytest

from penstock.problems import ConfigError
from penstock.proxies import Proxies
from penstock.testing import MakeGateway, ScriptedUpstream, messages
from tests.integration.talk import RELAY, ask, log_lines, prompt
from tests.plugins.ledger import ALICE, who


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # nobody trusts this one
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # what a client claims itself
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fd00::1", "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", ", ,", "10.0.0.1"),
    ],
)
def test_only_what_trusted_proxies_say_counts(peer: str, told: str, client: str) -> None:
    proxies = Proxies(["10.0.0.0/8", "fd00::1", "unix"])
    assert proxies.client(peer, {"x-forwarded-for": told} if told else {}) == client


@pytest.mark.parametrize("peer", ["", "127.0.0.1", "10.0.0.1"])
def test_nobody_is_trusted_unless_named(peer: str) -> None:
    assert Proxies([]).client(peer, {"x-forwarded-for": "198.51.100.1"}) == peer


GUARDED = RELAY.replace("  - translation", "  - auth: {keys: keys.yaml}\n  - translation")
KEYS = """
keys:
  - {hash: "%s", user: alice, from: [198.51.100.0/24]}
"""


async def test_keys_for_some_addresses_work_behind_a_proxy(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    from penstock_auth.keys import hash_of

    upstream.always(messages.whole("hello"))
    files = {"keys.yaml": KEYS % hash_of(ALICE), "gateway.yaml": "trusted_proxies: [127.0.0.1]\n"}
    gate = await gateway(GUARDED, url=upstream.url, files=files)
    for told, status in (("198.51.100.7", 200), ("203.0.113.9", 403), ("198.51.100.7, 203.0.113.9", 403)):
        said = await ask(gate.url, prompt(), headers=who(ALICE, x_forwarded_for=told))
        assert said.status == status, told
    lines = await log_lines(gate, 3)
    assert [line["client"] for line in lines] == ["198.51.100.7", "203.0.113.9", "203.0.113.9"]


async def test_a_proxy_that_is_no_address_is_refused(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    files = {"gateway.yaml": "trusted_proxies: [10.0.0.0/8, loadbalancer]\n"}
    with pytest.raises(ConfigError, match=r"expected an address or a network .* got 'loadbalancer'"):
        await gateway(RELAY, url=upstream.url, files=files)
