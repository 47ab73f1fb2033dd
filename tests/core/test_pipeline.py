"""A pipeline compiled: orders that cannot work are refused, teams get plans, plugins get what the core gives them."""

from pathlib import Path

import pytest

from penstock import Plugin, Store
from penstock.pipeline import Pipeline
from penstock.store import PrefixedStore
from tests.core.places import MAIN, compiled_in, mistakes

GOAL = '''
"""Needs to know where requests go."""
from penstock import Plugin

class Goal(Plugin):
    """Comes after whoever sets the targets."""
    requires = frozenset({"targets"})
'''

USER = '''
"""Would like to know who is asking."""
from penstock import Plugin

class User(Plugin):
    """Does without the principal."""
    uses = frozenset({"principal"})
'''

FUSSY = '''
"""Says by its options what it needs and provides."""
from penstock import Plugin

class Fussy(Plugin):
    """Needs and provides what it is told to."""
    needs: list[str] = []
    gives: list[str] = []

    def __post_init__(self) -> None:
        self.requires = frozenset(self.needs)
        self.provides = frozenset(self.gives)
'''

# A pipeline, and the problems of its order.
ORDERS = {
    "the provider stands below": (
        "plugins: [knobs, meter, who]\n",
        ["1:18: 'meter' needs the principal, which 'who' provides further down: move it up"],
    ),
    "the provider of what may be missing stands below": (
        "plugins: [knobs, user, who]\n",
        ["1:18: 'user' needs the principal, which 'who' provides further down: move it up"],
    ),
    "a step needs by its options what another provides by its own": (
        "plugins:\n- fussy: {needs: [prices]}\n- fussy: {gives: [prices]}\n  id: other\n",
        ["2:3: 'fussy' needs the prices, which 'other' provides further down: move it up"],
    ),
    "a team's options need it": (
        "plugins:\n- who\n- fussy\nteams:\n  a: {fussy: {needs: [prices]}}\n",
        ["3:3: 'fussy' needs the prices, which no step provides; 'prices' above it would"],
    ),
    "nobody provides it": (
        "plugins: [meter, goal]\n",
        [
            "1:11: 'meter' needs the principal, which no step provides; 'auth' above it would",
            "1:18: 'goal' needs the targets, which no step provides; 'models' above it would",
        ],
    ),
    "the provider is off": (
        "plugins:\n- who:\n  enabled: false\n- meter\n",
        ["4:3: 'meter' needs the principal, which 'who' would provide, but that is off"],
    ),
    "a team switches on what lacks something": (
        "plugins:\n- who\n- goal:\n  enabled: false\nteams:\n  a: {goal: true}\n  b: {}\n",
        ["6:13: 'goal' needs the targets, which no step provides; 'models' above it would"],
    ),
    "a team switches off what others need": (
        "plugins:\n- who\n- penstock_models:Models\n- goal\nteams:\n  a: {'penstock_models:Models': false}\n",
        ["4:3: 'goal' needs the targets, which 'penstock_models:Models' would provide, but that is off"],
    ),
    "a team is asked for above whoever knows it": (
        "plugins:\n- knobs: {}\n  when: {team: a}\n- who\n- knobs: {}\n  id: below\n  when: {not: {team: a}}\n",
        ["3:10: 'knobs' needs the principal, which 'who' provides further down: move it up"],
    ),
    "a team is asked for and nobody knows it": (
        "plugins:\n- knobs: {}\n  when: {not: {team: a}}\n",
        ["3:16: 'knobs' needs the principal, which no step provides; 'auth' above it would"],
    ),
    "whoever says who is asking could be left out": (
        "plugins:\n- who: {}\n  when: {model: a}\n- who: {}\n  id: other\n  on_error: skip\n",
        [
            "3:3: 'who' says who is asking, and no exchange goes on without that: take `when` away",
            "6:3: 'other' says who is asking, and no exchange goes on without that: say `on_error: fail` or"
            " `on_error: deny`",
        ],
    ),
    "what others need could be left out": (
        "plugins:\n- penstock_models:Models: {}\n  id: models\n  when: {model: a}\n- goal\n"
        "- penstock_models:Models: {}\n  id: sure\n  enabled: false\n",
        ["5:3: 'goal' needs the targets, which 'models' provides to some exchanges only: take `when` away"],
    ),
    "a time limit where nothing can be interrupted": (
        "plugins:\n- who: {}\n  timeout: 5s\n",
        ["3:3: no hook of 'who' is an `async def`, and only those can be interrupted"],
    ),
    "teams without anybody who says which": (
        "plugins: [knobs]\nteams: {a: {knobs: false}}\n",
        ["2:1: teams need a step that says who is asking, such as 'auth'"],
    ),
    "a team changes what runs before it is known": (
        "plugins: [knobs, who, meter]\nteams:\n  a: {knobs: {ttl: 1m}, who: false, meter: false}\n"
        "  b: {who: {name: x}}\n",
        [
            "3:7: a team cannot change 'knobs': it runs before 'who' has said which team it is",
            "3:25: a team cannot change 'who': it runs before 'who' has said which team it is",
            "4:7: a team cannot change 'who': it runs before 'who' has said which team it is",
        ],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_that_cannot_work_is_refused(tmp_path: Path, name: str) -> None:
    text, problems = ORDERS[name]
    files = {"pipelines/a.yaml": text, "plugins/goal.py": GOAL, "plugins/user.py": USER, "plugins/fussy.py": FUSSY}
    assert mistakes(tmp_path, files) == [f"pipelines/a.yaml:{problem}" for problem in problems]


@pytest.mark.parametrize("steps", ["[user]", "[{who: {}, enabled: false}, user]", "[who, user]"])
def test_what_a_step_only_uses_may_be_missing(tmp_path: Path, steps: str) -> None:
    files = {"pipelines/a.yaml": f"{MAIN}plugins: {steps}\n", "plugins/user.py": USER}
    (pipeline,) = compiled_in(tmp_path, files)
    assert [step.id for step in pipeline.course.plan.steps][-1] == "user"


BROKEN = {
    "    @hookimpl\n    def on_requst(self, exchange): ...": "plugins/broken.py:4: there is no hook 'on_requst'",
    "    @hookimpl\n    def on_request(self, exchnge): ...": "on_request has no argument 'exchnge'",
    "    def on_request(self, exchange): ...": "plugins/broken.py:4: on_request is not marked with @hookimpl",
    "    @hookimpl\n    def on_event(self, event: 'Txt'): ...": "on_event: name 'Txt' is not defined",
    "    if_broken = 'ignore'": "Broken: if_broken is 'ignore'; there are: fail, skip, deny",
    "    requires = frozenset({'principle'})": "Broken provides or requires 'principle'; there are: principal, targets",
}


@pytest.mark.parametrize("body", BROKEN)
def test_a_plugin_that_breaks_the_contract_is_refused(tmp_path: Path, body: str) -> None:
    plugin = f'"""Broken."""\nfrom penstock import Plugin, hookimpl\nclass Broken(Plugin):\n{body}\n'
    files = {"plugins/broken.py": plugin, "pipelines/a.yaml": "plugins: [knobs, broken, meter]\n"}
    (problem,) = mistakes(tmp_path, files)
    assert problem.startswith("pipelines/a.yaml:1:18: ")
    assert BROKEN[body] in problem


# ---------------------------------------------------------------- what comes of it


def compiled(root: Path, text: str) -> Pipeline:
    (pipeline,) = compiled_in(root, {"pipelines/a.yaml": MAIN + text})
    return pipeline


def test_teams_share_the_instances_that_they_do_not_change(tmp_path: Path) -> None:
    pipeline = compiled(
        tmp_path,
        "plugins:\n- who\n- meter\n- knobs:\n  enabled: false\nteams: {a: {knobs: {ttl: 5}}, b: {meter: {rate: 2}}}\n",
    )
    plans = {"": pipeline.course.plan, **pipeline.course.team_plans}
    assert {name: [step.id for step in plan.steps] for name, plan in plans.items()} == {
        "": ["who", "meter"],
        "a": ["who", "meter", "knobs"],
        "b": ["who", "meter"],
    }
    assert len({id(plan.steps[0].plugin) for plan in plans.values()}) == 1
    assert len({id(plan.steps[1].plugin) for plan in plans.values()}) == 2
    assert [step.id for step in pipeline.instances] == ["who", "meter", "meter", "knobs"]


def test_a_pipeline_is_open_unless_somebody_asks_who_is_there(tmp_path: Path) -> None:
    assert compiled(tmp_path / "1", "plugins: [knobs]\n").open
    assert not compiled(tmp_path / "2", "plugins: [knobs, who]\n").open
    assert compiled(tmp_path / "3", "plugins:\n- who:\n  enabled: false\n").open


def instances(pipeline: Pipeline) -> list[Plugin]:
    return [step.plugin for step in pipeline.instances]


def test_plugins_know_their_step_and_its_surroundings(tmp_path: Path) -> None:
    (knobs,) = instances(compiled(tmp_path, "plugins:\n- knobs:\n  id: cache\n"))
    assert (knobs.step, knobs.log.logger.name) == ("cache", "penstock.a.cache")
    assert knobs.folder == tmp_path.resolve() / "pipelines"
    assert knobs.clock() <= knobs.clock()
    assert isinstance(knobs.store, Store)


async def test_what_one_step_stores_no_other_step_finds(tmp_path: Path) -> None:
    first, second = instances(compiled(tmp_path, "plugins:\n- knobs\n- knobs:\n  id: other\n"))
    await first.store.set("key", "mine")
    assert await first.store.get("key", str) == "mine"
    assert await second.store.get("key", str) is None


async def test_the_variants_of_one_step_share_what_they_store(tmp_path: Path) -> None:
    _, everyone, team = instances(compiled(tmp_path, "plugins: [who, knobs]\nteams: {a: {knobs: {ttl: 5}}}\n"))
    assert everyone is not team
    await everyone.store.add("count", 1)
    assert await team.store.add("count", 1) == 2
    assert isinstance(team.store, PrefixedStore)
