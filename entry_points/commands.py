"""All commands by name: registered experiments, including those of plug-ins, and further commands."""

from pathlib import Path

import click

from entry_points import housekeeping, report, sweep
from entry_points.command import OptionsCommand, command_of
from entry_points.generic import GENERIC, Generic
from entry_points.local import LOCAL, Local
from rsc_mlflow.errors import InputError, unknown_name
from rsc_mlflow.experiments.registry import ExperimentSpec, all_experiments, by_name

_FOLDER = Path(__file__).parent


def commands() -> dict[str, ExperimentSpec | Generic | Local]:
    """Return all commands by name."""
    service = (sweep.EXPERIMENT, report.EXPERIMENT)
    return by_name([*LOCAL, housekeeping.DISK, *all_experiments().values(), *GENERIC, *service])


def programs(*, generic: bool = True) -> list[str]:
    """Return the commands with a module in this folder, in the order of the MLproject file.

    Args:
        generic: whether to include the commands that take ``method``.
    """
    known = {name: one for name, one in commands().items() if generic or not isinstance(one, Generic)}
    return [name for name in known if (_FOLDER / f"{name}.py").is_file()]


def find_command(name: str) -> click.Command:
    """Return the click command of this name.

    Raises:
        InputError: the name is unknown.
    """
    known = commands()
    if name not in known:
        raise InputError(unknown_name("command", name, known))
    found = known[name]
    return command_of(found) if isinstance(found, ExperimentSpec) else found.command()


def entry_point(name: str) -> OptionsCommand:
    """Return the command of an experiment, with its options class."""
    found = find_command(name)
    assert isinstance(found, OptionsCommand)
    return found
