"""Find and pull the source model of unlearning, and check it against the parameters of its run."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from torch import nn

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scores import pulled_module
from rsc_mlflow.experiments.training import PreparedTraining, TrainingJob, prepare
from rsc_mlflow.experiments.unlearning_options import RECIPE, UnlearnOptions
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.checkpoints import newest_checkpoint_of
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import PulledModel, pull, pull_finished, run_uri
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.store import connect
from rsc_mlflow.tracking.values import whole
from rsc_mlflow.training import Checkpoint, TrainingConfig
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.choices import AUTO

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class SourceModel:
    """A pulled model with its training options and its training set, split into forget set and retain set."""

    pulled: PulledModel
    prepared: PreparedTraining
    module: nn.Module
    forget: Examples
    retain: Examples

    @property
    def options(self) -> TrainOptions:
        """The training options of the model."""
        return self.prepared.job.options

    @property
    def training(self) -> TrainingConfig:
        """The options that determined the result of training."""
        return self.prepared.config

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.prepared.dataset.classes

    @property
    def epoch(self) -> int:
        """Number of epochs that the model was trained for."""
        return whole(self.pulled.params.get("epochs")) or self.options.epochs

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint from which training can be continued exactly; for unlearned models, the weights only.

        Raises:
            InputError: the run's checkpoints are damaged, or the newest one is not of the model's epoch.
        """
        with tempdirs.tempdir() as folder:
            found = newest_checkpoint_of(connect(), self.pulled.run_id, folder, Checkpoint.load)
        if found is None:
            return Checkpoint.of_weights(self.pulled.state_dict, self.prepared.config, self.epoch)
        if found.epoch != self.epoch:
            raise InputError(
                f"The newest checkpoint of run {self.pulled.run_id} is of epoch {found.epoch}, but its model is of "
                f"epoch {self.epoch}. Use a run whose last checkpoint was kept."
            )
        return found


def find_source(options: UnlearnOptions) -> SourceModel:
    """Pull the model, load its training set, and check that they match.

    Raises:
        InputError: the model or run does not exist, given training options differ from the run's, the model is clean,
            its spurious examples differ from those of the dataset name, or its weights do not fit.
    """
    pulled = _look_up(options) if options.model_uri == AUTO else pull(options.model_uri)
    recipe = _recipe_of(pulled, options)
    prepared = prepare(TrainingJob(recipe), without_spurious=True)
    dataset = prepared.dataset
    _check_forget_set(pulled, prepared)
    kept = prepared.data.kept
    assert kept is not None
    retain = Examples(dataset.train.images, dataset.train.labels, kept)
    forget = Examples.of(dataset.spurious_images, dataset.train.labels[dataset.spurious_indices])
    module = pulled_module(pulled, dataset).to(prepared.device).eval()
    return SourceModel(pulled, prepared, module, forget, retain)


def _look_up(options: UnlearnOptions) -> PulledModel:
    training = options.training()
    found = pull_finished(fingerprint(training.identity()), kind="train")
    if found is not None:
        return found
    wanted = ", ".join(f"{name}={value}" for name, value in training.as_params().items() if name in RECIPE)
    raise InputError(
        f"No finished training run with {wanted}. Train the model first (train_classifier), or specify other options "
        f"or model_uri. Finished runs of {options.dataset}: {_finished(options.dataset)}."
    )


def _finished(dataset: str) -> str:
    """Return a list of the newest finished training runs of a dataset, as text."""
    conditions = [
        condition("tags", schema.KIND, "train"),
        condition("attributes", "status", "FINISHED"),
        condition("params", "dataset", dataset),
    ]
    shown = []
    for run in islice(iterate_runs(connect(), conditions, page=_SHOWN), _SHOWN):
        params = run.data.params
        words = " ".join(f"{name}={params.get(name)}" for name in ("model", "optimizer", "learning_rate", "epochs"))
        shown.append(f"{run_uri(run.info.run_id)} ({words})")
    return "; ".join(shown) or "none"


def _recipe_of(pulled: PulledModel, options: UnlearnOptions) -> TrainOptions:
    """Return the training options stored by the source's run, after checking that given options do not differ."""
    stored: dict[str, Any] = {name: getattr(options, name) for name in _MACHINE}
    for name in RECIPE:
        # an unlearning run stores the option of its source model as source_… if the method has the same option
        value = pulled.params.get(f"source_{name}", pulled.params.get(name, _ADDED_LATER.get(name)))
        if value is None:
            raise InputError(f"Run {pulled.run_id} has no parameter {name!r}. Expected a training run of this project.")
        stored[name] = value
    recipe, given = TrainOptions(**stored), options.recipe()
    theirs, ours = recipe.identity(), replace(recipe, **given).identity()
    for name in given:
        if theirs.get(name) != ours.get(name):
            trained, asked = theirs.get(name, stored[name]), ours.get(name, given[name])
            raise InputError(
                f"{options.model_uri} was trained with {name}={trained}, but {name}={asked} was given. "
                "Omit the option or use another model."
            )
    return recipe


_ADDED_LATER = {"precision": "float32"}
"""Training options that older runs do not have, and what they were trained with."""
_MACHINE = ("device", "data_root", "score_every", "register")


def _check_forget_set(pulled: PulledModel, prepared: PreparedTraining) -> None:
    """Check that the spurious examples logged by the source's run are those of its dataset name."""
    record = pulled.spurious_record
    stored, given = list(pulled.spurious_indices()), prepared.dataset.spurious_indices.tolist()
    if stored != given or record.get("dataset") != str(prepared.dataset.name):
        raise InputError(
            f"The forget set of run {pulled.run_id} is not that of {prepared.dataset.name}: its "
            f"{schema.SPURIOUS_INDICES} contains {len(stored)} examples of {record.get('dataset')} "
            f"({_some(stored)}), but the dataset has {len(given)} ({_some(given)}). "
            "Use a model trained on the same data."
        )
    if (seed := record.get("pattern_seed")) != prepared.dataset.pattern_seed:
        raise InputError(
            f"Run {pulled.run_id} has pattern seed {seed}, not {prepared.dataset.pattern_seed}. Use "
            f"pattern_seed={seed}."
        )


def _some(indices: list[int]) -> str:
    return ", ".join(map(str, indices[:3])) + (", …" if len(indices) > 3 else "")
