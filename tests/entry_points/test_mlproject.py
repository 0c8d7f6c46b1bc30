"""MLproject, option classes and conda.yaml say the same."""

import re
import tomllib
from pathlib import Path

import click
import yaml

from entry_points.commands import find_command, programs
from entry_points.mlproject import project

ROOT = Path(__file__).parents[2]


def test_the_file_is_what_the_option_classes_make() -> None:
    assert (ROOT / "MLproject").read_text() == project(), "run: python -m entry_points.mlproject > MLproject"


def test_every_program_in_the_folder_is_an_entry_point() -> None:
    not_programs = {"__init__", "__main__", "command", "commands", "generic", "housekeeping", "local", "mlproject"}
    files = {path.stem for path in (ROOT / "entry_points").glob("*.py")}
    assert files - not_programs == set(programs())


def test_no_default_is_empty_and_every_option_has_help() -> None:
    parsed = yaml.safe_load(project())["entry_points"]
    for name in programs():
        for option, declared in parsed[name]["parameters"].items():
            assert declared == "string" or declared["default"] != "", (name, option)
        options = [one for one in find_command(name).params if isinstance(one, click.Option)]
        assert all(len(one.help or "") > 15 for one in options)


def test_mlflow_finds_a_parameter_for_every_option_of_every_command() -> None:
    parsed = yaml.safe_load(project())["entry_points"]
    for name in programs():
        placeholders = set(re.findall(r"\{(\w+)\}", parsed[name]["command"]))
        assert placeholders == set(parsed[name]["parameters"]), name


def test_conda_installs_the_project_itself() -> None:
    dependencies = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    assert {"pip": ["-e ."]} in dependencies
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"
