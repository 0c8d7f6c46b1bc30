"""The options of the unlearning entry points.

All take the training options, which say whose model is to be unlearned: ``auto`` is the source model's own
value where a model URI is given, and the default of ``train_classifier`` where the source is looked up.
An option of the method's own may hide a training option of the same name (``epochs`` of incremental
retraining is when *it* stops); the source's is then spelled ``source_…``.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.fields import Parse, boolean, choice, integer, number, option, text, word_or
from rsc_mlflow.experiments.options import MachineOptions, TrainOptions
from rsc_mlflow.unlearning.choices import KINDS, OPTIMIZERS, SOLVERS

AUTO = "auto"
INHERITED = "inherited"
"""Marks options that stay out of the MLproject: ``mlflow run`` would store their ``auto`` as the run's parameter,
where the source's value belongs.  They are accepted all the same: it passes on what it does not know."""
_TRAINING = {field.name: field for field in dataclasses.fields(TrainOptions)}
RECIPE = (
    "dataset",
    "model",
    "epochs",
    "batch_size",
    "optimizer",
    "learning_rate",
    "momentum",
    "weight_decay",
    "grad_clip",
    "input_noise",
    "random_seed",
    "pattern_seed",
    "schedule",
    "score_threshold",
)
"""The training options that decide a source model and its scores."""


def inherited(name: str) -> Any:
    """The training option of this name, with ``auto`` as its default."""
    metadata = _TRAINING[name].metadata
    help_text = f"Of the source model: {metadata['help'][0].lower()}{metadata['help'][1:]}"
    return _undeclared(help_text, word_or((AUTO,), metadata["parse"]))


def _undeclared(help_text: str, parse: Parse) -> Any:
    return dataclasses.field(default=AUTO, metadata={"help": help_text, "parse": parse, INHERITED: True})


@dataclass(frozen=True, kw_only=True)
class UnlearnOptions(MachineOptions):
    """What all unlearning methods take."""

    METHOD: ClassVar[str]
    HIDDEN: ClassVar[tuple[str, ...]] = ()
    """Training options whose names are the method's own here."""

    model_uri: str = option(
        "Model to unlearn: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model; auto: the "
        "newest finished training run with these training options.",
        text(),
        AUTO,
    )
    reference: str = option(
        "Exact retraining to compare with: find (if it was run), train (run it first if not), none.",
        choice("find", "train", "none"),
        "find",
    )
    score_every: int = option("Epochs between spurious scores; 0: only at the end.", integer(0), 1)
    register: bool | str = option(
        "Register the model in the model registry: auto (where the store allows it), true (or refuse to start), false.",
        word_or(("auto",), boolean()),
        "auto",
    )
    dataset: str = inherited("dataset")
    model: str = inherited("model")
    epochs: int | str = inherited("epochs")
    batch_size: int | str = inherited("batch_size")
    optimizer: str = inherited("optimizer")
    learning_rate: float | str = inherited("learning_rate")
    momentum: float | str = inherited("momentum")
    weight_decay: float | str = inherited("weight_decay")
    grad_clip: float | str = inherited("grad_clip")
    input_noise: float | str = inherited("input_noise")
    random_seed: int | str = inherited("random_seed")
    pattern_seed: int | str = inherited("pattern_seed")
    schedule: str = inherited("schedule")
    score_threshold: float | str = inherited("score_threshold")

    def check(self) -> None:
        """A source must be named one way or the other."""
        if self.model_uri == AUTO and self.dataset == AUTO:
            raise InputError("neither model_uri nor dataset is given; name a model, or the data set it was trained on")

    def recipe(self) -> dict[str, Any]:
        """The training options that were given, by their training names; ``auto`` ones are left out."""
        values = {name: getattr(self, f"source_{name}" if name in self.HIDDEN else name) for name in RECIPE}
        return {name: value for name, value in values.items() if value != AUTO}

    def training(self) -> TrainOptions:
        """The options of the training run that is looked up, ``auto`` as in ``train_classifier``."""
        machine = {"device": self.device, "data_root": self.data_root, "register": self.register}
        return TrainOptions.from_mapping(machine | self.recipe())

    def own(self) -> dict[str, Any]:
        """The method's own options: those that decide what it does."""
        shared = {field.name for field in dataclasses.fields(UnlearnOptions)} - set(self.HIDDEN)
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in shared and not name.startswith("source_")}

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result; see :meth:`TrainOptions.identity`."""
        method: dict[str, Any] = {"kind": "unlearn", "method": self.METHOD}
        method |= {f"unlearn.{name}": value for name, value in self.own().items() if name in self.deciding()}
        if self.model_uri == AUTO:
            return self.training().identity() | method
        return {**method, "model_uri": self.model_uri, **{f"recipe.{k}": v for k, v in self.recipe().items()}}

    @classmethod
    def of_recipe(cls, training: TrainOptions) -> Self:
        """The method with its defaults on the model that these training options make."""
        names = {name: f"source_{name}" if name in cls.HIDDEN else name for name in RECIPE}
        values = training.as_params()
        machine = {"device": training.device, "data_root": training.data_root, "register": training.register}
        return cls.from_mapping(machine | {names[name]: values[name] for name in RECIPE})

    def deciding(self) -> set[str]:
        """Those of the own options that decide the result."""
        return set(self.own())


@dataclass(frozen=True, kw_only=True)
class ExactRetrainingOptions(UnlearnOptions):
    """Options of ``exact_retraining``: it has none of its own."""

    METHOD: ClassVar[str] = "exact_retraining"


@dataclass(frozen=True, kw_only=True)
class IncrementalRetrainingOptions(UnlearnOptions):
    """Options of ``incremental_retraining``."""

    METHOD: ClassVar[str] = "incremental_retraining"
    HIDDEN: ClassVar[tuple[str, ...]] = ("epochs", "learning_rate")

    epochs: int | str = option("Epoch to stop at, counted from the start of training.", integer(1, 1_000_000), 140)
    learning_rate: float | str = _undeclared(
        "Learning rate; auto: the one that the source's training ended with.",
        word_or((AUTO,), number(0, above=True)),
    )
    source_epochs: int | str = inherited("epochs")
    source_learning_rate: float | str = inherited("learning_rate")


@dataclass(frozen=True, kw_only=True)
class GroupInfluenceOptions(UnlearnOptions):
    """Options of ``group_influence``."""

    METHOD: ClassVar[str] = "group_influence"
    HIDDEN: ClassVar[tuple[str, ...]] = ("batch_size",)

    solver: str = option("How to solve (H + damping I) x = gradient: cg, lissa or ekfac.", choice(*SOLVERS), "cg")
    curvature: str = option("H: ggn (Gauss-Newton) or hessian.", choice(*KINDS), "ggn")
    damping: float = option("Multiple of the identity added to H.", number(0, above=True), 0.002)
    curvature_examples: int = option("Kept examples that H is the mean over; 0: all of them.", integer(0), 4000)
    tolerance: float = option("cg: relative residual to reach.", number(0, above=True, below=1), 1e-3)
    max_iterations: int = option("cg: most iterations.", integer(1), 200)
    recursion_depth: int = option("lissa: steps of the recursion.", integer(1), 1000)
    repeats: int = option("lissa: independent recursions that are averaged.", integer(1), 1)
    scale: float = option("lissa: divisor of H; 0: 1.5 times its largest eigenvalue on mini-batches.", number(0), 0.0)
    batch_size: int | str = option("lissa: examples a step.", integer(1), 128)
    influences: bool = option(
        "Also rank all training examples by their influence on a test example with the pattern.", boolean(), True
    )
    source_batch_size: int | str = inherited("batch_size")

    def deciding(self) -> set[str]:
        """Without the options of the other solvers and without the ranking, which changes no model."""
        of_solver = {
            "cg": {"tolerance", "max_iterations"},
            "lissa": {"recursion_depth", "repeats", "scale", "batch_size"},
            "ekfac": set(),
        }
        return {"solver", "curvature", "damping", "curvature_examples"} | of_solver[self.solver]


@dataclass(frozen=True, kw_only=True)
class FineTuningOptions(UnlearnOptions):
    """Options that relabel fine-tuning and gradient difference share."""

    unlearn_epochs: int = option("Passes over the kept examples.", integer(1, 1_000_000), 1)
    unlearn_learning_rate: float = option("Learning rate.", number(0, above=True), 0.0001)
    unlearn_optimizer: str = option("sgd (momentum 0.9) or adam.", choice(*OPTIMIZERS), "adam")
    unlearn_batch_size: int = option("Kept examples per step.", integer(1, 1_000_000), 128)
    forget_batch_size: int = option("Examples to forget per step, at most all of them.", integer(1, 1_000_000), 32)
    forget_weight: float = option(
        "Weight of the term of the forgotten; the rest is on the kept.", number(0, below=1), 0.5
    )
    retain_examples: int = option("Kept examples that an epoch visits; 0: all of them.", integer(0), 6000)


@dataclass(frozen=True, kw_only=True)
class RelabelFinetuningOptions(FineTuningOptions):
    """Options of ``relabel_finetuning``."""

    METHOD: ClassVar[str] = "relabel_finetuning"


@dataclass(frozen=True, kw_only=True)
class GradientDifferenceOptions(FineTuningOptions):
    """Options of ``gradient_difference``."""

    METHOD: ClassVar[str] = "gradient_difference"

    ceiling: float | str = option(
        "Loss in nats above which an example counts as forgotten; auto: ln(classes), 0: no ceiling.",
        word_or((AUTO,), number(0)),
        AUTO,
    )
