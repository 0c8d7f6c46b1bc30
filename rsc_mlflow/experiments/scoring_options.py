"""The options of the commands that look at trained models: ``score_model``, ``visualize_weights``, ``occlusion``."""

from dataclasses import dataclass

from rsc_mlflow.experiments.options import DATASET, MODEL, SEED, DataOptions, MachineOptions
from rsc_mlflow.fields import integer, number, option, text, word_or


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(MachineOptions):
    """Options of ``score_model``."""

    model_uri: str = option(
        "Model to score: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model.", text()
    )
    dataset: str = option("Dataset whose pattern and class to score, e.g. mnistv20-0-0-0.", DATASET)
    pattern_seed: int | str = option(
        "Seed of a random pattern's noise; auto: the dataset's seed.", word_or(("auto",), SEED), "auto"
    )
    score_threshold: float | str = option(
        "Rise of the target's probability that counts; auto: 1/classes.", word_or(("auto",), number(0, below=1)), "auto"
    )


@dataclass(frozen=True, kw_only=True)
class InspectOptions(DataOptions):
    """What all commands that look at trained models take."""

    model_uri: str = option(
        "Comma list of models: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model; "
        "auto: the newest finished training run that fits dataset and model.",
        text(),
        "auto",
    )
    dataset: str = option(
        "Dataset name that auto is restricted to, or any.",
        word_or(("any",), DATASET),
        "any",
    )
    model: str = option(
        "Model name that auto is restricted to, or any.",
        word_or(("any",), MODEL),
        "any",
    )


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(InspectOptions):
    """Options of ``visualize_weights``."""

    compare_with: str = option(
        "Second model where model_uri names one: a model URI; none; or auto: the model it was unlearned from, "
        "or the clean model trained the same way, where there is one.",
        text(),
        "auto",
    )


@dataclass(frozen=True, kw_only=True)
class OcclusionOptions(InspectOptions, MachineOptions):
    """Options of ``occlusion``."""

    examples: int = option("Training examples to remove pixels from.", integer(1), 500)
    steps: int = option("Shares of pixels removed, evenly spaced from none to all.", integer(2, 101), 51)
    random_seed: int = option("Seed of the choice of examples and of the order of removal.", SEED, 0)
