"""The registry of experiments, used by sweeps, the command line, the MLproject file and the dashboards."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.declarations import INSPECTIONS, MEMBERSHIP, TOUR, TRAINING, unlearning
from rsc_mlflow.experiments.spec import ExperimentSpec, Start, cannot_be_swept
from rsc_mlflow.fields import Options
from rsc_mlflow.unlearning.base import METHODS, methods

__all__ = [
    "ExperimentSpec",
    "Start",
    "all_experiments",
    "attack_names",
    "by_name",
    "experiments",
    "method_names",
    "method_title",
    "of_kind",
    "options_of",
]


class Named(Protocol):
    """An object with a name."""

    @property
    def name(self) -> str:
        """The name."""


T = TypeVar("T", bound=Named)


def all_experiments() -> dict[str, ExperimentSpec]:
    """Return all experiments by name, including those of plug-ins."""
    return by_name([TOUR, TRAINING, MEMBERSHIP, *map(unlearning, methods()), *INSPECTIONS])


def by_name(experiments: Iterable[T]) -> dict[str, T]:
    """Return the experiments by name.

    Raises:
        InputError: two have the same name, because a plug-in's method has the name of a command.
    """
    found: dict[str, T] = {}
    for one in experiments:
        if one.name in found:
            raise InputError(f"A plug-in registers {one.name!r}, which is the name of a command. Choose another name.")
        found[one.name] = one
    return found


def experiments() -> dict[str, ExperimentSpec]:
    """Return the experiments that a sweep can run, by name."""
    return {name: one for name, one in all_experiments().items() if one.run is not cannot_be_swept}


def options_of(name: str) -> type[Options] | None:
    """Return the options class of an experiment that a sweep can run; None if there is no such experiment."""
    found = experiments().get(name)
    return found.options_class if found else None


def of_kind(kind: str) -> list[ExperimentSpec]:
    """Return the experiments of one kind, in the order of lists and figures."""
    return [one for one in all_experiments().values() if one.kind == kind]


def method_names() -> list[str]:
    """Return the names of unlearning methods, in the order of lists and figures."""
    return [method.name for method in methods()]


def method_title(name: str) -> str:
    """Return the title of an unlearning method for figures, or its name if it is not registered here."""
    return METHODS[name].title if name in METHODS else name


def attack_names() -> list[str]:
    """Return the names of membership attacks, in the order of lists and figures."""
    from rsc_mlflow.attacks import base  # imports NumPy

    return base.attack_names()
