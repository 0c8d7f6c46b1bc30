"""Options of the commands that inspect trained models: ``score_model``, ``visualize_weights``, ``occlusion``."""

from dataclasses import dataclass

from rsc_mlflow.experiments.options import DATASET, MODEL, SEED, DataOptions, MachineOptions
from rsc_mlflow.fields import integer, number, option, text, text_or_auto, word_or


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(MachineOptions):
    """Options of ``score_model``."""

    model_uri: str = option(
        "Model to score: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model.",
        text("a model URI such as models:/NAME@ALIAS"),
    )
    dataset: str = option("Dataset name with the pattern and target class to score, e.g. mnistv20-0-0-0.", DATASET)
    pattern_seed: int | str = option(
        "Seed of the noise of random patterns; auto: the dataset's seed.", word_or(("auto",), SEED), "auto"
    )
    score_threshold: float | str = option(
        "A test image counts in the spurious score if the pattern raises the target class's probability by more than "
        "this; auto: 1/classes.",
        word_or(("auto",), number(0, below=1)),
        "auto",
    )


@dataclass(frozen=True, kw_only=True)
class InspectOptions(DataOptions):
    """Options shared by commands that compare trained models."""

    model_uri: str = option(
        "Up to 8 models, separated by commas: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or "
        "runs:/RUN_ID/model; auto: the model of the newest finished training run that matches dataset and model.",
        text_or_auto(),
        "auto",
    )
    dataset: str = option(
        "Dataset that the model of model_uri=auto was trained on, or any.",
        word_or(("any",), DATASET),
        "any",
    )
    model: str = option(
        "Model name of the model of model_uri=auto, e.g. ce-tor-LargeMLP, or any.",
        word_or(("any",), MODEL),
        "any",
    )


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(InspectOptions):
    """Options of ``visualize_weights``."""

    compare_with: str = option(
        "Second model, if model_uri is a single one: a model URI, none, or auto (the source of an unlearned model, "
        "else the clean model with the same training options, if there is one).",
        text(),
        "auto",
    )


@dataclass(frozen=True, kw_only=True)
class OcclusionOptions(InspectOptions, MachineOptions):
    """Options of ``occlusion``."""

    examples: int = option("Number of training examples to remove pixels from.", integer(1), 500)
    steps: int = option(
        "Number of points of the curve: shares of removed pixels, evenly spaced from 0 to 1.", integer(2, 101), 51
    )
    random_seed: int = option("Seed of the choice of examples and of the order of removed pixels.", SEED, 0)
