"""Keys in the database: made and withdrawn while gateways run, in every worker, and without a wait for the database."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from penstock import ConfigError
from penstock.testing import PATIENCE, MakeGateway, MakeProcess, RunningGateway, ScriptedUpstream, messages
from penstock_auth import live
from penstock_auth.tables import METADATA
from tests.integration.talk import ask, prompt
from tests.plugins.keydesk import enter, made, penstock_here, until_known, until_status
from tests.postgres_server import MISSING, PostgresServer, running_postgres

PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - auth: {keys: database{more}}
  - models: {routes: {"*": main, "model-b": main/for-b}}
  - translation
teams:
  research: {models: {routes: {"*": main/for-research}}}
"""


@pytest.fixture(autouse=True)
def busy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways of this process look for changes more often, and wait less long, than any other would."""
    monkeypatch.setattr(live, "POLL", 0.1)
    monkeypatch.setattr(live, "DEADLINE", 1.0)


@pytest.fixture
async def gate(gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    upstream.always(messages.whole("hello"))
    return await gateway(PIPELINE, url=upstream.url, more="")


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    if MISSING:
        pytest.skip(MISSING)
    with running_postgres() as server:
        yield server


def folder(gate: RunningGateway) -> Path:
    return gate.place.folder.parent


# ---------------------------------------------------------------- keys come and go


async def test_what_comes_of_a_backup_counts_although_it_is_older(gate: RunningGateway) -> None:
    bob = await made(folder(gate), "--user", "bob")
    ann = await made(folder(gate), "--user", "ann")
    await penstock_here(folder(gate), "keys", "rotate", ann["id"])
    last = await penstock_here(folder(gate), "keys", "rotate", ann["id"], "--json")
    await until_status(gate.url, last.json()["key"], 200)
    file = next(folder(gate).rglob("penstock.db"))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("update penstock_key_state set version = 1")
    await penstock_here(folder(gate), "keys", "revoke", bob["id"])
    await until_status(gate.url, bob["key"], 401)


async def test_a_key_works_soon_after_it_was_made_and_its_team_decides(
    gate: RunningGateway, upstream: ScriptedUpstream
) -> None:
    ann = await made(folder(gate), "--user", "ann")
    bob = await made(folder(gate), "--user", "bob", "--team", "research")
    assert ann["key"].startswith("pk-")
    assert ann["id"].startswith("key_")
    for one in (ann, bob):
        await until_status(gate.url, one["key"], 200)
    assert [call.json()["model"] for call in upstream.calls] == ["model-a", "for-research"]
    assert (await enter(gate.url, "pk-" + "x" * 43)).status == 401


async def test_a_revoked_key_stops_and_takes_its_children_with_it(gate: RunningGateway) -> None:
    parent = await made(folder(gate), "--user", "ann")
    child = await made(folder(gate), "--user", "ann", "--parent", parent["id"])
    await until_status(gate.url, child["key"], 200)
    revoked = await penstock_here(folder(gate), "keys", "revoke", parent["id"], "--json")
    assert revoked.json()["status"] == "revoked"
    await until_status(gate.url, parent["key"], 401)
    said = await enter(gate.url, child["key"])
    assert (said.status, said.headers["x-should-retry"]) == (401, "false")
    assert "the parent of this key was revoked on 20" in said.error["message"]


async def test_every_worker_hears_of_it_within_about_a_second(
    gateway_process: MakeProcess, upstream: ScriptedUpstream
) -> None:
    upstream.always(messages.whole("hello"))
    process = await gateway_process(PIPELINE, "--workers", "2", url=upstream.url, more="")
    here = process.place.folder.parent
    ann = await made(here, "--user", "ann")
    assert await until_all_say(process.url, ann["key"], 200) < 2.5
    await penstock_here(here, "keys", "revoke", ann["id"])
    assert await until_all_say(process.url, ann["key"], 401) < 2.5


async def until_all_say(url: str, key: str, status: int) -> float:
    """Ask until twenty answers in a row have this status, so that each worker has given one; the seconds it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(PATIENCE):
        row = 0
        while row < 20:
            row = row + 1 if (await enter(url, key)).status == status else 0
    return loop.time() - started


async def test_a_rotated_key_stays_the_same_key_and_its_old_secret_ends(gate: RunningGateway) -> None:
    ann = await made(folder(gate), "--user", "ann")
    new = (await penstock_here(folder(gate), "keys", "rotate", ann["id"], "--json")).json()
    assert new["id"] == ann["id"]
    assert new["key"] != ann["key"]
    await until_status(gate.url, new["key"], 200)
    assert (await enter(gate.url, ann["key"])).status == 200, "for a day"
    newest = (await penstock_here(folder(gate), "keys", "rotate", ann["id"], "--grace", "0s", "--json")).json()
    await until_status(gate.url, newest["key"], 200)
    assert {(await enter(gate.url, old["key"])).status for old in (ann, new)} == {401}
    (listed,) = (await penstock_here(folder(gate), "keys", "list", "--json")).json()
    assert listed["shown"] == newest["key"][:8]


async def test_a_key_expires(gate: RunningGateway) -> None:
    ann = await made(folder(gate), "--user", "ann", "--expires", "1500ms")
    await until_status(gate.url, ann["key"], 200)
    await until_status(gate.url, ann["key"], 401)
    assert "this API key expired on" in (await enter(gate.url, ann["key"])).error["message"]


# ---------------------------------------------------------------- what a key is for


async def test_a_key_for_some_models_gets_no_others_and_sees_no_others(gate: RunningGateway) -> None:
    ann = await made(folder(gate), "--user", "ann", "--models", "model-a,glm-?", "--models", "claude-*")
    await until_status(gate.url, ann["key"], 200)
    for model, status in {"glm-5": 200, "claude-x": 200, "glm-55": 404, "model-b": 404, "model-a2": 404}.items():
        said = await enter(gate.url, ann["key"], model)
        assert said.status == status, model
        assert status == 200 or "is not offered to this API key" in said.error["message"]
    bob = await made(folder(gate), "--user", "bob")
    await until_status(gate.url, bob["key"], 200)
    for key, seen in ((ann["key"], []), (bob["key"], ["model-b"])):
        listed = await ask(gate.url, path="/v1/models", method="GET", headers={"x-api-key": key})
        assert [model["id"] for model in listed.json()["data"]] == seen


OTHERS = {
    "a provider's fallback": {"models": ["claude-small", "claude-dear"]},
    "a fallback": {"fallbacks": [{"model": "claude-dear"}]},
    "an advisor": {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-dear"}]},
    "an advisor elsewhere": {"tools": [{"type": "x:advisor", "parameters": {"model": "claude-dear"}}]},
}


@pytest.mark.parametrize("more", OTHERS.values(), ids=OTHERS)
async def test_a_key_for_some_models_cannot_have_a_provider_ask_others(
    gate: RunningGateway, upstream: ScriptedUpstream, more: dict[str, object]
) -> None:
    small = await made(folder(gate), "--user", "ann", "--models", "claude-small")
    await until_known(gate.url, small["key"])
    headers, body = {"x-api-key": small["key"]}, {**prompt(), "model": "claude-small"}
    said = await ask(gate.url, {**body, **more}, headers=headers)
    assert said.status == 404
    assert said.error["message"] == "model 'claude-dear' is not offered to this API key"
    assert not upstream.calls
    tool = {"name": "agent", "input_schema": {"type": "object", "properties": {"model": {"type": "string"}}}}
    assert (await ask(gate.url, {**body, "tools": [tool]}, headers=headers)).status == 200
    free = await made(folder(gate), "--user", "bob")
    await until_known(gate.url, free["key"])
    assert (await ask(gate.url, {**body, **more}, headers={"x-api-key": free["key"]})).status == 200


@pytest.mark.parametrize(
    ("scope", "complaint"),
    [
        (("--from", "10.0.0.0/8,192.168.7.7"), "cannot be used from 127.0.0.1"),
        (("--routes", "count_tokens,-/usage"), "cannot be used for generate"),
        (("--pipelines", "other-*"), "is for other pipelines"),
    ],
)
async def test_a_key_is_good_only_within_its_scope(
    gate: RunningGateway, scope: tuple[str, str], complaint: str
) -> None:
    ann = await made(folder(gate), "--user", "ann", *scope)
    await until_status(gate.url, ann["key"], 403)
    said = await enter(gate.url, ann["key"])
    assert complaint in said.error["message"]
    assert said.headers["x-should-retry"] == "false"


async def test_the_right_address_route_and_pipeline_are_let_in(gate: RunningGateway) -> None:
    scope = ("--from", "127.0.0.0/8", "--routes", "gen*", "--pipelines", "test")
    ann = await made(folder(gate), "--service", "ci", *scope)
    await until_status(gate.url, ann["key"], 200)
    child = await made(folder(gate), "--service", "ci", *scope, "--parent", ann["id"])
    await until_status(gate.url, child["key"], 200)
    wider = await penstock_here(folder(gate), "keys", "create", "--user", "ann", "--parent", ann["id"])
    assert "its scope is not within that of its parent" in wider.complaint


# ---------------------------------------------------------------- the database is away


async def test_no_request_waits_for_a_database_that_hangs(
    gateway: MakeGateway, upstream: ScriptedUpstream, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.always(messages.whole("hello"))
    shared = {"gateway.yaml": f"database: {postgres.url}\n"}
    gate = await gateway(PIPELINE, url=upstream.url, more=", stale: 6s", files=shared)
    ann = await made(folder(gate), "--user", "ann")
    await until_status(gate.url, ann["key"], 200)
    postgres.freeze()
    slowest = await slowest_until(gate.url, ann["key"], lambda: "stay in use for at most 6 s" in caplog.text)
    assert slowest < live.DEADLINE, "what waits for the database waits as long as that"
    await until_status(gate.url, ann["key"], 503)
    said = await enter(gate.url, ann["key"])
    assert "cannot read its API keys at the moment" in said.error["message"]
    postgres.thaw()
    await until_status(gate.url, ann["key"], 200)
    assert caplog.text.count("stay in use for at most") == 1
    assert caplog.text.count("the database with the keys is back") == 1


async def slowest_until(url: str, key: str, condition: Callable[[], bool]) -> float:
    """Ask until something is so, with an answer each time; how long the slowest took."""
    loop, slowest = asyncio.get_running_loop(), 0.0
    async with asyncio.timeout(PATIENCE):
        while not condition():
            started = loop.time()
            assert (await enter(url, key)).status == 200
            slowest = max(slowest, loop.time() - started)
    return slowest


async def test_a_server_as_the_database_that_goes_and_comes_back(
    gateway: MakeGateway, upstream: ScriptedUpstream, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.always(messages.whole("hello"))
    shared = {"gateway.yaml": f"database: {postgres.url}\n"}
    gate = await gateway(PIPELINE, url=upstream.url, more="", files=shared)
    ann, bob = [await made(folder(gate), "--user", user) for user in ("ann", "bob")]
    await until_status(gate.url, bob["key"], 200)
    await penstock_here(folder(gate), "keys", "revoke", ann["id"])
    await until_status(gate.url, ann["key"], 401)
    postgres.stop()
    await slowest_until(gate.url, bob["key"], lambda: "stay in use" in caplog.text)
    said = await penstock_here(folder(gate), "keys", "list")
    assert said.status == 1
    assert "cannot be reached" in said.complaint
    postgres.start()
    revoked = await penstock_here(folder(gate), "keys", "revoke", bob["id"])
    assert revoked.status == 0
    await until_status(gate.url, bob["key"], 401)


async def test_a_gateway_that_cannot_read_its_keys_does_not_start(
    gateway: MakeGateway, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    postgres.stop()
    shared = {"gateway.yaml": f"database: {postgres.url}\n"}
    with pytest.raises(ConfigError, match=r"step 'auth' did not start: the database .* cannot be reached"):
        await gateway(PIPELINE, url=upstream.url, more="", files=shared)


async def test_the_migrations_make_the_tables_that_the_code_uses(gate: RunningGateway) -> None:
    engine = create_engine(f"sqlite:///{folder(gate) / 'data/penstock.db'}")
    with engine.connect() as connection:
        ours = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or name in METADATA.tables}
        )
        assert compare_metadata(ours, METADATA) == []
    engine.dispose()


async def test_another_pepper_than_that_of_the_keys_is_refused(gate: RunningGateway) -> None:
    await made(folder(gate), "--user", "ann")
    (gate.place.folder / "penstock.pepper").write_text("quite another pepper, and long enough")
    said = await penstock_here(folder(gate), "keys", "create", "--user", "bob")
    assert "the keys in the database were made with another pepper" in said.complaint
    assert not await gate.reload(), "the old generation with its keys stays"
