"""A pipeline's file: every mistake is told where it stands and with a way out; what is right is read."""

from pathlib import Path

import pytest

from tests.core.places import KNOBS, MAIN, compiled_in, mistakes

# The lines of a pipeline, and the problems of its file. Each begins with the upstream `main`.
MISTAKES = {
    "a misspelled key": (
        "plugin: [knobs]\nplugins: [knobs]\n",
        ["2:1: unknown key 'plugin'; did you mean 'plugins'?"],
    ),
    "a key of something else": (
        "plugins: [knobs]\nworkers: 2\n",
        ["3:1: unknown key 'workers'; there are: path, upstreams, plugins, teams"],
    ),
    "a key twice": (
        "plugins: [knobs]\nplugins: [who]\n",
        ["3:1: duplicate key 'plugins': it is first at line 2, column 1"],
    ),
    "variables that are not set": (
        'path: "${PLACE}"\nplugins:\n- knobs: {ttl: "${TTL}"}\n',
        [
            "2:7: the environment variable PLACE is not set: set it, or give a default: ${PLACE:-} stands for nothing",
            "4:16: the environment variable TTL is not set: set it, or give a default: ${TTL:-} stands for nothing",
        ],
    ),
    "a path that is none": (
        "path: team/one\nplugins: [knobs]\n",
        ["2:7: path must start with / and hold only letters, digits, '-', '_', '.', '~' and '/'"],
    ),
    "no steps": ("path: /\n", ["1:1: a pipeline needs `plugins`: a list of steps, such as `- logging`"]),
    "steps that are no list": (
        "plugins: {knobs: {}}\n",
        ["2:10: a pipeline needs `plugins`: a list of steps, such as `- logging`"],
    ),
    "plugins that are not there": (
        "plugins:\n- knob\n- wh: {name: bob}\n",
        ["3:3: unknown plugin 'knob'; did you mean 'knobs'?", "4:3: unknown plugin 'wh'; did you mean 'who'?"],
    ),
    "steps that are none": (
        "plugins:\n- 5\n- [knobs]\n- {id: a}\n- knobs: {}\n  who: {}\n",
        [
            "3:3: a step is a plugin's name, or a mapping of the name to its options",
            "4:3: a step is a plugin's name, or a mapping of the name to its options",
            "5:3: a step names one plugin; the plugin's name is missing; found: id",
            "6:3: a step names one plugin; only id, enabled, when, on_error, timeout, circuit may stand beside it;"
            " found: knobs, who",
        ],
    ),
    "options that are no options": (
        "plugins:\n- knobs: 5\n  id: a\n- knobs: false\n  id: b\n- knobs: ''\n  id: c\n- knobs: []\n  id: d\n",
        [
            f"{line}:10: expected mapping, got {kind}"
            for line, kind in [(3, "int"), (5, "bool"), (7, "str"), (9, "list")]
        ],
    ),
    "the words beside a plugin": (
        "plugins:\n- knobs:\n  id: a b\n  enabled: maybe\n",
        ["4:7: an id holds letters, digits, '-', '_' and '.'", "5:12: enabled must be true or false"],
    ),
    "a misspelled word beside a plugin": (
        "plugins:\n- knobs:\n  tiemout: 5s\n",
        [
            "3:3: a step names one plugin; only id, enabled, when, on_error, timeout, circuit may stand beside it;"
            " did you mean 'timeout'?; found: knobs, tiemout"
        ],
    ),
    "words beside a plugin that say nothing": (
        "plugins:\n- who:\n  on_error: ignore\n  timeout: soon\n  circuit: {failures: 0, pause: 0, pauze: 1}\n",
        [
            "4:13: 'ignore' is not one of fail, skip, deny",
            "5:12: expected a duration such as 30s, 10m or 1h30m, got 'soon'",
            "6:23: expected int >= 1",
            "6:36: unknown word 'pauze'; did you mean 'pause'?",
        ],
    ),
    "times that are none": (
        "plugins:\n- who:\n  timeout: 0\n- knobs:\n  circuit: {pause: 0s}\n",
        ["3:3: `timeout` must be longer than 0", "6:12: `pause` must be longer than 0"],
    ),
    "conditions that say nothing": (
        "plugins:\n- who\n- knobs:\n  when: {}\n- knobs:\n  id: b\n  when: claude\n- knobs:\n  id: c\n  when:\n"
        "    modle: a\n    kind: [main, tittle]\n    operation: generat\n    header: {x-a: true}\n    model: []\n"
        "    not: {team: 5, kin: main}\n",
        [
            "5:9: name at least one condition, such as `model: small-*`",
            "8:9: expected mapping or null, got str",
            "12:5: unknown word 'modle'; did you mean 'model'?",
            "13:18: 'tittle' is not one of main, title, topic, warmup, command, suggestion, classifier, search,"
            " compaction, auxiliary; did you mean 'title'?",
            "14:16: 'generat' is not one of generate, count_tokens, list_models; did you mean 'generate'?",
            "15:19: expected a text, or a list of texts; quote what is read as something else",
            "16:12: expected a text, or a list of texts; quote what is read as something else",
            "17:17: expected a text, or a list of texts; quote what is read as something else",
            "17:20: unknown word 'kin'; did you mean 'kind'?",
        ],
    ),
    "words of the step among the options": (
        "plugins:\n- who\n- meter\n- knobs: {ttl: 1m, timeout: 5s, sise: 1}\n"
        "teams:\n  a: {meter: {when: {model: a}}}\n",
        [
            "5:20: 'timeout' is no option: it stands beside the plugin's name, for all teams alike",
            "5:33: unknown option 'sise'; did you mean 'size'?",
            "7:15: 'when' is no option: it stands beside the plugin's name, for all teams alike",
        ],
    ),
    "a plugin twice": (
        "plugins:\n- knobs\n- knobs: {ttl: 1m}\n",
        ["4:3: step 'knobs' is there twice; give one of them an `id`"],
    ),
    "options of wrong types": (
        "plugins:\n- knobs:\n    ttl: soon\n    to: 5\n    mode: exat\n    size: 0\n    rates: {a: x}\n"
        "    password: 5\n    sise: 2\n",
        [
            "4:10: expected a duration such as 30s, 10m or 1h30m, got 'soon'",
            "5:9: expected `upstream`, `upstream/model`, or a list of them",
            "6:11: 'exat' is not one of exact, loose; did you mean 'exact'?",
            "7:11: expected int >= 1",
            "8:16: expected int, got str",
            "9:15: expected text, got int; quote it",
            "10:5: unknown option 'sise'; did you mean 'size'?",
        ],
    ),
    "options that a plugin refuses": (
        "plugins:\n- knobs: {size: 101}\n",
        ["3:10: size must not exceed 100"],
    ),
    "upstreams that are not there": (
        "plugins:\n- knobs: {to: man/model-a}\n- knobs: {to: [main, elsewhere]}\n  id: more\n",
        [
            "3:15: unknown upstream 'man'; did you mean 'main'?",
            "4:15: unknown upstream 'elsewhere'; there are: main",
        ],
    ),
    "teams that are none": (
        "plugins: [who, knobs]\nteams: [a]\n",
        ["3:8: teams must be a mapping of team names to changes"],
    ),
    "changes that are none": (
        "plugins: [who, knobs]\nteams:\n  a: 5\n  b: {knobs: 5}\n  c:\n",
        [
            "4:6: a team is a mapping of step ids to true, false or options",
            "5:14: a team sets a step to true, false or a mapping of options",
        ],
    ),
    "changes of steps that are not there": (
        "plugins:\n- who\n- knobs: {}\n  id: limits\nteams:\n  a: {limit: false}\n  b: {knobs: true}\n",
        ["7:7: unknown step 'limit'; did you mean 'limits'?", "8:7: unknown step 'knobs'; there are: limits, who"],
    ),
    "wrong options of a team": (
        "plugins: [who, knobs]\nteams:\n  a: {knobs: {size: 0, tttl: 1}}\n  b: {knobs: {to: man}}\n",
        [
            "4:21: expected int >= 1",
            "4:24: unknown option 'tttl'; did you mean 'ttl'?",
            "5:19: unknown upstream 'man'; did you mean 'main'?",
        ],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, name: str) -> None:
    text, problems = MISTAKES[name]
    assert mistakes(tmp_path, {"pipelines/a.yaml": MAIN + text}) == [f"pipelines/a.yaml:{p}" for p in problems]


def test_one_mistake_is_not_told_twice_in_other_words(tmp_path: Path) -> None:
    """A step or an upstream with a mistake is still there for those that need it."""
    text = (
        "upstreams: {main: {protocol: anthropic, url: 5}}\n"
        "plugins:\n- who: {nme: bob}\n- meter\n- knobs: {to: main}\nteams: {a: {who: true, meter: false}}\n"
    )
    assert mistakes(tmp_path, {"pipelines/a.yaml": text}) == [
        "pipelines/a.yaml:1:46: expected str, got int; put it in quotes",
        "pipelines/a.yaml:3:9: unknown option 'nme'; did you mean 'name'?",
    ]


def test_a_plugin_that_breaks_over_its_options_is_located(tmp_path: Path) -> None:
    (problem,) = mistakes(tmp_path, {"pipelines/a.yaml": "plugins:\n- knobs: {size: 99}\n"})
    line = next(number for number, text in enumerate(KNOBS.splitlines(), 1) if "red balloons" in text)
    message = f"Knobs cannot take its options: KeyError: 'red balloons' (plugins/knobs.py:{line})"
    assert problem == f"pipelines/a.yaml:2:3: {message}"


# ---------------------------------------------------------------- what is right


def test_a_pipeline_is_read(tmp_path: Path) -> None:
    text = (
        "plugins:\n- who\n- knobs: {ttl: 1h30m, to: [main/m, main], password: '${PW}'}\n  id: cache\n  enabled: false\n"
        "teams:\n  a: {cache: {mode: loose}}\n  b: {cache: true}\n  c:\n"
    )
    (pipeline,) = compiled_in(tmp_path, {"pipelines/night-shift.yaml": MAIN + text}, {"PW": "hunter2-hunter2"})
    assert (pipeline.name, pipeline.path) == ("night-shift", "/night-shift")
    cache = pipeline.file.steps[1]
    assert (cache.id, cache.name, cache.enabled) == ("cache", "knobs", False)
    assert cache.origin == f"{tmp_path}/plugins/knobs.py"
    assert "ttl=5400.0" in repr(cache.instance)
    assert "hunter2" not in repr(cache.instance)
    assert set(pipeline.course.team_plans) == {"a", "b", "c"}


def test_a_team_changes_only_the_options_it_names(tmp_path: Path) -> None:
    text = "plugins:\n- who\n- knobs: {ttl: 5, mode: loose}\nteams: {a: {knobs: {ttl: 7}}, b: {knobs: false}}\n"
    (pipeline,) = compiled_in(tmp_path, {"pipelines/a.yaml": text})
    everyone, a, b = pipeline.course.plan, *pipeline.course.team_plans.values()
    assert "ttl=5.0, to=None, mode='loose'" in repr(everyone.steps[1].plugin)
    assert "ttl=7.0, to=None, mode='loose'" in repr(a.steps[1].plugin)
    assert a.steps[0].plugin is everyone.steps[0].plugin
    assert [step.id for step in b.steps] == ["who"]
