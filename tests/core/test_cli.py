"""The command line: what each command prints, where, and with which exit code."""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock import __version__
from penstock.cli import main
from penstock.testing import MakeProcess
from penstock.testing.gateway import clean_environment
from tests.core.places import MAIN, PLUGINS, write

TEAM = MAIN + (
    "plugins:\n- who\n- meter\n- knobs:\n  enabled: false\n- models: {routes: {'*': main}}\n- translation\n"
    "teams:\n  interns: {knobs: {ttl: 5}, meter: false}\n  evals:\n"
)
SOLO = (
    "path: /\nupstreams:\n  zai: {preset: zai}\n"
    "  main: {protocol: anthropic, url: 'http://127.0.0.1:9', key: '${KEY:-}'}\n"
    "plugins: [simulator, models: {routes: {model-a: main}}, translation]\n"
)


def run(root: Path, files: Mapping[str, str], *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """The result of a command on `root`/pipelines; paths below `root` are shown without it."""
    write(root, {**PLUGINS, **files})
    command, *rest = arguments
    result = CliRunner().invoke(main, [command, str(root / "pipelines"), *rest], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def below(root: Path, text: str) -> str:
    return text.replace(f"{root}/", "")


# ---------------------------------------------------------------- check


def test_check_says_what_is_there(tmp_path: Path) -> None:
    result = run(tmp_path, {"pipelines/team.yaml": TEAM, "pipelines/solo.yaml": SOLO}, "check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert below(tmp_path, result.stdout).splitlines() == [
        "pipelines/solo.yaml: ok, 3 steps, 0 teams, at /",
        "pipelines/team.yaml: ok, 5 steps, 2 teams, at /team",
    ]


def test_check_shows_every_mistake_with_its_line_and_a_caret(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": "plugins:\n- knobs: {tttl: 1}\n- meter\n", "pipelines/b.yaml": "plugins: [knob]\n"}
    result = run(tmp_path, files, "check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert below(tmp_path, result.stderr).splitlines() == [
        "pipelines/a.yaml:2:11: unknown option 'tttl'; did you mean 'ttl'?",
        "  - knobs: {tttl: 1}",
        "            ^",
        "pipelines/b.yaml:1:11: unknown plugin 'knob'; did you mean 'knobs'?",
        "  plugins: [knob]",
        "            ^",
        "2 mistakes; nothing was started",
    ]


def test_check_of_one_mistake_counts_one(tmp_path: Path) -> None:
    result = run(tmp_path, {"pipelines/a.yaml": "plugins: [knob]\n"}, "check")
    assert result.stderr.endswith("1 mistake; nothing was started\n")


def test_check_takes_variables_from_the_environment(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": "plugins: [knobs: {ttl: '${TTL}'}]\n"}
    assert run(tmp_path, files, "check").exit_code == 1
    assert run(tmp_path, files, "check", env={"TTL": "5m"}).exit_code == 0
    wrong = run(tmp_path, files, "check", env={"TTL": "a-secret-value"})
    assert "expected a duration such as 30s, 10m or 1h30m, got '${TTL}'" in wrong.stderr
    assert "a-secret-value" not in wrong.output


def test_check_looks_into_the_folder_pipelines_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {**PLUGINS, "pipelines/a.yaml": "plugins: [knobs]\n"})
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["check"]).stdout == "pipelines/a.yaml: ok, 1 steps, 0 teams, at /a\n"
    nowhere = CliRunner().invoke(main, ["check", "nowhere"])
    assert (nowhere.exit_code, nowhere.stderr.splitlines()[0]) == (1, "nowhere:1:1: no such file or folder")


LIMITED = "plugins:\n- who\n- limits: {requests_per_day: 5}\nteams:\n  a: {limits: {requests_per_day: 9}}\n"


def test_check_warns_of_limits_that_each_worker_counts_apart(tmp_path: Path) -> None:
    files = {"pipelines/a.yaml": LIMITED, "pipelines/gateway.yaml": "workers: 4\n"}
    result = run(tmp_path, files, "check")
    assert (result.exit_code, below(tmp_path, result.stdout)) == (0, "pipelines/a.yaml: ok, 2 steps, 1 teams, at /a\n")
    assert below(tmp_path, result.stderr).splitlines() == [
        "pipelines/a.yaml:3:3: warning: 'limits' counts in each of 4 workers apart, which have nothing but their own "
        "memory: give them a store in gateway.yaml, such as `store: sqlite:state.db`",
        "  - limits: {requests_per_day: 5}",
        "    ^",
    ]


@pytest.mark.parametrize("shared", ["workers: 1\n", "workers: 4\nstore: sqlite:state.db\n"])
def test_check_does_not_warn_of_what_is_counted_together(tmp_path: Path, shared: str) -> None:
    files = {"pipelines/a.yaml": LIMITED, "pipelines/gateway.yaml": shared}
    assert run(tmp_path, files, "check").stderr == ""


# ---------------------------------------------------------------- explain


def test_explain_shows_the_order_per_hook_and_team(tmp_path: Path) -> None:
    result = run(tmp_path, {"pipelines/team.yaml": TEAM}, "explain")
    assert result.exit_code == 0
    lines = below(tmp_path, result.stdout).splitlines()
    assert lines[:3] == [
        "pipeline team (pipelines/team.yaml) at /team",
        "everyone else: who > meter > (knobs off) > models > translation",
        "  startup      translation",
    ]
    assert lines.count("  on_request   who, meter, models, translation") == 2
    assert "team interns: who > (meter off) > knobs > models > translation" in lines
    assert "  on_request   who, models, translation" in lines


def test_explain_of_one_team(tmp_path: Path) -> None:
    result = run(tmp_path, {"pipelines/team.yaml": TEAM}, "explain", "--team", "interns")
    assert [line for line in result.stdout.splitlines() if line.startswith(("everyone", "team"))] == [
        "team interns: who > (meter off) > knobs > models > translation"
    ]


def test_explain_shows_who_hears_which_event(tmp_path: Path) -> None:
    hears = (
        "from penstock import Plugin, Text, Usage, hookimpl\nclass Hears(Plugin):\n    @hookimpl\n"
        "    def on_event(self, event: Usage | Text) -> None: ...\n    @hookimpl\n    def on_complete(self): ...\n"
    )
    files = {"plugins/hears.py": hears, "pipelines/a.yaml": "plugins:\n- hears\n- hears:\n  id: below\n"}
    assert run(tmp_path, files, "explain").stdout.splitlines()[1:] == [
        "everyone: hears > below",
        "  on_complete  below, hears",
        "  on_event     Text       below, hears",
        "  on_event     Usage      below, hears",
        "  if broken    fail: hears, below",
    ]


def test_explain_shows_the_words_beside_a_step(tmp_path: Path) -> None:
    text = (
        "plugins:\n- logging: {}\n  when: {model: 'small-*', not: {header: {x-test: ['1', '2']}}}\n"
        "- who: {}\n  on_error: deny\n  circuit: {pause: 1m}\n- translation: {}\n  on_error: fail\n"
    )
    lines = run(tmp_path, {"pipelines/a.yaml": text}, "explain").stdout.splitlines()
    assert lines[lines.index("  if broken    fail: translation") :] == [
        "  if broken    fail: translation",
        "  if broken    skip: logging",
        "  if broken    deny: who",
        "  when         logging: model small-*, not header x-test 1 or 2",
        "  circuit      who: 5 failures in a row, then a pause of 60 s",
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--model", "x"), "--model is for --time"),
        (("--time", "--key", "x", "--team", "interns"), "give --team or --key"),
    ],
    ids=["model", "team and key"],
)
def test_explain_refuses_options_that_do_not_go_together(
    tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    result = run(tmp_path, {"pipelines/team.yaml": TEAM}, "explain", *options)
    assert (result.exit_code, complaint in result.stderr) == (2, True)


def test_explain_of_nobody_and_of_nonsense(tmp_path: Path) -> None:
    unknown = run(tmp_path, {"pipelines/team.yaml": TEAM}, "explain", "--team", "nobody")
    assert unknown.exit_code == 2
    assert "no pipeline has a team 'nobody'" in unknown.stderr
    broken = run(tmp_path, {"pipelines/team.yaml": "plugins: 5\n"}, "explain")
    assert broken.exit_code == 1
    assert "team.yaml:1:10: a pipeline needs `plugins`" in broken.stderr


# ---------------------------------------------------------------- plugins and schema

ODD = "from penstock import Plugin\nclass Odd(Plugin):\n    needed: str\n    names: list[str] = []\n"


def test_plugins_lists_what_can_be_named_and_what_is_broken(tmp_path: Path) -> None:
    files = {"plugins/broken.py": "x =\n", "plugins/odd.py": ODD, "pipelines/a.yaml": ""}
    result = run(tmp_path, files, "plugins")
    assert result.exit_code == 0
    lines = below(tmp_path, result.stdout).splitlines()
    assert "broken  cannot be used: plugins/broken.py cannot be loaded: plugins/broken.py:1: invalid syntax" in lines
    assert "knobs  (plugins/knobs.py)  Has options of all kinds." in lines
    assert lines[lines.index("odd  (plugins/odd.py)  ") :][:3] == [
        "odd  (plugins/odd.py)  ",
        "    needed: str (required)",
        "    names: list[str] = []",
    ]
    assert any(line.startswith(f"models  (penstock {__version__})  ") for line in lines)


def test_the_schema_knows_installed_and_local_plugins(tmp_path: Path) -> None:
    result = run(tmp_path, {"plugins/broken.py": "x =\n", "pipelines/a.yaml": ""}, "schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert schema["required"] == ["plugins"]
    assert list(schema["properties"]) == ["path", "upstreams", "plugins", "teams"]
    names, *steps = schema["properties"]["plugins"]["items"]["anyOf"]
    assert {"knobs", "models", "translation"} <= set(names["enum"])
    assert "broken" not in names["enum"]
    assert [step["required"] for step in steps] == [[name] for name in names["enum"]]
    knobs = schema["$defs"]["Knobs"]
    assert (knobs["description"], knobs["properties"]["mode"]["enum"]) == (
        "Has options of all kinds.",
        ["exact", "loose"],
    )
    assert "key" in schema["$defs"]["UpstreamFile"]["properties"]
    words = steps[0]["properties"]
    assert list(words)[1:] == ["id", "enabled", "when", "on_error", "timeout", "circuit"]
    assert words["on_error"]["anyOf"][0]["enum"] == ["deny", "fail", "skip"]
    assert set(schema["$defs"]["When"]["properties"]) == {"header", "model", "team", "kind", "operation", "not"}


# ---------------------------------------------------------------- the program itself


def penstock(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, to its end."""
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=30, check=False)


def test_it_runs_as_a_module_and_says_its_version() -> None:
    done = penstock("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"penstock, version {__version__}\n", "")


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert all(f"\n  {name} " in result.stdout for name in ("serve", "check", "explain", "plugins", "schema"))


# ---------------------------------------------------------------- serve


async def test_the_banner_says_all_that_a_newcomer_needs(gateway_process: MakeProcess) -> None:
    gate = await gateway_process(SOLO, env={"KEY": "a-very-secret-key"})
    await gate.says("claude\n")
    lines = [line.rstrip() for line in gate.output.splitlines()]
    assert lines[:4] == [
        f"penstock serves at {gate.url}",
        "",
        f"pipeline test at {gate.url}",
        "  providers   main (key in the file)",
    ]
    assert lines[4].startswith("  models      model-a, sim/echo, ")
    assert f"export ANTHROPIC_BASE_URL={gate.url}" in gate.output
    assert "a-very-secret-key" not in gate.output


async def test_without_any_key_it_says_how_to_get_beyond_the_simulator(gateway_process: MakeProcess) -> None:
    gate = await gateway_process(SOLO.replace("'${KEY:-}'", "''"))
    await gate.says("claude\n")
    assert "providers   none: answers are SIMULATED" in gate.output
    assert "ZAI_API_KEY or Z_AI_API_KEY" in gate.output


SHY = """
\"\"\"Says something.\"\"\"
import logging
from penstock import Plugin, Principal, hookimpl

class Shy(Plugin):
    \"\"\"Lets everybody in, and says so.\"\"\"
    provides = frozenset({"principal"})

    @hookimpl
    def startup(self) -> None:
        self.log.info("hello from a plugin")
        self.log.debug("too much")
        logging.getLogger("somebody.else").info("not ours")

    @hookimpl
    def on_request(self, exchange) -> None:
        exchange.identify(Principal(user="ann"))
"""


async def test_a_plugin_is_heard_and_a_key_is_asked_for_where_one_is_needed(gateway_process: MakeProcess) -> None:
    guarded = SOLO.replace("[simulator", "[shy, simulator")
    gate = await gateway_process(guarded, env={"KEY": "k"}, files={"../plugins/shy.py": SHY})
    await gate.says("claude\n")
    assert "INFO penstock.test.shy: hello from a plugin" in gate.output
    assert "too much" not in gate.output
    assert "not ours" not in gate.output
    assert "models      for holders of a key" in gate.output
    assert "export ANTHROPIC_AUTH_TOKEN='<your key>'" in gate.output


def refusal(root: Path, *arguments: str, text: str = SOLO, shared: str = "") -> str:
    """What `serve` says before it ends with exit code 1, having started nothing."""
    write(root, {**PLUGINS, "pipelines/a.yaml": text, "pipelines/gateway.yaml": shared})
    done = penstock("serve", str(root / "pipelines"), *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return below(root, done.stderr)


def test_an_open_pipeline_is_not_served_to_the_world(tmp_path: Path) -> None:
    said = refusal(tmp_path, "--bind", "0.0.0.0:0").splitlines()
    assert said[0].startswith("pipelines/a.yaml:5:10: nobody has to say who they are here")
    assert "add the step 'auth', or bind to 127.0.0.1" in said[0]
    assert said[-1] == "1 mistake; nothing was started"


def test_nor_by_several_workers(tmp_path: Path) -> None:
    said = refusal(tmp_path, shared="bind: 0.0.0.0:0\nworkers: 2\n")
    assert said.count("nobody has to say who they are here") == 1


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(tmp_path, "--bind", address)
    assert said.startswith(f"penstock: cannot listen on {address}, another process does already")


def test_an_address_that_is_none(tmp_path: Path) -> None:
    said = refusal(tmp_path, shared="bind: everywhere\n")
    assert said.startswith("pipelines/gateway.yaml:1:7: 'everywhere' is not an address to listen on: write host:port")
    said = refusal(tmp_path, "--bind", "everywhere")
    assert said.startswith("penstock: 'everywhere' is not an address to listen on: write host:port such as")


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    said = refusal(tmp_path, shared="tls: {cert: cert.pem, key: key.pem}\n")
    assert said.startswith("penstock: cannot read pipelines/cert.pem, needed for TLS: No such file or directory")


def test_a_step_that_does_not_start(tmp_path: Path) -> None:
    text = "plugins:\n- auth: {keys: keys.yaml}\n"
    assert refusal(tmp_path, "--bind", "127.0.0.1:0", text=text).splitlines() == [
        "pipelines/keys.yaml:1:1: cannot be read: No such file or directory",
        "1 mistake; nothing was started",
    ]
