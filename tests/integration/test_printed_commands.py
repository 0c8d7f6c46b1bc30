"""The commands that README, the docs and the pages' hints print are executed as printed, at a small size.

What MLflow's runner would start is made by MLflow's own code from the printed line and then called in this process;
``test_inspection_commands.py`` and ``test_main.py`` start programs.
"""

import re
import shlex
from pathlib import Path

import click
import mlflow.cli
import pytest

from entry_points.command import status
from entry_points.commands import commands, find_command
from rsc_mlflow.tracking.experiments import chosen_experiment
from tests.printed_commands import OURS, ROOT, called, fenced, ours, small

pytestmark = pytest.mark.integration
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = sorted(path for name in ("entry_points", "dashboards", "rsc_mlflow") for path in (ROOT / name).rglob("*.py"))
HINTS = sorted((ROOT / "dashboards" / "pages").glob("*.py"))
EXECUTED_ELSEWHERE = ("extending.md",)  # by test_extending.py, which makes the page's files first
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))  # by test_tutorials.py, with their other blocks
RUN_BEFORE = {"membership.md": ["python -m entry_points.train_classifier --dataset memfashionv20-1-0-0"]}
"""What a page says was run before its commands."""
OTHERS = {"sudo", "pip", "export", "curl", "pg_dump", "pg_restore", "createdb", "rsync", "ray", "srun", "sleep"}
OTHERS |= {"mkdir", "env", "."}
"""Programs that are not ours; where pages need them to do something for us, a test of this folder starts them."""
MAKE = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def execute(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands of this project in its folder."""
    monkeypatch.chdir(ROOT)
    for command in lines:
        name, arguments = called(command)
        arguments = small(name, arguments)
        if name == "report":
            arguments += ["--output", "none"]
        assert status(find_command(name), arguments) == 0, command


def printed(page: Path) -> list[str]:
    """The commands of this project in the page's shell blocks; ``rsc`` is ``python -m entry_points``."""
    lines = [re.sub(r"^rsc (?!serve)", "python -m entry_points ", command) for command in fenced(page)]
    return [command[found.start() :] for command in lines if (found := OURS.search(command))]


WITH_COMMANDS = [page for page in PAGES if page.name not in EXECUTED_ELSEWHERE and page not in TUTORIALS]
WITH_COMMANDS = [page for page in WITH_COMMANDS if printed(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
@pytest.mark.usefixtures("sqlite_store")
def test_the_commands_of_a_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute([*RUN_BEFORE.get(page.name, ()), *printed(page)], monkeypatch)


@pytest.mark.usefixtures("sqlite_store")
def test_the_hints_of_the_dashboards(monkeypatch: pytest.MonkeyPatch) -> None:
    """They start from an empty store, where the page Overview says how to begin."""
    hints = sorted({command for file in HINTS for command in ours(file)}, key=lambda one: "train_classifier" not in one)
    assert len(hints) > 5
    execute(hints, monkeypatch)


@pytest.mark.parametrize("file", [*PAGES, *PROGRAMS], ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_in_prose_and_docstrings_can_be_typed(file: Path) -> None:
    """MLflow makes no environment for them, and there is such a command with such options."""
    for command in ours(file):
        assert not command.startswith("mlflow run") or "--env-manager=local" in command, command
        if re.search(r"NAME|GRID|[{…>]|^python -m entry_points(\.mlproject)?$", command):
            continue  # stands for many
        name, arguments = called(command.replace("--filter", "--filter none"))
        if file.name not in EXECUTED_ELSEWHERE:
            values = [*arguments, "value"] if len(arguments) % 2 else arguments  # its last value was quoted
            with find_command(name).make_context(name, values):
                pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_other_commands_exist(page: Path) -> None:
    for command in fenced(page):
        program, *words = shlex.split(command)
        if program == "make":
            assert words[0] in MAKE, command
        elif program == "mlflow":
            check_options(mlflow.cli.cli, [word for word in words if word != "…"])
        elif program == "rsc":
            assert words[0] in commands(), command
        elif program == "python" and words[:2] == ["-m", "dashboards"]:
            from dashboards.__main__ import main

            check_options(main, words[2:])
        elif program == "python" and words[:2] == ["-m", "results"]:
            from results.__main__ import cli

            check_options(cli, words[2:])
        elif "=" not in program and not OURS.search(command):
            assert program in OTHERS or page.name in EXECUTED_ELSEWHERE, f"execute it in a test, or list it: {command}"


def test_one_variable_names_the_experiment_of_mlflow_run_and_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "our-study")
    with mlflow.cli.run.make_context("mlflow run", ["."]) as context:
        assert context.params["experiment_name"] == "our-study"
    assert chosen_experiment() == "our-study"


def check_options(command: click.Command, words: list[str]) -> None:
    """Read the options of a command without running it; those of the command it names, if it is a group."""
    while isinstance(command, click.Group):
        name, *words = words
        context = click.Context(command)
        found = command.get_command(context, name)
        assert found is not None, name
        command = found
    with command.make_context(command.name, words):
        pass
