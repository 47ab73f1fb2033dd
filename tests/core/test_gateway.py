"""Generations: started, swapped and retired so that nobody notices, and kept when the new files are of no use."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.gateway import Host
from penstock.testing import PATIENCE
from tests.core.hosts import LIFE, ONE, OTHER, READS, Place
from tests.core.places import install


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    await made.host.stop(PATIENCE)


# ---------------------------------------------------------------- a generation's life


async def test_a_reload_starts_the_new_before_it_shuts_down_the_old(place: Place) -> None:
    await place.start(ONE)
    old = place.host.current
    place.write(OTHER)
    assert await place.host.reload()
    await place.until(lambda: len(place.diary) == 3)
    assert place.diary == ["a.startup", "other.startup", "a.shutdown"]
    assert place.host.current.id != old.id


async def test_the_log_tells_generations_apart(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    await place.start("plugins: [life, reads]\n")
    old = place.host.current.id
    place.write("words: [two]\n", "words.yaml")
    assert await place.host.reload()
    assert f"reloaded: generation {place.host.current.id} replaces {old}" in caplog.text
    assert place.host.current.id != old


async def test_what_takes_a_new_start_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    await place.start(ONE)
    place.write("ping: 1s\n", "pipelines/gateway.yaml")
    assert await place.host.reload()
    assert "start again" not in caplog.text
    place.write("bind: 127.0.0.1:4001\nworkers: 2\ngraceful_timeout: 1s\n", "pipelines/gateway.yaml")
    for _ in range(2):
        caplog.clear()
        assert await place.host.reload()
        assert "start again for what has changed there: bind, workers, graceful_timeout" in caplog.text
    caplog.clear()
    place.write("bind: 127.0.0.1:4000\n", "pipelines/gateway.yaml")
    assert await place.host.reload()
    assert "start again" not in caplog.text


async def test_what_is_stored_outlives_a_reload(place: Place) -> None:
    await place.start(ONE)
    (step,) = place.host.current.pipelines[0].instances
    await step.plugin.store.set("key", "kept")
    await place.host.reload()
    (step,) = place.host.current.pipelines[0].instances
    assert await step.plugin.store.get("key", str) == "kept"


async def test_before_its_start_a_host_has_no_generation(place: Place) -> None:
    assert not place.host.started
    with pytest.raises(RuntimeError, match="has not started"):
        _ = place.host.current


# ---------------------------------------------------------------- new files that are of no use

USELESS = {
    "plugins: [lfe]\n": "pipelines/a.yaml:1:11: unknown plugin 'lfe'; did you mean 'life'?",
    "plugins: [\n": "pipelines/a.yaml:2:1: not valid YAML",
    "plugins: [life: {fails: true}]\n": "step 'life' did not start: there is no room",
}


@pytest.mark.parametrize("text", USELESS)
async def test_files_that_are_of_no_use_keep_the_old_generation(
    place: Place, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    await place.start(ONE)
    old = place.host.current
    place.write(text)
    assert not await place.host.reload()
    assert place.host.current is old
    assert "a.shutdown" not in place.diary[:2]
    for report in (place.host.reload_problem, caplog.text):
        assert USELESS[text] in report
    assert "the old configuration stays" in caplog.text
    assert "Traceback" not in caplog.text
    place.write(OTHER)
    assert await place.host.reload()
    assert place.host.reload_problem == ""


async def test_steps_of_a_new_generation_that_had_started_are_shut_down(place: Place) -> None:
    await place.start(ONE)
    place.write("plugins:\n- life: {name: new}\n- life: {name: bad, fails: true}\n  id: bad\n")
    assert not await place.host.reload()
    assert place.diary == ["a.startup", "new.startup", "bad.startup", "new.shutdown"]


async def test_a_shutdown_that_fails_does_not_keep_the_others_from_theirs(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    failing = LIFE.replace('self._note("shutdown")', 'raise KeyError("stuck")').replace("Life", "Stuck")
    place.write(failing, "plugins/stuck.py")
    await place.start("plugins: [life, stuck]\n")
    await place.host.stop()
    assert place.diary[-1] == "a.shutdown"
    assert "shutdown of step 'stuck'" in caplog.text


# ---------------------------------------------------------------- who may be served


async def test_a_public_gateway_does_not_serve_what_is_open(place: Place) -> None:
    place.host = Host(place.root / "pipelines", {}, public=True)
    (problem,) = await place.refused(ONE)
    assert problem.startswith("pipelines/a.yaml:1:10: nobody has to say who they are here")
    assert problem.endswith("add the step 'auth', or bind to 127.0.0.1")
    await place.start("plugins: [who, life]\n")
    place.write(ONE)
    assert not await place.host.reload()
    assert "nobody has to say who they are" in place.host.reload_problem


# ---------------------------------------------------------------- watching

CHANGES = {
    "a pipeline": ("pipelines/a.yaml", OTHER),
    "one more pipeline": ("pipelines/b.yaml", "plugins: [life: {name: other}]\n"),
    "what all share": ("pipelines/gateway.yaml", "ping: 1s\n"),
    "a plugin": ("plugins/life.py", LIFE + "# changed\n"),
    "a file a step has read": ("words.yaml", "words: [two]\n"),
    "a file a step watches": ("other.txt", "now it is there"),
}
ALL = "plugins: [life, reads]\n"


@pytest.fixture
async def watched(place: Place) -> AsyncIterator[Place]:
    """A started place whose files are watched."""
    await place.start(ALL)
    watching = place.host.spawn(place.host.watch(seconds=0.005), "watch")
    yield place
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_a_file_is_a_reload(watched: Place, what: str) -> None:
    old = watched.host.current
    name, text = CHANGES[what]
    watched.write(text, name)
    await watched.until(lambda: watched.host.current is not old)
    assert watched.host.reload_problem == ""
    assert watched.host.current.id != old.id


async def test_so_is_a_pipeline_that_is_gone(watched: Place) -> None:
    watched.write(OTHER, "pipelines/b.yaml")
    await watched.until(lambda: len(watched.host.current.pipelines) == 2)
    (watched.root / "pipelines/b.yaml").unlink()
    await watched.until(lambda: len(watched.host.current.pipelines) == 1)


async def test_files_that_stay_the_same_are_no_reload(watched: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    old = watched.host.current
    watched.write("something else", "notes.txt")
    for _ in range(10):
        await asyncio.sleep(0.005)
    assert watched.host.current is old
    assert "reloaded" not in caplog.text


async def test_files_that_a_reload_brings_are_no_second_change(place: Place) -> None:
    await place.start(ONE)
    watching = place.host.spawn(place.host.watch(seconds=0.005), "watch")
    old = place.host.current
    place.write(ALL)
    await place.until(lambda: place.host.current is not old)
    new = place.host.current
    for _ in range(10):
        await asyncio.sleep(0.005)
    assert place.host.current is new
    watching.cancel()


MENDED = {
    "the plugin": {"plugins/novel.py": "def x(:\n", "pipelines/a.yaml": "plugins: [novel]\n"},
    "what a step reads": {"words.yaml": "words: 5\n"},
    "what a new step reads": {
        "plugins/novel.py": READS.replace("words.yaml", "new.yaml").replace("Reads", "Novel"),
        "pipelines/a.yaml": "plugins: [novel]\n",
    },
}


@pytest.mark.parametrize("what", MENDED)
async def test_mending_the_file_that_was_wrong_is_enough(watched: Place, what: str) -> None:
    """Also if the old generation never knew it."""
    old = watched.host.current
    for name, text in MENDED[what].items():
        watched.write(text, name)
    await watched.until(lambda: bool(watched.host.reload_problem))
    mended = LIFE.replace("Life", "Novel") if what == "the plugin" else "words: [mended]\n"
    names = {"the plugin": "plugins/novel.py", "what a step reads": "words.yaml", "what a new step reads": "new.yaml"}
    watched.write(mended, names[what])
    await watched.until(lambda: watched.host.current is not old)
    assert watched.host.reload_problem == ""


async def test_a_watch_survives_whatever_a_file_holds(watched: Place) -> None:
    for text in ("\x00", "plugins: 5\n", "- - - -\n", ""):
        watched.host.reload_problem = ""
        watched.write(text)
        await watched.until(lambda: bool(watched.host.reload_problem))
    old = watched.host.current
    watched.write(OTHER)
    await watched.until(lambda: watched.host.current is not old)


# ---------------------------------------------------------------- the end


async def test_a_stop_waits_for_exchanges_to_complete(place: Place) -> None:
    await place.start(ONE)
    place.host.current.enter()

    async def complete() -> None:
        await asyncio.sleep(0.02)
        place.host.current.leave()

    place.host.spawn(complete(), "complete")
    await place.host.stop(PATIENCE)
    assert place.diary == ["a.startup", "a.shutdown"]


async def test_but_not_for_ever(place: Place) -> None:
    await place.start(ONE)
    stuck = place.host.spawn(asyncio.Event().wait(), "stuck")
    await place.host.stop(0.05)
    await place.until(stuck.cancelled)


STORE = '''
"""A store that fails to open, or not."""
from penstock.store import MemoryStore, StoreUnavailable

class Shelf(MemoryStore):
    def __init__(self, url, folder):
        super().__init__(lambda: 0.0)
        self.url = url
        self.closed = False

    async def open(self):
        if self.url.endswith("stuck"):
            raise ValueError("it is stuck")
        if self.url.endswith("away"):
            raise StoreUnavailable("nobody answers")

    async def close(self):
        self.closed = True
'''


async def test_an_installed_store_is_opened_once_and_closed_at_the_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(STORE, "acme_place_shelf.py")
    install(place.root, monkeypatch, "[penstock.stores]\nshelf = acme_place_shelf:Shelf\n")
    place.write("store: shelf://stuck\n", "pipelines/gateway.yaml")
    (problem,) = await place.refused(ONE)
    assert problem == "pipelines/gateway.yaml:1:8: the store cannot be used: it is stuck"
    place.write("store: shelf://host\n", "pipelines/gateway.yaml")
    await place.start(ONE)
    store = place.host.current.pipelines[0].instances[0].plugin.store
    await store.set("x", 1)
    await place.host.reload()
    assert await place.host.current.pipelines[0].instances[0].plugin.store.get("x", int) == 1
    inner = vars(store)["_store"]
    await place.host.stop()
    assert inner.closed


async def test_a_store_that_is_away_does_not_keep_the_gateway_from_starting(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.write(STORE, "acme_place_shelf.py")
    install(place.root, monkeypatch, "[penstock.stores]\nshelf = acme_place_shelf:Shelf\n")
    place.write("store: shelf://away\n", "pipelines/gateway.yaml")
    await place.start(ONE)
    assert "the store is away; until it is back, plugins do without or refuse: nobody answers" in caplog.messages
