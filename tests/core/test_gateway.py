"""Generations: started, swapped and retired so that nobody notices, and kept when the new files are of no use."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.gateway import Host
from penstock.problems import ConfigError
from penstock.testing import PATIENCE
from tests.core.places import PLUGINS, install, told, write

LIFE = '''
"""Writes down what happens to it."""
from penstock import Exchange, Gateway, Plugin, hookimpl

class Life(Plugin):
    """Has a diary beside the pipelines."""
    name: str = "a"
    fails: bool = False

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        self._note("startup")
        if self.fails:
            raise ValueError("there is no room")

    @hookimpl
    def shutdown(self) -> None:
        self._note("shutdown")

    def _note(self, what: str) -> None:
        with (self.folder.parent / "diary").open("a") as diary:
            diary.write(f"{self.name}.{what}\\n")
'''
READS = '''
"""Reads a file and asks for more."""
import asyncio
from pathlib import Path
import msgspec
from penstock import Gateway, Plugin, hookimpl

class Words(msgspec.Struct, forbid_unknown_fields=True):
    words: list[str]

class Reads(Plugin):
    """Reads words.yaml beside the pipelines, and keeps an eye on other.txt."""
    protocol: str = ""
    routes: list[str] = []
    works: bool = False

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self.words = gateway.read_file(self.folder.parent / "words.yaml", Words).words
        gateway.watch(self.folder.parent / "other.txt")
        if self.protocol:
            gateway.serve_protocol(self.protocol)
        for route in self.routes:
            gateway.add_route(route, self.answer)
        if self.works:
            gateway.spawn(self.work(), "endless work")

    async def answer(self, asked): ...

    async def work(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            (self.folder.parent / "worked").touch()
'''
HERE = {**PLUGINS, "plugins/life.py": LIFE, "plugins/reads.py": READS, "words.yaml": "words: [one]\n"}
ONE = "plugins: [life]\n"
OTHER = "plugins: [life: {name: other}]\n"


class Place:
    """A folder with pipelines, and the host of a gateway that reads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = Host(root / "pipelines", {"WORD": "from the environment"})
        write(root, HERE)

    def write(self, text: str | bytes, name: str = "pipelines/a.yaml") -> None:
        write(self.root, {name: text})

    @property
    def diary(self) -> list[str]:
        path = self.root / "diary"
        return path.read_text().split() if path.exists() else []

    async def start(self, text: str) -> None:
        self.write(text)
        await self.host.start()

    async def refused(self, text: str) -> list[str]:
        """Why the gateway does not start."""
        self.write(text)
        with pytest.raises(ConfigError) as caught:
            await self.host.start()
        return told(self.root, caught.value)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in iter(condition, True):
                await asyncio.sleep(0.005)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    await made.host.stop(PATIENCE)


# ---------------------------------------------------------------- a generation's life


async def test_steps_start_down_the_file_and_shut_down_up_it(place: Place) -> None:
    await place.start("plugins:\n- life\n- life: {name: b}\n  id: second\n")
    assert place.host.started
    assert place.diary == ["a.startup", "b.startup"]
    await place.host.stop()
    assert place.diary == ["a.startup", "b.startup", "b.shutdown", "a.shutdown"]


async def test_a_step_that_does_not_start_refuses_the_whole(place: Place) -> None:
    text = "plugins:\n- life\n- life: {name: b, fails: true}\n  id: second\n- life: {name: c}\n  id: third\n"
    assert await place.refused(text) == ["pipelines/a.yaml:3:3: step 'second' did not start: there is no room"]
    assert not place.host.started
    assert place.diary == ["a.startup", "b.startup", "a.shutdown"]


async def test_variants_of_a_step_for_teams_are_started_too(place: Place) -> None:
    await place.start("plugins: [who, life]\nteams: {red: {life: {name: red}}, blue: {life: false}}\n")
    assert sorted(place.diary) == ["a.startup", "red.startup"]


async def test_a_reload_starts_the_new_before_it_shuts_down_the_old(place: Place) -> None:
    await place.start(ONE)
    old = place.host.current
    place.write(OTHER)
    assert await place.host.reload()
    await place.until(lambda: len(place.diary) == 3)
    assert place.diary == ["a.startup", "other.startup", "a.shutdown"]
    assert place.host.current.id != old.id


async def test_an_old_generation_lives_as_long_as_its_last_exchange(place: Place) -> None:
    await place.start(ONE)
    old = place.host.current
    old.enter()
    old.enter()
    place.write(OTHER)
    await place.host.reload()
    old.leave()
    await asyncio.sleep(0)
    assert place.diary == ["a.startup", "other.startup"]
    old.leave()
    await place.until(lambda: "a.shutdown" in place.diary)


async def test_the_same_files_are_the_same_generation(place: Place) -> None:
    """Hosts can be compared by it."""
    await place.start(ONE)
    first = place.host.current
    assert await place.host.reload()
    assert place.host.current is not first
    assert place.host.current.id == first.id


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


# ---------------------------------------------------------------- what a step may ask for

WRONG = {
    "words: [one\n": ["words.yaml:2:1: not valid YAML: did not find expected ',' or ']'"],
    "words: one\n": ["words.yaml:1:8: expected list, got str"],
    "words: [one]\nwrds: []\n": ["words.yaml:2:1: unknown option 'wrds'; did you mean 'words'?"],
    "words: ['${NO}', 5]\n": [
        "words.yaml:1:9: the environment variable NO is not set: set it, or give a default: ${NO:-} stands for nothing",
        "words.yaml:1:18: expected str, got int; put it in quotes",
    ],
    b"words: [\xff]\n": ["words.yaml:1:1: cannot be read: is not UTF-8"],
    None: ["words.yaml:1:1: cannot be read: No such file or directory"],
}


@pytest.mark.parametrize("text", WRONG, ids=repr)
async def test_a_file_that_a_step_cannot_read_is_told_where_it_is_wrong(place: Place, text: str | bytes | None) -> None:
    (place.root / "words.yaml").unlink()
    if text is not None:
        place.write(text, "words.yaml")
    problems = await place.refused("plugins: [life, reads]\n")
    assert len(problems) == len(WRONG[text])
    assert all(map(str.startswith, problems, WRONG[text]))
    assert place.diary == ["a.startup", "a.shutdown"]


@pytest.mark.parametrize("text", ['words: [one, "${WORD}"]\n', '{"words": ["one", "from the environment"]}'])
async def test_a_step_reads_yaml_and_json(place: Place, text: str) -> None:
    place.write(text, "words.yaml")
    await place.start("plugins: [reads]\n")
    (step,) = place.host.current.pipelines[0].instances
    assert vars(step.plugin)["words"] == ["one", "from the environment"]


async def test_a_step_serves_a_protocol_below_the_pipelines_path(place: Place) -> None:
    await place.start("path: /team\nplugins: [reads: {protocol: anthropic}]\n")
    endpoints = place.host.current.endpoints
    assert endpoints["/team/v1/messages"]["POST"].operation == "generate"
    assert endpoints["/team"]["HEAD"].operation == "probe"


ASKED = {
    "protocol: antropic": "step 'reads' did not start: unknown protocol 'antropic'; did you mean 'anthropic'?",
    "protocol: openai-chat": "step 'reads' did not start: protocol 'openai-chat' is for upstreams only",
    "routes: [usage, /usage/]": "step 'reads' did not start: GET /a/-/usage is already served",
}


@pytest.mark.parametrize("options", ASKED)
async def test_what_cannot_be_had_is_told_at_the_step(place: Place, options: str) -> None:
    assert await place.refused(f"plugins:\n- reads: {{{options}}}\n") == [f"pipelines/a.yaml:2:3: {ASKED[options]}"]


async def test_two_pipelines_have_their_own_routes(place: Place) -> None:
    place.write("path: /\nplugins: [reads: {routes: [usage]}]\n", "pipelines/b.yaml")
    await place.start("plugins: [reads: {routes: [usage]}]\n")
    endpoints = place.host.current.endpoints
    assert {path: endpoint["GET"].pipeline.name for path, endpoint in endpoints.items()} == {
        "/a/-/usage": "a",
        "/a/-/stats": "a",
        "/-/usage": "b",
        "/-/stats": "b",
    }


async def test_work_of_a_step_ends_with_its_generation(place: Place) -> None:
    await place.start("plugins: [reads: {works: true}]\n")
    await asyncio.sleep(0)
    place.write(ONE)
    await place.host.reload()
    await place.until((place.root / "worked").exists)


async def test_work_that_fails_is_not_lost(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise KeyError("the ledger")

    await place.start(ONE)
    place.host.spawn(fail(), "write the ledger")
    await place.until(lambda: "task 'write the ledger' failed" in caplog.text)


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
