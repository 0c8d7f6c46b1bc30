"""Check, before the first job of a sweep, that its models can be registered."""

from collections.abc import Iterable
from typing import Any

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import registrar
from rsc_mlflow.unlearning.choices import AUTO


def check_registration(options: Iterable[Any]) -> None:
    """Check the permission once per registered model; ``register=auto`` prints a note if it is missing.

    Jobs with a model URI are checked when they start, because the name of their registered model is not known before.

    Args:
        options: the options of the jobs.

    Raises:
        InputError: ``register`` is true for a model that this user cannot register.
    """
    training = [one for one in map(_training, options) if one is not None]
    names = {(one.register, one.dataset_name.family, one.model_name.architecture): one for one in training}
    for one in names.values():
        registrar(one)


def _training(options: Any) -> TrainOptions | None:
    """Return the training options of the job's model or source model, or None if it has a model URI."""
    if isinstance(options, TrainOptions):
        return options
    found: TrainOptions | None = options.training() if options.model_uri == AUTO else None
    return found
