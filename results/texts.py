"""The names that markers in documents may use, and the functions that generate their texts."""

import inspect
from collections.abc import Mapping, Sequence

from results import figures, membership_texts, mitigation_texts, training_texts, unlearning_texts
from results.groups import Text
from results.studies import Results
from rsc_mlflow.errors import InputError, unknown_name

TEXTS: Mapping[str, Text] = {
    "above_clean_count": training_texts.above_clean_count,
    "accuracy_range": training_texts.accuracy_range,
    "architectures": training_texts.architectures,
    "auc": membership_texts.auc,
    "clean_accuracy": training_texts.clean_accuracy,
    "figure": figures.link,
    "membership": membership_texts.membership,
    "mitigations": mitigation_texts.mitigations,
    "noise_control": training_texts.noise_control,
    "norm_correlation": training_texts.norm_correlation,
    "patterns": training_texts.patterns,
    "quickstart": training_texts.quickstart,
    "rates": membership_texts.rates,
    "score": training_texts.score,
    "scores": training_texts.scores,
    "target_scores": membership_texts.target_scores,
    "two_classes": training_texts.two_classes,
    "unlearned": unlearning_texts.unlearned,
    "unlearning": unlearning_texts.unlearning,
    "unlearning_left": unlearning_texts.left,
    "without_example": membership_texts.without_example,
}


def made(results: Results, name: str, arguments: Sequence[str]) -> str:
    """Generate the text with this name.

    Raises:
        InputError: an unknown name, or a number of arguments that it does not take.
    """
    if name not in TEXTS:
        raise InputError(unknown_name("text", name, sorted(TEXTS)))
    try:
        inspect.signature(TEXTS[name]).bind(results, *arguments)
    except TypeError:
        raise InputError(f"Invalid arguments of the text {name!r}: {' '.join(arguments) or 'none'}.") from None
    return TEXTS[name](results, *arguments)
