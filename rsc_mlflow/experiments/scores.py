"""From a model and a data set to the contract's ``spurious/…`` and ``reference/…`` metrics."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rsc_mlflow.data import Dataset, apply_pattern, pattern_norm
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.models import build_empty
from rsc_mlflow.names import PATTERNS
from rsc_mlflow.scoring import SpuriousScores, accuracy, cross_entropy
from rsc_mlflow.statistics import mcnemar
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import PulledModel, pull_finished
from rsc_mlflow.training import evaluate_logits

Logits = Callable[[Tensor], Tensor]
"""Images float32[N, C, H, W] → logits float[N, classes] of one model in evaluation mode."""

REFERENCE_SEED = 0
"""Seed of the patterns whose scores a clean model logs (the contract's ``reference/…``)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One model on one data set's test images: clean logits and, where there is a pattern, its scores."""

    clean_logits: Tensor
    labels: Tensor
    scores: SpuriousScores | None

    def metrics(self, target: int | None) -> dict[str, float]:
        """``test/…`` and, with a pattern and a target class, ``spurious/…``."""
        found = {
            schema.TEST_LOSS: cross_entropy(self.clean_logits, self.labels),
            schema.TEST_ACCURACY: accuracy(self.clean_logits, self.labels),
        }
        if self.scores is not None and target is not None:
            found |= spurious_metrics(self.scores, target)
        return found


def logits_of(module: nn.Module, device: torch.device) -> Logits:
    """The model as a function of images, computing on ``device`` in batches; the logits come back on the CPU."""
    return lambda images: evaluate_logits(module, images, device)


def evaluate(logits: Logits, dataset: Dataset, threshold: float, *, with_scores: bool = True) -> Evaluation:
    """One pass over the clean test images and, if asked for, one over the same images with the pattern."""
    clean = logits(dataset.test.images)
    if not with_scores or dataset.name.pattern is None:
        return Evaluation(clean, dataset.test.labels, None)
    patterned = logits(patterned_test(dataset))
    return Evaluation(clean, dataset.test.labels, SpuriousScores(clean, patterned, dataset.test.labels, threshold))


def spurious_metrics(scores: SpuriousScores, target: int) -> dict[str, float]:
    """Every score of the contract for one target class, per-class scores included.

    With two target classes ``spurious/score`` and its companions are those of the first; the second is
    found under ``spurious/score_target_{k}``.
    """
    metrics = {
        schema.SPURIOUS_SCORE: scores.score(target),
        schema.SPURIOUS_SCORE_NONTARGET: scores.score_nontarget(target),
        schema.SPURIOUS_FLIP_RATE: scores.flip_rate(target),
        schema.SPURIOUS_TEST_ACCURACY: scores.patterned_accuracy(target),
    }
    metrics |= {schema.score_target(k): score for k, score in enumerate(scores.by_target)}
    by_class = enumerate(scores.by_true_class(target))
    return metrics | {schema.score_class(k): score for k, score in by_class if score == score}


def reference_metrics(logits: Logits, dataset: Dataset, clean_logits: Tensor, threshold: float) -> dict[str, float]:
    """What a clean model gives for each pattern (seed 0) and class: the baseline of every poisoned run."""
    metrics: dict[str, float] = {}
    for pattern in PATTERNS:
        patterned = logits(apply_pattern(pattern, dataset.test.images, REFERENCE_SEED))
        scores = SpuriousScores(clean_logits, patterned, dataset.test.labels, threshold)
        for k, score in enumerate(scores.by_target):
            metrics[schema.reference_score_target(pattern, k)] = score
    return metrics


@lru_cache(maxsize=8)
def patterned_test(dataset: Dataset) -> Tensor:
    """The test images with the data set's pattern, float32[N, C, H, W]; kept for the next epoch's scores."""
    return dataset.patterned(dataset.test.images)


def clean_comparison(
    scores: SpuriousScores, dataset: Dataset, options: TrainOptions, device: torch.device
) -> dict[str, float]:
    """Score of the matching clean model on the same pattern and class, and the p-value of the comparison.

    Empty where no such run is tracked, or its model is lost, which costs the model at hand nothing else.  The two
    models see the same test examples, and each example is a hit or not under either: McNemar's exact test,
    one-sided (the poisoned model has more hits).
    """
    target = dataset.name.target
    try:
        found = pull_finished(fingerprint(options.for_clean().identity()), kind="train")
    except InputError as error:
        print(f"note: not compared with the clean model trained the same way: {error}", file=sys.stderr)
        return {}
    if found is None or target is None:
        return {}
    reference = evaluate(logits_of(pulled_module(found, dataset), device), dataset, scores.threshold).scores
    assert reference is not None
    p_value = mcnemar(scores.hits[:, target].numpy(), reference.hits[:, target].numpy())
    return {schema.REFERENCE_SCORE: reference.score(target), schema.P_VALUE: p_value}


def pulled_module(model: PulledModel, dataset: Dataset) -> nn.Module:
    """The pulled weights in the architecture that the run's parameters name.

    Raises:
        InputError: the weights do not fit images and classes of this data set.
    """
    module = build_empty(model.model.architecture, dataset.image_shape, dataset.classes)
    try:
        module.load_state_dict(model.state_dict)
    except RuntimeError as error:
        raise InputError(
            f"{model.model_uri} was trained on {model.dataset} and does not fit {dataset.name} "
            f"(images of shape {dataset.image_shape}, {dataset.classes} classes); choose a model of the same family"
        ) from error
    return module


def norm_metric(dataset: Dataset) -> dict[str, float]:
    """Mean l2 norm of what the pattern adds to a test image."""
    if dataset.name.pattern is None:
        return {}
    norm = pattern_norm(dataset.name.pattern, dataset.test.images, dataset.pattern_seed)
    return {schema.PATTERN_NORM: norm}


def matrix_record(scores: SpuriousScores) -> dict[str, Any]:
    """``spurious_scores.json``: the scores by true class (rows) and target class (columns)."""
    matrix = [[None if value != value else value for value in row] for row in scores.matrix.tolist()]
    return {
        "threshold": scores.threshold,
        "rows": "true class",
        "columns": "target class",
        "scores": matrix,
        "by_target": scores.by_target,
        "n_test": len(scores.labels),
    }
