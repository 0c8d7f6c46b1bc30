"""The model that is to be unlearned: found, pulled, and checked against what its run says it was trained on."""

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
    """A pulled model with its training recipe and its training set, cut into what to forget and what to keep."""

    pulled: PulledModel
    prepared: PreparedTraining
    module: nn.Module
    forget: Examples
    retain: Examples

    @property
    def options(self) -> TrainOptions:
        """The recipe it was trained with."""
        return self.prepared.job.options

    @property
    def training(self) -> TrainingConfig:
        """What the trainer was given."""
        return self.prepared.config

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.prepared.dataset.classes

    @property
    def epoch(self) -> int:
        """Epochs of training that the model has seen."""
        return whole(self.pulled.params.get("epochs")) or self.options.epochs

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Where an exact continuation starts; for an unlearned model, which keeps none, from its weights alone.

        Raises:
            InputError: the run's checkpoints are damaged, or the newest is not of the model's epoch.
        """
        with tempdirs.tempdir() as folder:
            found = newest_checkpoint_of(connect(), self.pulled.run_id, folder, Checkpoint.load)
        if found is None:
            return Checkpoint.of_weights(self.pulled.state_dict, self.prepared.config, self.epoch)
        if found.epoch != self.epoch:
            raise InputError(
                f"the newest checkpoint of run {self.pulled.run_id} is of epoch {found.epoch}, its model of "
                f"{self.epoch}; accepted: a run whose last checkpoint was kept"
            )
        return found


def find_source(options: UnlearnOptions) -> SourceModel:
    """Pull the model, rebuild its training set, and check one against the other.

    Raises:
        InputError: no such model or run; training options that contradict the run; a clean model; a forget
            set that the dataset's name does not give; weights that do not fit.
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
        f"no finished training run with {wanted}; train it first (train_classifier), name another one's options "
        f"or its model_uri; finished runs of {options.dataset}: {_finished(options.dataset)}"
    )


def _finished(dataset: str) -> str:
    """The newest finished training runs of a dataset, in words."""
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
    """The training options that the source's run stored; what was given besides must come to the same training."""
    stored: dict[str, Any] = {name: getattr(options, name) for name in _MACHINE}
    for name in RECIPE:
        # A run that unlearned keeps the recipe of *its* source where its own options took the name.
        value = pulled.params.get(f"source_{name}", pulled.params.get(name, _ADDED_LATER.get(name)))
        if value is None:
            raise InputError(f"run {pulled.run_id} has no parameter {name!r}: it is no training run of this project")
        stored[name] = value
    recipe, given = TrainOptions(**stored), options.recipe()
    theirs, ours = recipe.identity(), replace(recipe, **given).identity()
    for name in given:
        if theirs.get(name) != ours.get(name):
            trained, asked = theirs.get(name, stored[name]), ours.get(name, given[name])
            raise InputError(
                f"{options.model_uri} was trained with {name}={trained}, but {name}={asked} was given; "
                "leave the option out or choose another model"
            )
    return recipe


_ADDED_LATER = {"precision": "float32"}
"""Training options that older runs do not have, and what they were trained with."""
_MACHINE = ("device", "data_root", "score_every", "register")


def _check_forget_set(pulled: PulledModel, prepared: PreparedTraining) -> None:
    """The indices that the source's run wrote down are those that its dataset's name gives here."""
    record = pulled.spurious_record
    stored, given = list(pulled.spurious_indices()), prepared.dataset.spurious_indices.tolist()
    if stored != given or record.get("dataset") != str(prepared.dataset.name):
        raise InputError(
            f"the forget set of run {pulled.run_id} is not that of {prepared.dataset.name}: its "
            f"{schema.SPURIOUS_INDICES} lists {len(stored)} examples of {record.get('dataset')} "
            f"({_some(stored)}), the name gives {len(given)} ({_some(given)}); "
            "accepted: a model trained on these very data"
        )
    if (seed := record.get("pattern_seed")) != prepared.dataset.pattern_seed:
        raise InputError(
            f"run {pulled.run_id} drew its pattern with seed {seed}, not "
            f"{prepared.dataset.pattern_seed}; give pattern_seed={seed}"
        )


def _some(indices: list[int]) -> str:
    return ", ".join(map(str, indices[:3])) + (", …" if len(indices) > 3 else "")
