"""Training options, shared by all experiments that train models."""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rsc_mlflow.architectures import ARCHITECTURES, BUILTIN
from rsc_mlflow.config import PRECISIONS, TrainingConfig
from rsc_mlflow.errors import invalid_value
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.fields import (
    Options,
    Parse,
    boolean,
    choice,
    integer,
    number,
    option,
    parsed,
    text,
    word_or,
)
from rsc_mlflow.names import AUGMENTATIONS, LOSSES, MAX_SEED, DatasetName, ModelName, device_name
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.roots import use_root

FORMAT = 1
"""Version of results.  Incremented when a code change affects results, so that old runs get other fingerprints."""


def result_format(dataset: DatasetName, model: ModelName) -> int:
    """Return the version of results for a dataset and model: 2 if only their results changed, else ``FORMAT``.

    ``CNN002`` used to have random convolution biases, and runs with two target classes used to log the first one's
    score as ``spurious/score``.
    """
    return 2 if model.architecture == "CNN002" or len(dataset.targets) == 2 else FORMAT


SEED = integer(0, MAX_SEED)
DATA_ROOT = Parse(lambda value: use_root(text().convert(value)), text().accepted)
DATASET = parsed(DatasetName.parse, "a dataset name such as mnist or mnistv20-3-0-0")
MODEL = parsed(ModelName.parse, "a model name such as ce-tor-LargeMLP")
DEVICE = parsed(device_name, "auto, cpu, cuda or cuda:INDEX")


def _dataset_help() -> str:
    return (
        "Name of the dataset, e.g. mnistv20-3-0-0.  Forms: FAMILY (clean), FAMILYPATTERN-COUNT-TARGET-SEED and "
        "twoclassFAMILYPATTERN-COUNT-TARGET1-TARGET2-SEED, where COUNT is the number of spurious examples per target "
        "class.  The prefix mem, as in memmnistv20-3-0-0, splits the data for membership inference.  "
        f"Families: {', '.join(FAMILIES)}.  Patterns: {', '.join(PATTERNS)}."
    )


def _model_help() -> str:
    of_plugins = ", ".join(ARCHITECTURES.of_plugins())
    return (
        "Name of the model, e.g. ce-tor-LargeMLP.  Form: [AUGMENTATION-]LOSS-tor-ARCHITECTURE.  "
        f"Losses: {', '.join(LOSSES)}.  Augmentations: {', '.join(AUGMENTATIONS)}.  "
        f"Architectures: {', '.join(BUILTIN)}.{f'  Of plug-ins: {of_plugins}.' if of_plugins else ''}"
    )


@lru_cache(maxsize=1024)
def _with_seeds(options: "TrainOptions", seeds: int) -> tuple["TrainOptions", ...]:
    """Return the options with training seeds 0 to ``seeds`` - 1; cached, because many runs share clean baselines."""
    return tuple(dataclasses.replace(options, random_seed=seed) for seed in range(seeds))


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """The folder with datasets; it does not affect results."""

    data_root: str = option(
        "Folder with datasets and your own images, searched before RSC_DATA_ROOT and the user's cache folder; auto: "
        "only these two.",
        DATA_ROOT,
        "auto",
    )


@dataclass(frozen=True, kw_only=True)
class MachineOptions(DataOptions):
    """Folder with datasets and device; they do not affect results."""

    device: str = option("Device: cpu, cuda or cuda:INDEX; auto: cuda if there is a GPU, else cpu.", DEVICE, "auto")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(MachineOptions):
    """Options of ``train_classifier`` and of other experiments that train models."""

    dataset: str = option(_dataset_help, DATASET)
    model: str = option(_model_help, MODEL, "ce-tor-LargeMLP")
    epochs: int = option("Number of epochs.", integer(1, 1_000_000), 70)
    batch_size: int = option("Training examples per optimizer step.", integer(1, 1_000_000), 128)
    optimizer: str = option(
        "Optimizer, one of sgd, adam, adagrad and rms (RMSprop).", choice("sgd", "adam", "adagrad", "rms"), "sgd"
    )
    learning_rate: float = option("Initial learning rate.", number(0, above=True), 0.01)
    momentum: float = option("Momentum of sgd and rms; adam and adagrad do not use it.", number(0, below=1), 0.9)
    weight_decay: float = option("Weight decay, the coefficient of the L2 penalty.", number(0), 0.0)
    grad_clip: float = option("Clip each gradient entry to this absolute value; 0: no clipping.", number(0), 0.0)
    input_noise: float = option("Standard deviation of Gaussian noise added to training images.", number(0), 0.0)
    random_seed: int = option("Seed of initial weights, batches, augmentation, noise and dropout.", SEED, 0)
    pattern_seed: int | str = option(
        "Seed of the noise of random patterns; auto: the dataset's seed, as in the paper's code.",
        word_or(("auto",), SEED),
        "auto",
    )
    checkpoint_every: int = option("Epochs between checkpoints; 0: only after the last epoch.", integer(0), 10)
    keep_checkpoints: int | str = option(
        "Number of checkpoints to keep before the newest one, or all.",
        word_or(("all",), integer(1)),
        2,
    )
    score_every: int = option("Epochs between spurious scores; 0: only after the last epoch.", integer(0), 1)
    schedule: str = option(
        "Learning-rate schedule, steps (multiply by 0.1 at the paper's milestones) or none (constant).",
        choice("steps", "none"),
        "steps",
    )
    precision: str = option(
        "Precision of matrix products and convolutions, float32 or, on a GPU, tf32 or bf16.",
        choice(*PRECISIONS),
        "float32",
    )
    score_threshold: float | str = option(
        "A test image counts in the spurious score if the pattern raises the target class's probability by more than "
        "this; auto: 1/classes.",
        word_or(("auto",), number(0, below=1)),
        "auto",
    )
    register: bool | str = option(
        "Register the model: true, false, or auto (only if this account may register models in the store).",
        word_or(("auto",), boolean()),
        "auto",
    )
    clean_seeds: int = option(
        "Number of clean models, with training seeds 0, 1, …, that a sweep trains to compare the score with.",
        integer(0, 1000),
        10,
    )
    resume_run_id: str = option(
        "Id of an interrupted run to resume from its newest checkpoint; none: start a new run.", text(), "none"
    )

    def check(self) -> None:
        """Check that the CPU, if chosen, supports the precision."""
        if self.device == "cpu" and self.precision != "float32":
            raise invalid_value("precision", self.precision, "float32 with device=cpu, or a CUDA device")

    @property
    def dataset_name(self) -> DatasetName:
        """The parsed dataset name."""
        name: DatasetName = self.parsed("dataset")
        return name

    @property
    def model_name(self) -> ModelName:
        """The parsed model name."""
        name: ModelName = self.parsed("model")
        return name

    @property
    def run_name(self) -> str:
        """Name of the run in lists."""
        return f"{self.dataset} {self.model_name.architecture} {self.optimizer} seed {self.random_seed}"

    @property
    def resolved_pattern_seed(self) -> int:
        """Seed of the pattern's noise, with ``auto`` resolved."""
        return self.dataset_name.seed if isinstance(self.pattern_seed, str) else self.pattern_seed

    @property
    def resolved_threshold(self) -> float:
        """Score threshold, with ``auto`` resolved to 1/classes."""
        return 1 / self.dataset_name.classes if isinstance(self.score_threshold, str) else self.score_threshold

    def config(self) -> TrainingConfig:
        """Return the options that determine the result of training."""
        names = {field.name for field in dataclasses.fields(TrainingConfig)} - {"model"}
        return TrainingConfig(model=self.model_name, **{name: getattr(self, name) for name in names})

    def identity(self) -> dict[str, Any]:
        """Return all options that affect the result, in canonical form; their hash is the fingerprint.

        Options that do not affect weights or final scores, such as the device or the checkpoint interval, are not part
        of it.  Momentum is 0 for optimizers without momentum.  The default precision
        is omitted, so that earlier runs keep their fingerprints.
        """
        identity: dict[str, Any] = {
            "format": result_format(self.dataset_name, self.model_name),
            "kind": "train",
            "method": "train_classifier",
            "dataset": self.dataset,
            "model": self.model,
            "score_threshold": self.resolved_threshold,
        }
        for name in ("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay", "grad_clip"):
            identity[name] = getattr(self, name)
        for name in ("input_noise", "random_seed", "schedule"):
            identity[name] = getattr(self, name)
        if self.optimizer in ("adam", "adagrad"):
            identity["momentum"] = 0.0
        identity["pattern_seed"] = self.resolved_pattern_seed if self.dataset_name.pattern else None
        if self.precision != "float32":
            identity["precision"] = self.precision
        return identity | self._outside_digests()

    def _outside_digests(self) -> dict[str, str]:
        """Return digests of a family and pattern that are not built in."""
        name = self.dataset_name
        if FAMILIES.is_builtin(name.family) and (name.pattern is None or PATTERNS.is_builtin(name.pattern)):
            return {}
        from rsc_mlflow.data.content import outside_digests

        return outside_digests(name, self.data_root, self.resolved_pattern_seed)

    def clean_baselines(self) -> list["TrainOptions"]:
        """Return options of the same training on the clean dataset, with training seeds 0 to ``clean_seeds`` - 1.

        The list is empty if the dataset itself is clean.
        """
        if self.dataset_name.pattern is None:
            return []
        return list(_with_seeds(dataclasses.replace(self.for_clean(), random_seed=0), self.clean_seeds))

    def for_clean(self) -> "TrainOptions":
        """Return options of the same training on the clean dataset, with the same training seed."""
        return dataclasses.replace(
            self, dataset=str(self.dataset_name.clean()), pattern_seed="auto", resume_run_id="none"
        )
