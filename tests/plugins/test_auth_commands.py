"""`penstock keys`: what each command prints, as text and as JSON, and how it complains."""

import json
from pathlib import Path

import pytest

from penstock.testing import MakeGateway, ScriptedUpstream, messages
from tests.core.places import write
from tests.plugins.keydesk import enter, made, penstock, penstock_here

DATABASE = "path: /team\nplugins: [auth: {keys: database}, models, translation]\n"
FILE = "path: /staff\nplugins: [auth: {keys: keys/staff.yaml}, models, translation]\n"
BROKEN = "path: /x\nupstreams: {a: {preset: anthropic, key: '${NO_SUCH_KEY}'}}\nplugins: [nonsense]\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose other pipelines cannot even be used."""
    write(tmp_path, {"pipelines/team.yaml": DATABASE, "pipelines/broken.yaml": BROKEN})
    return tmp_path


async def test_create_shows_the_key_once_and_its_id(place: Path) -> None:
    ran = await penstock(place, "keys", "create", "--user", "ann", "--team", "platform", "--name", "laptop")
    told = ran.output.splitlines()
    assert told[0] == "# The key, for its user; it is shown only here:"
    assert told[1].startswith("pk-")
    assert len(told[1]) == 3 + 43
    assert told[4].startswith("key_")
    listed = await penstock(place, "keys", "list")
    header, row = listed.output.splitlines()
    assert header.split() == ["id", "key", "user", "team", "name", "status", "expires"]
    assert row.split() == [told[4], f"{told[1][:8]}...", "ann", "platform", "laptop", "active"]
    assert told[1] not in listed.output


async def test_everything_that_prints_data_prints_json(place: Path) -> None:
    scope = ("--models", "claude-*, glm-*", "--from", "10.0.0.0/8", "--from", "::1", "--routes", "generate")
    ci = await made(place, "--service", "ci", "--expires", "2099-01-31", *scope, "--pipelines", "team")
    assert ci["service"] is True
    assert (ci["user"], ci["expires"]) == ("ci", "2099-02-01T00:00:00Z")
    assert (ci["models"], ci["from"]) == (["claude-*", "glm-*"], ["10.0.0.0/8", "::1"])
    (listed,) = (await penstock(place, "keys", "list", "--json")).json()
    assert {name: value for name, value in ci.items() if name != "key"} == listed
    rotated = (await penstock(place, "keys", "rotate", ci["id"], "--json")).json()
    assert (rotated["id"], rotated["key"] != ci["key"]) == (ci["id"], True)
    assert (await penstock(place, "keys", "revoke", ci["id"], "--json")).json()["status"] == "revoked"
    audit = (await penstock(place, "keys", "audit", "--json")).json()
    assert [line["action"] for line in audit] == ["revoke", "rotate", "create"]
    assert audit[2]["detail"] == {"user": "service:ci", "team": "", "admin": False}


async def test_lists_can_be_of_one_team(place: Path) -> None:
    await made(place, "--user", "ann", "--team", "red")
    await made(place, "--user", "bob", "--team", "blue")
    assert [key["user"] for key in (await penstock_here(place, "keys", "list", "--team", "blue", "--json")).json()] == [
        "bob"
    ]
    assert len((await penstock_here(place, "keys", "list")).output.splitlines()) == 3


async def test_a_key_whose_parent_has_ended_is_listed_so(place: Path) -> None:
    ann = await made(place, "--user", "ann")
    child = await made(place, "--user", "ann", "--parent", ann["id"])
    await made(place, "--user", "ann", "--team", "red", "--parent", child["id"])
    await penstock_here(place, "keys", "revoke", ann["id"])
    for asked, told in (((), ["revoked", "orphaned", "orphaned"]), (("--team", "red"), ["orphaned"])):
        listed = (await penstock_here(place, "keys", "list", *asked, "--json")).json()
        assert [key["status"] for key in listed] == told


@pytest.mark.parametrize(
    ("arguments", "complaint", "status"),
    [
        (("create",), "`user` is empty: say whose key this is, or name a `service`", 2),
        (("create", "--user", "a", "--service", "b"), "not to both", 2),
        (("create", "--user", "a", "--expires", "soon"), "expected a duration such as 90d", 2),
        (("create", "--user", "a", "--from", "here"), "'here' is no address and no network", 2),
        (("create", "--user", "a", "--parent", "key_x"), "there is no key key_x to be the parent", 1),
        (("revoke", "key_x"), "there is no key key_x", 1),
        (("rotate", "key_x", "--grace", "soon"), "--grace: expected a duration", 2),
        (("list", "--pipeline", "nowhere"), "no such file or folder", 1),
        (("list", "--pipeline", "pipelines/broken.yaml"), "unknown plugin 'nonsense'", 1),
        (("list", "--database", "mysql://db"), "expected sqlite: and the path of a file", 1),
    ],
)
async def test_a_mistake_is_one_clear_line(
    place: Path, arguments: tuple[str, ...], complaint: str, status: int
) -> None:
    here = {} if "--pipeline" not in arguments else {"place": arguments[-1]}
    ran = await penstock_here(place, "keys", *arguments[: 1 if here else None], **here)
    assert (ran.status, ran.output) == (status, "")
    assert complaint in ran.complaint


async def test_another_database_can_be_named(place: Path) -> None:
    await penstock(place, "keys", "create", "--user", "ann", "--database", "sqlite:elsewhere.db")
    assert (place / "elsewhere.db").exists()
    assert (await penstock(place, "keys", "list", "--json")).json() == []
    (listed,) = (await penstock(place, "keys", "list", "--database", "sqlite:elsewhere.db", "--json")).json()
    assert listed["user"] == "ann"


async def test_where_the_gateway_has_a_pepper_of_its_own_the_command_takes_it(place: Path) -> None:
    write(place, {"pipelines/team.yaml": DATABASE.replace("database", "database, pepper: '${PENSTOCK_PEPPER}'")})
    pepper = "a pepper that nobody knows"
    await made(place, "--user", "ann", PENSTOCK_PEPPER=pepper)
    assert not (place / "pipelines/penstock.pepper").exists()
    other = await penstock_here(place, "keys", "create", "--user", "bob", PENSTOCK_PEPPER=pepper.upper())
    assert "made with another pepper" in other.complaint
    none = await penstock_here(place, "keys", "create", "--user", "bob", place="pipelines/team.yaml")
    assert "PENSTOCK_PEPPER" in none.complaint
    assert none.status == 1


# ---------------------------------------------------------------- a keys file


async def test_for_a_keys_file_the_entry_is_printed_and_opens_the_door(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    write(tmp_path, {"pipelines/staff.yaml": FILE})
    wish = ("--user", 'Zoë "Z" 😀', "--team", "core", "--expires", "90d", "--models", "model-*", "--name", "laptop")
    printed = (await penstock(tmp_path, "keys", "create", *wish)).output
    key = next(line for line in printed.splitlines() if line.startswith("pk-"))
    assert "# An entry of the list `keys:` in keys/staff.yaml:" in printed
    assert not (tmp_path / "pipelines/keys").exists(), "the file is edited by hand"
    entry = printed[printed.index("  - hash: hmac-sha256:") :]
    upstream.always(messages.whole("hello"))
    text = FILE.replace("/staff\n", "/\nupstreams: {main: {protocol: anthropic, url: '{url}'}}\n")
    text = text.replace("models,", "models: {routes: {'*': main}},")
    gate = await gateway(text, url=upstream.url, files={"keys/staff.yaml": f"keys:\n{entry}"})
    assert (await enter(gate.url, key)).status == 200
    assert (await enter(gate.url, key, "other")).status == 404


async def test_for_a_keys_file_json_has_key_id_and_entry(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/staff.yaml": FILE})
    told = await made(tmp_path, "--service", "ci")
    assert told["key"].startswith("pk-")
    assert told["entry"]["hash"].startswith(f"hmac-sha256:{told['id']}")
    assert told["entry"]["service"] == "ci"


async def test_other_changes_of_a_keys_file_are_made_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/staff.yaml": FILE})
    for command in (("list",), ("revoke", "x"), ("rotate", "x"), ("audit",)):
        ran = await penstock_here(tmp_path, "keys", *command)
        assert (ran.status, "keys/staff.yaml: edit that file" in ran.complaint) == (1, True)


async def test_a_folder_without_keys_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"pipelines/a.yaml": "plugins: [models, translation]\n"})
    ran = await penstock_here(tmp_path, "keys", "list")
    assert "pipelines has a step 'auth' with keys" in ran.complaint
    assert json.dumps("Traceback") not in ran.complaint
