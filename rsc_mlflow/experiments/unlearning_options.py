"""Options of the unlearning commands: options shared by all methods, and the options of a method's config.

The training options describe the source model.  ``auto`` is the source model's own value if a model URI is given, and
the default of ``train_classifier`` otherwise.  If a method has an option of the same name (``epochs`` of incremental
retraining is the epoch at which the method stops), the training option is called ``source_…``.
"""

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import MachineOptions, TrainOptions
from rsc_mlflow.fields import boolean, choice, help_of, integer, option, option_fields, text_or_auto, word_or
from rsc_mlflow.unlearning.base import METHODS, MethodConfig, SourceTraining, UnlearningMethod
from rsc_mlflow.unlearning.choices import AUTO

REFERENCE_METHOD = "exact_retraining"
"""The method whose result is the reference of all others."""
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
    "precision",
    "score_threshold",
)
"""The training options that affect a source model and its scores."""


def inherited(name: str) -> Any:
    """Return the training option of this name, with ``auto`` as its default."""
    metadata = _TRAINING[name].metadata

    def help_text() -> str:
        first, *_ = help_of(_TRAINING[name]).split(".  ")
        return f"Source model: {first[0].lower()}{first[1:].removesuffix('.')}."

    return option(help_text, word_or((AUTO,), metadata["parse"]), AUTO, declared=False)


@dataclass(frozen=True, kw_only=True)
class UnlearnOptions(MachineOptions):
    """Options shared by all unlearning methods."""

    METHOD: ClassVar[UnlearningMethod]
    HIDDEN: ClassVar[tuple[str, ...]] = ()
    """Training options that have the name of an option of the method."""

    model_uri: str = option(
        "Model to unlearn: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model; auto: the "
        "model of the newest finished training run with the source model's options.",
        text_or_auto(),
        AUTO,
    )
    reference: str = option(
        "Exact retraining to compare with: find (if there is a finished run), train (run it if there is none) or none.",
        choice("find", "train", "none"),
        "find",
    )
    score_every: int = option("Epochs between spurious scores; 0: only after the last epoch.", integer(0), 1)
    register: bool | str = option(
        "Register the model: true, false, or auto (only if this account may register models in the store).  A model "
        "whose test accuracy collapsed (verdict destroyed) is never registered.",
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
    precision: str = inherited("precision")
    score_threshold: float | str = inherited("score_threshold")

    def check(self) -> None:
        """Check that the source model is specified."""
        if self.model_uri == AUTO and self.dataset == AUTO:
            raise InputError("Options 'model_uri' and 'dataset' are missing. Specify the model or its dataset.")

    def recipe(self) -> dict[str, Any]:
        """Return the training options that are not ``auto``, by the names they have in training."""
        values = {name: getattr(self, f"source_{name}" if name in self.HIDDEN else name) for name in RECIPE}
        return {name: value for name, value in values.items() if value != AUTO}

    def training(self) -> TrainOptions:
        """Return the options of the training run to look up; ``auto`` is the default of ``train_classifier``."""
        machine = {"device": self.device, "data_root": self.data_root, "register": self.register}
        return TrainOptions.from_mapping(machine | self.recipe())

    def own(self) -> dict[str, Any]:
        """Return the options of the method."""
        return {field.name: getattr(self, field.name) for field in option_fields(self.METHOD.config)}

    def config(self, source: SourceTraining) -> MethodConfig:
        """Return the method's config for this source model.

        Raises:
            InputError: the method cannot be applied, e.g. the source model was trained for too many epochs.
        """
        return self.METHOD.config.of(self.own(), source)

    def identity(self) -> dict[str, Any]:
        """Return all options that affect the result; see :meth:`TrainOptions.identity`."""
        method: dict[str, Any] = {"kind": "unlearn", "method": self.METHOD.name}
        own = self.own()
        method |= {f"unlearn.{name}": own[name] for name in self.METHOD.config.deciding(own)}
        if self.model_uri == AUTO:
            return self.training().identity() | method
        return {**method, "model_uri": self.model_uri, **{f"recipe.{k}": v for k, v in self.recipe().items()}}

    @classmethod
    def of_recipe(cls, training: TrainOptions) -> Self:
        """Return the options of the method, with its defaults, for a model with these training options."""
        names = {name: f"source_{name}" if name in cls.HIDDEN else name for name in RECIPE}
        values = training.as_params()
        machine = {"device": training.device, "data_root": training.data_root, "register": training.register}
        return cls.from_mapping(machine | {names[name]: values[name] for name in RECIPE})


@cache
def method_options(name: str) -> type[UnlearnOptions]:
    """Return the options class of a method's command: :class:`UnlearnOptions` and the options of the method's config.

    Raises:
        InputError: the method is unknown, or one of its options has the name of an option of all methods.
    """
    method = METHODS[name]
    own = option_fields(method.config)
    shared = {field.name for field in option_fields(UnlearnOptions)} - set(RECIPE) | {"method"}
    if taken := [field.name for field in own if field.name in shared or field.name.startswith("source_")]:
        raise InputError(
            f"The option {taken[0]!r} of the unlearning method {name!r} has the name of an option of all methods. "
            "Choose another name."
        )
    hidden = tuple(field.name for field in own if field.name in RECIPE)
    fields = [(field.name, Any, dataclasses.field(default=field.default, metadata=field.metadata)) for field in own]
    fields += [(f"source_{field}", Any, inherited(field)) for field in hidden]
    content = {"METHOD": method, "HIDDEN": hidden, "__doc__": f"Options of ``{name}``."}
    title = "".join(map(str.capitalize, name.split("_"))) + "Options"
    made: type[UnlearnOptions] = dataclasses.make_dataclass(
        title, fields, bases=(UnlearnOptions,), namespace=content, frozen=True, kw_only=True
    )
    return made


def retrained_reference(training: TrainOptions) -> UnlearnOptions:
    """Return the options of the retrained reference of a model with these training options."""
    return method_options(REFERENCE_METHOD).of_recipe(training)
