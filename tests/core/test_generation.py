"""A generation: its steps start and shut down in order, it lives as long as its last exchange, and serves its steps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.testing import PATIENCE
from tests.core.hosts import ONE, OTHER, Place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    await made.host.stop(PATIENCE)


# ---------------------------------------------------------------- its life


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
