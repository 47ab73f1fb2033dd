"""`penstock new`: names, what is written and what is never overwritten, and what it says."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import penstock
from penstock.cli import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["new", *arguments], prog_name="penstock")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refused(*arguments: str) -> str:
    """Why a command is refused, in one line."""
    result = new(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.partition("Error: ")[2].split())


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- plugins


def test_a_plugin_is_a_folder_where_the_gateway_looks(here: Path) -> None:
    result = new("plugin", "acme-guard")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "made plugins/acme_guard/__init__.py",
        "made plugins/acme_guard/test_acme_guard.py",
        "made plugins/acme_guard/README.md",
        "made pytest.ini",
        "next:",
        "  python -m pytest plugins/acme_guard",
        "  add the step to a pipeline:  - acme_guard",
    ]
    assert files(here) == {line.removeprefix("made ") for line in result.output.splitlines()[:4]}
    (here / "pipelines").mkdir()
    listed = CliRunner().invoke(main, ["plugins", "pipelines"]).output
    assert re.search(r"^acme_guard  \(.+/plugins/acme_guard\)  Refuse requests", listed, re.MULTILINE)


def test_a_package_has_what_it_takes_to_be_published(here: Path) -> None:
    result = new("plugin", "acme-guard", "--package")
    assert result.exit_code == 0
    assert files(here / "acme-guard") == {
        "pyproject.toml",
        "README.md",
        "acme_guard/__init__.py",
        "acme_guard/py.typed",
        "tests/test_acme_guard.py",
    }
    assert result.output.splitlines()[-4:] == [
        "next:",
        "  cd acme-guard",
        "  python -m pytest",
        "  python -m hatchling build",
    ]
    assert f"penstock>={penstock.__version__}" in (here / "acme-guard/pyproject.toml").read_text()


@pytest.mark.parametrize("form", [[], ["--package"]])
def test_nothing_of_the_template_is_left_under_another_name(here: Path, form: list[str]) -> None:
    assert new("plugin", "dlp_2", *form, "--folder", "some/where").exit_code == 0
    names = files(here)
    assert names
    for name in names:
        text = name + (here / name).read_text()
        assert not re.search(r"acme|\bguard|0\.0\.0", text, re.IGNORECASE), name
    (init,) = here.rglob("__init__.py")
    assert "class Dlp2(Plugin)" in init.read_text()


def test_there_is_another_folder_for_who_wants_it(here: Path) -> None:
    assert (
        "made other/plugins/acme_guard/__init__.py" in new("plugin", "acme-guard", "--folder", "other/plugins").output
    )
    assert (here / "other/pytest.ini").is_file()
    assert "  cd libraries/acme-log" in new("plugin", "acme-log", "--package", "--folder", "libraries").output


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("AcmeGuard", "take lower-case words joined by '-', such as acme-guard"),
        ("acme guard!", "such as acme-guard"),
        ("2nd", "such as acme-guard"),
        ("../x", "such as x"),
        ("-x-", "No such option"),
        ("", "such as acme-guard"),
        ("a" * 41, f"such as {'a' * 40}"),
        ("json", "'json' is a word of Python's own: add one of yours, such as acme-json"),
        ("import", "is a word of Python's own"),
        ("plugin", "'Plugin' is a name of Penstock's own: add a word of yours, such as acme-plugin"),
        ("click", "'click' is an installed Python package already ("),
        ("penstock-cache", "'penstock_cache' is an installed Python package already ("),
        ("cache", "there is a plugin 'cache' already: `penstock plugins` shows where it comes from"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--package"]])
def test_a_name_that_will_not_do_is_refused_with_one_that_will(
    here: Path, name: str, why: str, form: list[str]
) -> None:
    assert why in refused("plugin", name, *form)
    assert files(here) == set()


@pytest.mark.parametrize("file", ["plugins/acme_guard.py", "plugins/acme_guard/__init__.py"])
def test_a_local_plugin_of_that_name_is_left_alone(here: Path, file: str) -> None:
    (here / file).parent.mkdir(parents=True)
    (here / file).write_text("")
    assert "there is a plugin 'acme_guard' already" in refused("plugin", "acme-guard")
    assert files(here) == {file}


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["plugin", "acme-guard"], "plugins/acme_guard/README.md"),
        (["plugin", "acme-guard", "--package"], "acme-guard/pyproject.toml"),
    ],
)
def test_nothing_is_overwritten(here: Path, arguments: list[str], file: str) -> None:
    (here / file).parent.mkdir(parents=True)
    (here / file).write_text("mine")
    result = new(*arguments)
    assert (result.exit_code, result.output) == (1, f"Error: {file} is there already; nothing was written\n")
    assert files(here) == {file}


def test_a_folder_that_cannot_be_made_is_named(here: Path) -> None:
    (here / "plugins").write_text("a file")
    assert "'plugins' is a file" in refused("plugin", "acme-guard", "--folder", "plugins")
    result = new("plugin", "acme-guard")
    assert (result.exit_code, result.output) == (1, "Error: plugins/acme_guard: Not a directory\n")


def test_a_schema_that_cannot_be_written_is_named(here: Path) -> None:
    (here / "pipelines/pipeline.schema.json").mkdir(parents=True)
    result = new("pipeline", "first")
    assert (result.exit_code, result.stderr) == (1, "Error: pipelines/pipeline.schema.json: Is a directory\n")


@pytest.mark.parametrize(
    ("file", "text", "hint"),
    [
        ("pytest.ini", "[pytest]\nasyncio_mode = auto\n", False),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['tests']\n", True),
        ("setup.cfg", "[tool:pytest]\n", True),
    ],
)
def test_settings_of_pytest_that_are_there_stay(here: Path, file: str, text: str, hint: bool) -> None:
    (here / file).write_text(text)
    result = new("plugin", "acme-guard")
    assert (f"{here / file} needs asyncio_mode = auto for the tests" in result.output) is hint
    assert files(here) & {"pytest.ini", "pyproject.toml", "setup.cfg"} == {file}


def test_settings_of_pytest_may_be_those_of_the_repository(here: Path) -> None:
    (here / ".git").mkdir()
    (here / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    new("plugin", "acme-guard", "--folder", "gateway/plugins")
    assert files(here) & {"pytest.ini", "gateway/pytest.ini"} == {"pytest.ini"}


# ---------------------------------------------------------------- pipelines


def test_a_pipeline_comes_with_the_schema_for_editors(here: Path) -> None:
    result = new("pipeline", "first")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "made pipelines/first.yaml",
        "made pipelines/pipeline.schema.json",
        "next:",
        "  penstock check pipelines/first.yaml",
        "  penstock serve pipelines/first.yaml",
    ]
    first, *_ = (here / "pipelines/first.yaml").read_text().splitlines()
    assert first == "# yaml-language-server: $schema=pipeline.schema.json"
    assert '"simulator"' in (here / "pipelines/pipeline.schema.json").read_text()


def test_the_schema_knows_a_plugin_that_is_made_later(here: Path) -> None:
    new("pipeline", "first")
    assert "updated pipelines/pipeline.schema.json" in new("plugin", "acme-guard").output
    assert '"acme_guard"' in (here / "pipelines/pipeline.schema.json").read_text()


def test_several_pipelines_stand_side_by_side(here: Path) -> None:
    said = [new("pipeline", name).output for name in ("first", "team-a", "3")]
    assert [("made" if "made pipelines/pipeline.schema" in text else "updated") for text in said] == [
        "made",
        "updated",
        "updated",
    ]
    checked = CliRunner().invoke(main, ["check", "pipelines"])
    assert checked.output.splitlines() == [
        "pipelines/3.yaml: ok, 4 steps, 0 teams, at /3",
        "pipelines/first.yaml: ok, 4 steps, 0 teams, at /",
        "pipelines/team-a.yaml: ok, 4 steps, 0 teams, at /team-a",
    ]


def test_what_the_comments_of_a_pipeline_show_is_right(here: Path) -> None:
    new("plugin", "acme-guard")
    new("pipeline", "first")
    file = here / "pipelines/first.yaml"
    text = file.read_text().replace("{preset: ...}", "{preset: ollama}")
    text = re.sub(r"^( *)# (?=- acme|upstreams:|  main:|teams:|  interns:|    \w+: )", r"\1", text, flags=re.MULTILINE)
    text = text.replace("plugins:\n", "plugins:\n  - auth: {keys: keys.yaml}\n")
    file.write_text(text)
    assert (
        CliRunner().invoke(main, ["check", "pipelines"]).output == "pipelines/first.yaml: ok, 6 steps, 1 teams, at /\n"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gateway", "gateway.yaml holds what all pipelines share: take another name for a pipeline"),
        ("First", "'First' is no name for a pipeline: take lower-case words joined by '-', such as first"),
        ("a/b", "such as a-b"),
        ("there", "pipelines/there.yml is there already"),
    ],
)
def test_a_pipeline_that_cannot_be_made_is_refused(here: Path, name: str, why: str) -> None:
    (here / "pipelines").mkdir()
    (here / "pipelines/there.yml").write_text("mine")
    assert why in refused("pipeline", name)
    assert files(here) == {"pipelines/there.yml"}
