"""Whether the models of a sweep may be registered, found out before its first job."""

from collections.abc import Iterable
from typing import Any

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import registrar
from rsc_mlflow.unlearning.choices import AUTO


def check_registration(options: Iterable[Any]) -> None:
    """Ask for the permission once per registered model; ``register=auto`` prints a note where there is none.

    Jobs that name their model by a URI are checked when they begin: the model says what theirs is registered as.

    Args:
        options: the options objects of the jobs.

    Raises:
        InputError: ``register`` is true for a model that this account may not register.
    """
    training = [one for one in map(_training, options) if one is not None]
    names = {(one.register, one.dataset_name.family, one.model_name.architecture): one for one in training}
    for one in names.values():
        registrar(one)


def _training(options: Any) -> TrainOptions | None:
    """The training whose models the job registers, or whose model it unlearns; None where a model URI names it."""
    if isinstance(options, TrainOptions):
        return options
    found: TrainOptions | None = options.training() if options.model_uri == AUTO else None
    return found
