"""The admin API: who may manage which keys, what it answers, and the audit trail it leaves."""

import json
import logging

import pytest

from penstock.testing import MakeGateway, RunningGateway, ScriptedUpstream, messages
from tests.integration.talk import ask
from tests.plugins.keydesk import desk, enter, made, penstock_here, until_status

PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - auth: {keys: database}
  - models: {routes: {"*": main}}
  - translation
"""


class Office:
    """A gateway with an admin of everything, one of team red, and somebody who is neither."""

    def __init__(self, gate: RunningGateway, keys: dict[str, dict[str, str]]) -> None:
        self.url = gate.url
        self.folder = gate.place.folder.parent
        self.admin = keys["admin"]["key"]
        self.red = keys["red"]["key"]
        self.user = keys["user"]["key"]
        self.user_id = keys["user"]["id"]


@pytest.fixture
async def office(gateway: MakeGateway, upstream: ScriptedUpstream) -> Office:
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE, url=upstream.url)
    admin = await made(gate.place.folder.parent, "--user", "root", "--admin")
    await until_status(gate.url, admin["key"], 200)
    orders = {"user": {"user": "ann"}, "red": {"user": "rita", "admin": True, "team": "red"}}
    more = {name: (await desk(gate.url, admin["key"], body=order)).json() for name, order in orders.items()}
    return Office(gate, {"admin": admin, **more})


async def test_a_key_made_over_http_works_at_once_and_is_shown_once(office: Office) -> None:
    order = {"user": "bob", "team": "red", "name": "laptop", "expires": "90d", "models": ["model-*"]}
    said = await desk(office.url, office.admin, body=order)
    assert said.status == 201
    told = said.json()
    assert (told["user"], told["team"], told["name"], told["models"]) == ("bob", "red", "laptop", ["model-*"])
    assert told["status"] == "active"
    assert (await enter(office.url, told["key"])).status == 200
    assert (await enter(office.url, told["key"], "other")).status == 404
    listed = (await desk(office.url, office.admin)).json()["keys"]
    assert [key["user"] for key in listed] == ["root", "ann", "rita", "bob"]
    assert told["key"] not in json.dumps(listed)
    assert listed[-1]["shown"] == told["key"][:8]


async def test_revoke_and_rotate(office: Office) -> None:
    rotated = (await desk(office.url, office.admin, "/rotate", {"id": office.user_id, "grace": "0s"})).json()
    assert rotated["id"] == office.user_id
    assert [(await enter(office.url, key)).status for key in (rotated["key"], office.user)] == [200, 401]
    for _ in range(2):
        revoked = await desk(office.url, office.admin, "/revoke", {"id": office.user_id})
        assert (revoked.status, revoked.json()["status"]) == (200, "revoked")
    assert (await enter(office.url, rotated["key"])).status == 401
    again = await desk(office.url, office.admin, "/rotate", {"id": office.user_id})
    assert (again.status, "is revoked: make a new one" in again.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize("path", ["", "/audit"])
async def test_only_those_who_may_manage_keys_come_in(office: Office, path: str) -> None:
    refused = await desk(office.url, office.user, path)
    assert (refused.status, refused.json()["error"]["type"]) == (403, "forbidden")
    stranger = await desk(office.url, "pk-unknown", path)
    assert (stranger.status, stranger.json()["error"]["type"]) == (401, "unauthenticated")
    assert (await ask(office.url, path=f"/-/keys{path}", method="GET")).status == 401


async def test_the_admin_of_a_team_has_that_team_only(office: Office) -> None:
    mine = await desk(office.url, office.red, body={"service": "ci", "team": "red"})
    assert mine.status == 201
    for order in ({"user": "x"}, {"user": "x", "team": "blue"}, {"user": "x", "admin": True}):
        refused = await desk(office.url, office.red, body=order)
        assert (refused.status, "of team 'red'" in refused.json()["error"]["message"]) == (400, True), order
    assert [key["user"] for key in (await desk(office.url, office.red)).json()["keys"]] == ["rita", "ci"]
    for path in ("/revoke", "/rotate"):
        said = await desk(office.url, office.red, path, {"id": office.user_id})
        assert (said.status, said.json()["error"]["message"]) == (404, f"there is no key {office.user_id}")
    assert (await desk(office.url, office.red, "/revoke", {"id": mine.json()["id"]})).status == 200
    assert (await desk(office.url, office.red, "/audit")).status == 403


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ({}, "`user` is empty"),
        ({"user": "a", "service": "b"}, "not to both"),
        ({"user": "service:b"}, "does not begin with `service:`"),
        ({"user": "a\nb"}, "printable characters only"),
        ({"user": "a", "teem": "x"}, "unknown field `teem`"),
        ({"user": 7}, "Expected `str`, got `int` - at `$.user`"),
        ({"user": "a", "expires": "soon"}, "expected a duration such as 90d, or a day such as 2027-01-31, got 'soon'"),
        ({"user": "a", "expires": "2001-01-01"}, "'2001-01-01' is over"),
        ({"user": "a", "expires": "999999999999d"}, "expected a duration"),
        ({"user": "a", "from": ["everywhere"]}, "'everywhere' is no address and no network"),
        ({"user": "a", "parent": "key_none"}, "there is no key key_none to be the parent"),
    ],
)
async def test_a_bad_order_is_explained(office: Office, order: dict[str, object], complaint: str) -> None:
    said = await desk(office.url, office.admin, body=order)
    assert said.status in (400, 404)
    assert complaint in said.json()["error"]["message"]
    assert len((await desk(office.url, office.admin)).json()["keys"]) == 3


async def test_a_body_that_is_no_json_is_explained(office: Office) -> None:
    said = await desk(office.url, office.admin, "/revoke", b"{")
    assert (said.status, "the body is not as it should be" in said.json()["error"]["message"]) == (400, True)


async def test_every_change_leaves_a_line_in_the_audit_trail_and_the_log(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "penstock")
    bob = (await desk(office.url, office.admin, body={"user": "bob"})).json()
    new = (await desk(office.url, office.admin, "/rotate", {"id": bob["id"]})).json()
    await desk(office.url, office.admin, "/revoke", {"id": bob["id"]})
    trail = (await desk(office.url, office.admin, "/audit")).json()["audit"]
    assert [(deed["action"], deed["origin"]) for deed in trail] == [
        *(("revoke", "127.0.0.1"), ("rotate", "127.0.0.1"), ("create", "127.0.0.1")),
        *[("create", "127.0.0.1")] * 2,
        ("create", "command line"),
    ]
    assert trail[0]["actor"].startswith("root (key_")
    assert trail[0]["key"] == bob["id"]
    assert trail[0]["time"].startswith("20")
    for did in ("made", "rotated", "revoked"):
        assert f"{bob['id']} of bob was {did} by root (key_" in caplog.text
    shown = (await penstock_here(office.folder, "keys", "audit", "--most", "2")).output.splitlines()
    assert [line.split()[3:5] for line in shown[1:]] == [["127.0.0.1", "revoke"], ["127.0.0.1", "rotate"]]
    secrets = (bob["key"], new["key"], office.admin)
    everything = caplog.text + json.dumps(trail) + (office.folder / "data/penstock.db").read_bytes().decode("latin-1")
    assert not any(secret in everything for secret in secrets)
