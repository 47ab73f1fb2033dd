"""Who may come in with which API key of a keys file, and what the others are told."""

import ast
import itertools
import logging
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from penstock import (
    Database,
    Exchange,
    Forbidden,
    Gateway,
    GatewayError,
    HttpClient,
    NotFound,
    Prices,
    Principal,
    Prompt,
    Request,
    Schema,
    Secret,
    Unauthenticated,
)
from penstock.document import Document
from penstock.options import decode_hook
from penstock.plugin import Handler, Identify
from penstock.problems import ConfigError
from penstock.typed import convert
from penstock_auth import Auth
from penstock_auth.keys import hash_of
from penstock_auth.pepper import need_pepper
from tests.protocols.exchanges import PROTOCOL

T = TypeVar("T")
ALICE_KEY, BOB_KEY, EVE_KEY = "pk-" + "a" * 43, "pk-" + "b" * 43, "pk-" + "e" * 43
PEPPER = "pepper-of-the-tests"
ROOT = Path(__file__).parent.parent.parent
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

    def add_route(
        self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",), *, shared: bool = False
    ) -> None:
        raise AssertionError("auth serves no route")

    def database(self, schema: Schema) -> Database:
        raise AssertionError("auth has no tables")

    def http(self, allow: Iterable[str] = ()) -> HttpClient:
        raise AssertionError("without a sign-on, auth asks nobody")

    def identify_by(self, identify: Identify) -> None:
        self.identify = identify

    def price_by(self, prices: Prices) -> None:
        raise AssertionError("auth knows no prices")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        raise AssertionError("auth has no background task")


def digest(key: str) -> str:
    return f"sha256:{sha256(key.encode()).hexdigest()}"


async def auth(folder: Path, keys: str, pepper: str = PEPPER) -> Auth:
    (folder / "keys.yaml").write_text(keys)
    plugin = Auth(keys="keys.yaml", pepper=Secret(pepper))
    await start(plugin, folder)
    return plugin


async def start(plugin: Auth, folder: Path) -> FileGateway:
    setattr(plugin, "folder", folder)  # noqa: B010 - as the core does; to mypy they are class variables
    setattr(plugin, "log", logging.LoggerAdapter(logging.getLogger("penstock.test.auth"), {}))  # noqa: B010
    gateway = FileGateway()
    await plugin.startup(gateway)
    return gateway


@pytest.fixture
async def door(tmp_path: Path) -> Auth:
    return await auth(
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
        protocol=PROTOCOL,
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


async def test_a_key_works_until_the_end_of_its_last_day(tmp_path: Path) -> None:
    yesterday = TODAY - timedelta(days=1)
    door = await auth(tmp_path, f"keys: [{{hash: '{digest(BOB_KEY)}', user: bob, expires: '{yesterday}'}}]")
    assert refusal(door, x_api_key=BOB_KEY) == f"this API key expired on {yesterday}"
    door = await auth(
        tmp_path, f"keys: [{{hash: '{digest(BOB_KEY)}', user: bob, expires: '{TODAY + timedelta(days=1)}'}}]"
    )
    assert enter(door, {"x_api_key": BOB_KEY}) == BOB


def test_two_keys_of_different_people_are_refused(door: Auth) -> None:
    assert "two different API keys" in refusal(door, authorization=f"Bearer {ALICE_KEY}", x_api_key=BOB_KEY)


def test_an_oversized_credential_is_refused(door: Auth) -> None:
    assert "more than 16384 characters" in refusal(door, x_api_key="k" * 16385)
    assert "not known" in refusal(door, x_api_key="k" * 16384)


def test_another_step_may_not_have_named_somebody_else(door: Auth) -> None:
    exchange = request(x_api_key=ALICE_KEY)
    exchange.identify(Principal(user="mallory"))
    with pytest.raises(Forbidden):
        door.on_request(exchange)


async def test_the_keys_file_may_be_json_and_is_watched(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "keys.json").write_text(f'{{"keys": [{{"hash": "{digest(ALICE_KEY)}", "user": "alice"}}]}}')
    plugin = Auth(keys="deep/keys.json")
    gateway = await start(plugin, tmp_path)
    assert gateway.watched == [tmp_path / "deep" / "keys.json"]
    assert enter(plugin, {"x_api_key": ALICE_KEY}) == Principal(user="alice", key=digest(ALICE_KEY)[7:15])


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (f"hash: {ALICE_KEY}", r"key 1 \(user 'u'\): .*perhaps the key itself.*sha256sum"),
        (f"hash: 'sha256:{ALICE_KEY}'", r"key 1 .*perhaps the key itself"),
        (f"hash: {digest(ALICE_KEY)[7:]}", r"key 1 .*write `sha256:` or `hmac-sha256:` before the 64 digits"),
        (f"hash: {digest(ALICE_KEY)[:-1]}", r"key 1 .*64 hexadecimal digits"),
        (f"hash: {digest(EVE_KEY)}, user: ''", r"key 1 .*`user` is empty"),
    ],
)
async def test_a_bad_entry_is_named_but_never_shown(tmp_path: Path, entry: str, complaint: str) -> None:
    user = "" if "user" in entry else ", user: u"
    with pytest.raises(ValueError, match=complaint) as refused:
        await auth(tmp_path, f"keys: [{{{entry}{user}}}]")
    assert str(tmp_path / "keys.yaml") in str(refused.value)
    assert ALICE_KEY not in str(refused.value)


async def test_the_same_hash_twice_is_refused(tmp_path: Path) -> None:
    entries = "".join(f"\n- {{hash: '{digest(key)}', user: {key[3]}}}" for key in (ALICE_KEY, BOB_KEY, ALICE_KEY))
    with pytest.raises(ValueError, match=r"key 3 \(user 'a'\): has the same hash as key 1"):
        await auth(tmp_path, f"keys:{entries}")


async def test_other_mistakes_are_shown_at_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        await auth(tmp_path, f"keys:\n- hash: {digest(EVE_KEY)}\n  user: eve\n  expires: soon\n  teem: x\n")
    assert "keys.yaml:4:12" in str(refused.value)
    assert "unknown option 'teem'; did you mean 'team'?" in str(refused.value)


async def test_a_file_without_usable_keys_is_worth_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = await auth(tmp_path, f"keys: [{{hash: '{digest(EVE_KEY)}', user: eve, enabled: false}}]")
    assert "holds no usable key" in caplog.text
    assert refusal(door, x_api_key=EVE_KEY) == "this API key is disabled"


# ---------------------------------------------------------------- pepper


async def test_a_hash_with_pepper_opens_with_that_pepper_only(tmp_path: Path) -> None:
    entry = f"keys: [{{hash: '{hash_of(ALICE_KEY, PEPPER.encode())}', user: alice, name: laptop}}]"
    assert enter(await auth(tmp_path, entry), {"x_api_key": ALICE_KEY}) == Principal(user="alice", key="laptop")
    other = await auth(tmp_path, entry, "another-pepper-than-that")
    assert refusal(other, x_api_key=ALICE_KEY) == "this API key is not known here"


async def test_without_its_pepper_a_keys_file_is_a_mistake_and_with_the_file_it_is_none(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(f"keys: [{{hash: '{hash_of(BOB_KEY, PEPPER.encode())}', user: bob}}]")
    with pytest.raises(ValueError, match=r"no file penstock.pepper .*: bring the one they were made with"):
        await start(Auth(keys="keys.yaml"), tmp_path)
    assert not (tmp_path / "penstock.pepper").exists(), "a new one would open no door"
    (tmp_path / "penstock.pepper").write_text(PEPPER + "\n")
    plugin = Auth(keys="keys.yaml")
    await start(plugin, tmp_path)
    assert enter(plugin, {"x_api_key": BOB_KEY}) is not None


def test_the_pepper_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        peppers = set(pool.map(lambda _: need_pepper(None, tmp_path), range(40)))
    assert len(peppers) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["penstock.pepper"]
    assert (tmp_path / "penstock.pepper").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("pepper", "complaint"), [("short", "too short for a pepper"), ("", "too short for a pepper")])
def test_a_pepper_that_can_be_guessed_is_refused(tmp_path: Path, pepper: str, complaint: str) -> None:
    (tmp_path / "penstock.pepper").write_text(pepper)
    with pytest.raises(ValueError, match=complaint):
        need_pepper(None, tmp_path)


def test_where_no_file_can_be_made_the_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be made: .*; set the option `pepper` instead"):
        need_pepper(None, tmp_path / "nowhere")


# ---------------------------------------------------------------- scopes and parents


def entries(*lines: str) -> str:
    """A keys file whose keys are `pk-0...`, `pk-1...` and so on."""
    listed = (f"- {{hash: '{digest(key_number(number))}', {line}}}" for number, line in enumerate(lines))
    return "keys:\n" + "\n".join(listed)


def key_number(number: int) -> str:
    return f"pk-{number}" + "k" * 42


async def test_a_service_is_named_as_one_and_cannot_be_claimed_by_a_user(tmp_path: Path) -> None:
    door = await auth(tmp_path, entries("service: ci, team: core"))
    key = digest(key_number(0))[7:15]
    assert enter(door, {"x_api_key": key_number(0)}) == Principal(user="service:ci", team="core", key=key)
    with pytest.raises(ValueError, match=r"key 1 \(user 'service:ci'\): .*write `service: ci`"):
        await auth(tmp_path, entries("user: 'service:ci'"))


@pytest.mark.parametrize(
    ("scope", "kind", "complaint"),
    [
        ("models: [glm-*]", NotFound, "model 'm' is not offered to this API key"),
        ("from: [10.0.0.0/8]", Forbidden, "cannot be used from here"),
        ("routes: [list_models]", Forbidden, "cannot be used for generate"),
        ("pipelines: [prod]", Forbidden, "is for other pipelines"),
    ],
)
async def test_a_key_is_refused_outside_its_scope(
    tmp_path: Path, scope: str, kind: type[GatewayError], complaint: str
) -> None:
    door = await auth(tmp_path, entries(f"user: ann, {scope}"))
    exchange = request(x_api_key=key_number(0))
    with pytest.raises(kind, match=complaint):
        door.on_request(exchange)
    assert exchange.principal is None


async def test_a_request_that_names_no_model_is_for_no_model_of_the_scope(tmp_path: Path) -> None:
    door = await auth(tmp_path, entries("user: ann, models: [glm-*]"))
    exchange = request(x_api_key=key_number(0))
    exchange.request.model = ""
    with pytest.raises(NotFound, match="model '' is not offered"):
        door.on_request(exchange)


async def test_a_child_in_the_file_is_bound_by_its_parents(tmp_path: Path) -> None:
    lines = (
        "user: a, name: top, models: [m]",
        "user: b, name: mid, parent: top, models: [m]",
        "user: c, parent: mid, models: [m]",
    )
    assert enter(await auth(tmp_path, entries(*lines)), {"x_api_key": key_number(2)}) is not None
    disabled = await auth(tmp_path, entries(lines[0] + ", enabled: false", *lines[1:]))
    assert refusal(disabled, x_api_key=key_number(2)) == "the parent of this key is disabled"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (("user: a, name: top, models: [m]", "user: b, parent: top"), "key 2 .*scope is not within that of its parent"),
        (("user: a, name: top, team: x", "user: b, parent: top"), "key 2 .*its parent is of team 'x'"),
        (("user: a, name: top", "user: b, parent: top, admin: true"), "key 2 .*may not manage keys"),
        (("user: a, name: top, expires: 2099-01-01", "user: b, parent: top"), "key 2 .*expires on 2099-01-01"),
        (("user: a, parent: nobody",), "key 1 .*there is no key 'nobody'"),
        (("user: a, name: x, parent: y", "user: b, name: y, parent: x"), "key 1 .*its own parent"),
        (("user: a, name: x", "user: b, name: x"), "key 2 .*has the same name as key 1"),
    ],
)
async def test_a_family_that_cannot_be_is_a_mistake(tmp_path: Path, lines: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        await auth(tmp_path, entries(*lines))


async def test_a_scope_that_can_never_match_is_shown_at_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        await auth(tmp_path, entries("user: a, from: [10.0.0.0/33]"))
    assert "keys.yaml:2:" in str(refused.value)
    assert "'10.0.0.0/33' is no address and no network" in str(refused.value)


# ---------------------------------------------------------------- nobody is anonymous


def test_a_principal_without_a_name_cannot_be_made() -> None:
    for user in ("", "  "):
        with pytest.raises(ValueError, match="nobody is anonymous"):
            Principal(user=user)
    with pytest.raises(msgspec.ValidationError, match="nobody is anonymous"):
        msgspec.json.decode(b'{"user": ""}', type=Principal)


def test_only_a_known_key_becomes_a_principal() -> None:
    """The one place where a client becomes a principal takes it from a key; the others let nobody in."""
    made = [
        (path.relative_to(ROOT), [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "user"])
        for folder in ("core", "plugins")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "testing" not in path.parts  # a playbook has its own
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "Principal"
    ]
    assert made == [
        (Path("core/penstock/cli/laps.py"), ["_USER"]),  # a command that times hooks, and serves nobody
        (Path("core/penstock/metering.py"), ["named['user']"]),  # whose use an admin has asked about
        (Path("plugins/penstock_auth/__init__.py"), ["key.user"]),
    ]


async def test_nothing_that_a_stranger_sends_makes_one(door: Auth) -> None:
    odd = ["", " ", "null", "undefined", "anonymous", "Bearer", "pk-", "\x00", "a" * 16384, digest(ALICE_KEY), PEPPER]
    for first, second in itertools.product(odd, odd):
        exchange = request(authorization=f"Bearer {first}", x_api_key=second)
        with pytest.raises(Unauthenticated):
            door.on_request(exchange)
        assert exchange.principal is None
