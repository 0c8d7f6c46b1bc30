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
    "clean_accuracy": training_texts.clean_accuracy,
    "clean_by_strength": mitigation_texts.clean_by_strength,
    "counts": training_texts.counts,
    "figure": figures.link,
    "headline": training_texts.headline,
    "membership": membership_texts.membership,
    "mitigated": mitigation_texts.mitigated,
    "mitigations": mitigation_texts.mitigations,
    "noise_control": training_texts.noise_control,
    "norm_sentence": training_texts.norm_sentence,
    "pattern_means": training_texts.pattern_means,
    "patterns": training_texts.patterns,
    "quickstart": training_texts.quickstart,
    "rates": membership_texts.rates,
    "scores": training_texts.scores,
    "spurious_auc": membership_texts.spurious_auc,
    "target_scores": membership_texts.target_scores,
    "two_classes": training_texts.two_classes,
    "unlearning": unlearning_texts.unlearning,
    "unlearning_compared": unlearning_texts.compared,
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
