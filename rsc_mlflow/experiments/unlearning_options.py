"""The options of the unlearning commands: what all methods share, and the options of a method's config.

All take the training options, which say whose model is to be unlearned: ``auto`` is the source model's own
value where a model URI is given, and the default of ``train_classifier`` where the source is looked up.
An option of the method's own hides a training option of the same name (``epochs`` of incremental
retraining is when *it* stops); the source's is then spelled ``source_…``.
"""

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import MachineOptions, TrainOptions
from rsc_mlflow.fields import boolean, choice, help_of, integer, option, option_fields, text, word_or
from rsc_mlflow.unlearning.base import METHODS, MethodConfig, SourceTraining, UnlearningMethod
from rsc_mlflow.unlearning.choices import AUTO

REFERENCE_METHOD = "exact_retraining"
"""The method whose result all others are compared with."""
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
"""The training options that decide a source model and its scores."""


def inherited(name: str) -> Any:
    """The training option of this name, with ``auto`` as its default."""
    metadata = _TRAINING[name].metadata

    def help_text() -> str:
        text = help_of(_TRAINING[name])
        return f"Of the source model: {text[0].lower()}{text[1:]}"

    return option(help_text, word_or((AUTO,), metadata["parse"]), AUTO, declared=False)


@dataclass(frozen=True, kw_only=True)
class UnlearnOptions(MachineOptions):
    """What all unlearning methods take."""

    METHOD: ClassVar[UnlearningMethod]
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
    precision: str = inherited("precision")
    score_threshold: float | str = inherited("score_threshold")

    def check(self) -> None:
        """A source must be named one way or the other."""
        if self.model_uri == AUTO and self.dataset == AUTO:
            raise InputError("neither model_uri nor dataset is given; name a model, or the dataset it was trained on")

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
        return {field.name: getattr(self, field.name) for field in option_fields(self.METHOD.config)}

    def config(self, source: SourceTraining) -> MethodConfig:
        """The method's config for this source.

        Raises:
            InputError: the method cannot start from this source, e.g. it has been trained for that long already.
        """
        return self.METHOD.config.of(self.own(), source)

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result; see :meth:`TrainOptions.identity`."""
        method: dict[str, Any] = {"kind": "unlearn", "method": self.METHOD.name}
        own = self.own()
        method |= {f"unlearn.{name}": own[name] for name in self.METHOD.config.deciding(own)}
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


@cache
def method_options(name: str) -> type[UnlearnOptions]:
    """The options class of a method's command: :class:`UnlearnOptions` and the options of the method's config.

    Raises:
        InputError: there is no such method, or one of its options has the name of one that all commands have.
    """
    method = METHODS[name]
    own = option_fields(method.config)
    shared = {field.name for field in option_fields(UnlearnOptions)} - set(RECIPE) | {"method"}
    if taken := [field.name for field in own if field.name in shared or field.name.startswith("source_")]:
        raise InputError(
            f"the option {taken[0]!r} of the unlearning method {name!r} has a name that all unlearning commands use; "
            "choose another one"
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
    """The options of the retrained reference of the model that these training options make."""
    return method_options(REFERENCE_METHOD).of_recipe(training)
