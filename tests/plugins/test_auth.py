"""Who may come in with which API key, what the others are told, and how a key is made."""

import logging
import subprocess
import sys
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from penstock import Exchange, Forbidden, Gateway, Principal, Prompt, Request, Unauthenticated
from penstock.document import Document
from penstock.options import decode_hook
from penstock.plugin import Handler
from penstock.problems import ConfigError
from penstock.typed import convert
from penstock_auth import Auth

T = TypeVar("T")
ALICE_KEY, BOB_KEY, EVE_KEY = "pk-" + "a" * 43, "pk-" + "b" * 43, "pk-" + "e" * 43
TODAY = datetime.now(UTC).date()


class FileGateway(Gateway):
    """Reads files as the gateway does; auth asks for nothing else."""

    def __init__(self) -> None:
        self.watched: list[Path] = []

    def read_file(self, path: Path, kind: type[T]) -> T:
        self.watch(path)
        document = Document.parse(path.read_text(), str(path), {})
        value, problems = convert(document, (), kind, decode_hook())
        if value is None or document.problems:
            raise ConfigError([*document.problems, *problems])
        return value

    def watch(self, path: Path) -> None:
        self.watched.append(path)

    def serve_protocol(self, name: str) -> None:
        raise AssertionError("auth serves no protocol")

    def add_route(self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",)) -> None:
        raise AssertionError("auth serves no route")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        raise AssertionError("auth has no background task")


def digest(key: str) -> str:
    return f"sha256:{sha256(key.encode()).hexdigest()}"


def auth(folder: Path, keys: str) -> Auth:
    (folder / "keys.yaml").write_text(keys)
    plugin = Auth(keys="keys.yaml")
    setattr(plugin, "folder", folder)  # noqa: B010 - as the core does; to mypy they are class variables
    setattr(plugin, "log", logging.LoggerAdapter(logging.getLogger("penstock.test.auth"), {}))  # noqa: B010
    plugin.startup(FileGateway())
    return plugin


@pytest.fixture
def door(tmp_path: Path) -> Auth:
    return auth(
        tmp_path,
        f"""
keys:
  - {{hash: "{digest(ALICE_KEY)}", user: alice, team: platform, name: laptop}}
  - hash: {digest(BOB_KEY).upper().replace("SHA", "sha")}
    user: bob
    expires: {TODAY}
  - {{hash: "{digest(EVE_KEY)}", user: eve, enabled: false}}
""",
    )


def request(**headers: str) -> Exchange:
    return Exchange(
        pipeline="test",
        protocol=cast(Any, None),
        operation="generate",
        request=Request(b"{}", lambda _: Prompt(), model="m"),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        upstreams={},
        started=0.0,
    )


def enter(door: Auth, headers: Mapping[str, str]) -> Principal | None:
    exchange = request(**headers)
    door.on_request(exchange)
    return exchange.principal


def refusal(door: Auth, **headers: str) -> str:
    exchange = request(**headers)
    with pytest.raises(Unauthenticated) as refused:
        door.on_request(exchange)
    assert exchange.principal is None
    assert refused.value.status == 401
    assert refused.value.should_retry is False, "agents would repeat the request for minutes"
    assert not any(value and value in str(refused.value) for value in headers.values()), "a credential is shown"
    return refused.value.message


ALICE = Principal(user="alice", team="platform", key="laptop")
BOB = Principal(user="bob", key=digest(BOB_KEY)[7:15])


@pytest.mark.parametrize(
    ("headers", "principal"),
    [
        ({"authorization": f"Bearer {ALICE_KEY}"}, ALICE),
        ({"authorization": f"bearer  {ALICE_KEY} "}, ALICE),
        ({"x_api_key": ALICE_KEY}, ALICE),
        ({"authorization": f"Bearer {ALICE_KEY}", "x_api_key": ALICE_KEY}, ALICE),
        ({"authorization": f"Bearer {ALICE_KEY}", "x_api_key": "sk-ant-for-somebody-else"}, ALICE),
        ({"authorization": "Bearer sk-ant-for-somebody-else", "x_api_key": ALICE_KEY}, ALICE),
        ({"authorization": f"Bearer {ALICE_KEY}", "x_api_key": EVE_KEY}, ALICE),
        ({"authorization": "Basic YWxpY2U6c2VjcmV0", "x_api_key": ALICE_KEY}, ALICE),
        ({"x_api_key": BOB_KEY}, BOB),
    ],
)
def test_a_known_key_says_who_is_asking(door: Auth, headers: dict[str, str], principal: Principal) -> None:
    assert enter(door, headers) == principal


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {ALICE_KEY}"},
        {"x_api_key": " "},
    ],
)
def test_without_a_key_the_client_is_told_how_to_send_one(door: Auth, headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match=r"no API key: send it as `authorization: Bearer \.\.\.` or `x-api-key`"):
        enter(door, headers)


@pytest.mark.parametrize(
    "key", ["pk-" + "x" * 43, ALICE_KEY[:-1], ALICE_KEY + "a", digest(ALICE_KEY), "ключ", "\ud800"]
)
def test_an_unknown_key_is_refused(door: Auth, key: str) -> None:
    assert refusal(door, x_api_key=key) == "this API key is not known here"


def test_a_disabled_key_is_refused_as_such(door: Auth) -> None:
    assert refusal(door, authorization=f"Bearer {EVE_KEY}") == "this API key is disabled"


def test_a_key_works_until_the_end_of_its_last_day(tmp_path: Path) -> None:
    yesterday = TODAY - timedelta(days=1)
    door = auth(tmp_path, f"keys: [{{hash: '{digest(BOB_KEY)}', user: bob, expires: '{yesterday}'}}]")
    assert refusal(door, x_api_key=BOB_KEY) == f"this API key expired on {yesterday}"
    door = auth(tmp_path, f"keys: [{{hash: '{digest(BOB_KEY)}', user: bob, expires: '{TODAY + timedelta(days=1)}'}}]")
    assert enter(door, {"x_api_key": BOB_KEY}) == BOB


def test_two_keys_of_different_people_are_refused(door: Auth) -> None:
    assert "two different API keys" in refusal(door, authorization=f"Bearer {ALICE_KEY}", x_api_key=BOB_KEY)


def test_an_oversized_credential_is_refused(door: Auth) -> None:
    assert "more than 4096 characters" in refusal(door, x_api_key="k" * 4097)
    assert "not known" in refusal(door, x_api_key="k" * 4096)


def test_another_step_may_not_have_named_somebody_else(door: Auth) -> None:
    exchange = request(x_api_key=ALICE_KEY)
    exchange.identify(Principal(user="mallory"))
    with pytest.raises(Forbidden):
        door.on_request(exchange)


def test_the_keys_file_may_be_json_and_is_watched(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "keys.json").write_text(f'{{"keys": [{{"hash": "{digest(ALICE_KEY)}", "user": "alice"}}]}}')
    plugin, gateway = Auth(keys="deep/keys.json"), FileGateway()
    setattr(plugin, "folder", tmp_path)  # noqa: B010
    plugin.startup(gateway)
    assert gateway.watched == [tmp_path / "deep" / "keys.json"]
    assert enter(plugin, {"x_api_key": ALICE_KEY}) == Principal(user="alice", key=digest(ALICE_KEY)[7:15])


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (f"hash: {ALICE_KEY}", r"key 1 \(user 'u'\): .*perhaps the key itself.*sha256sum"),
        (f"hash: 'sha256:{ALICE_KEY}'", r"key 1 .*perhaps the key itself"),
        (f"hash: {digest(ALICE_KEY)[7:]}", r"key 1 .*write `sha256:` before the 64 digits"),
        (f"hash: {digest(ALICE_KEY)[:-1]}", r"key 1 .*64 hexadecimal digits"),
        (f"hash: {digest(EVE_KEY)}, user: ''", r"key 1 .*`user` is empty"),
    ],
)
def test_a_bad_entry_is_named_but_never_shown(tmp_path: Path, entry: str, complaint: str) -> None:
    user = "" if "user" in entry else ", user: u"
    with pytest.raises(ValueError, match=complaint) as refused:
        auth(tmp_path, f"keys: [{{{entry}{user}}}]")
    assert str(tmp_path / "keys.yaml") in str(refused.value)
    assert ALICE_KEY not in str(refused.value)


def test_the_same_hash_twice_is_refused(tmp_path: Path) -> None:
    entries = "".join(f"\n- {{hash: '{digest(key)}', user: {key[3]}}}" for key in (ALICE_KEY, BOB_KEY, ALICE_KEY))
    with pytest.raises(ValueError, match=r"key 3 \(user 'a'\): has the same hash as key 1"):
        auth(tmp_path, f"keys:{entries}")


def test_other_mistakes_are_shown_at_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        auth(tmp_path, f"keys:\n- hash: {digest(EVE_KEY)}\n  user: eve\n  expires: soon\n  teem: x\n")
    assert "keys.yaml:4:12" in str(refused.value)
    assert "unknown option 'teem'; did you mean 'team'?" in str(refused.value)


def test_a_file_without_usable_keys_is_worth_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = auth(tmp_path, f"keys: [{{hash: '{digest(EVE_KEY)}', user: eve, enabled: false}}]")
    assert "holds no usable key" in caplog.text
    assert refusal(door, x_api_key=EVE_KEY) == "this API key is disabled"


def test_a_key_made_with_the_command_opens_the_door(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "penstock_auth", "--user", 'Zoë "Z" 😀', "--team", "core"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    key = next(line for line in made.splitlines() if line.startswith("pk-"))
    assert len(key) == 3 + 43
    assert not list(tmp_path.iterdir()), "nothing is written"
    entry = made[made.index("  - hash:") :]
    door = auth(tmp_path, f"keys:\n{entry}")
    assert enter(door, {"x_api_key": key}) == Principal(
        user='Zoë "Z" 😀', team="core", key=entry.split("sha256:")[1][:8]
    )
