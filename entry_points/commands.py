"""Every command by name: the experiments of the registry, plug-ins included, and what only the service has."""

from pathlib import Path

import click

from entry_points import housekeeping, report, sweep
from entry_points.command import OptionsCommand, command_of
from entry_points.generic import GENERIC, Generic
from entry_points.local import LOCAL, Local
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.registry import ExperimentSpec, all_experiments, by_name

_FOLDER = Path(__file__).parent


def commands() -> dict[str, ExperimentSpec | Generic | Local]:
    """Name → what it runs."""
    service = (sweep.EXPERIMENT, report.EXPERIMENT)
    return by_name([*LOCAL, housekeeping.DISK, *all_experiments().values(), *GENERIC, *service])


def programs(*, generic: bool = True) -> list[str]:
    """The commands that have a file in this folder, which the MLproject lists in this order; with or without those
    that take ``method``."""
    known = {name: one for name, one in commands().items() if generic or not isinstance(one, Generic)}
    return [name for name in known if (_FOLDER / f"{name}.py").is_file()]


def find_command(name: str) -> click.Command:
    """The click command of this name.

    Raises:
        InputError: there is none.
    """
    known = commands()
    if name not in known:
        raise InputError(f"unknown command {name!r}; accepted: {', '.join(known)}")
    found = known[name]
    return command_of(found) if isinstance(found, ExperimentSpec) else found.command()


def entry_point(name: str) -> OptionsCommand:
    """The command of an experiment, with its options class."""
    found = find_command(name)
    assert isinstance(found, OptionsCommand)
    return found
