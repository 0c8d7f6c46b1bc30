"""Compute the metrics ``test/…``, ``spurious/…`` and ``reference/…`` of a model on a dataset."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from rsc_mlflow.data import Dataset, apply_pattern, pattern_norm
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.clean_baseline import pattern_of, patterned_images
from rsc_mlflow.models import build_empty
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.scoring import SpuriousScores, accuracy, count_scores, cross_entropy
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.pull import PulledModel
from rsc_mlflow.training import evaluate_logits
from rsc_mlflow.training.resident import on_device

MemberLogits = Callable[[Tensor, Sequence[int]], Tensor]
Logits = Callable[[Tensor], Tensor]
"""A function from images, float32 ``[N, C, H, W]``, to the logits of a model in evaluation mode, ``[N, classes]``."""

CLEAN_PATTERN_SEED = 0
"""Seed of the patterns for which clean models log scores (``reference/…``)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Evaluation of a model on a test set.

    Attributes:
        clean_logits: logits on the clean test images, float32 ``[N, classes]``.
        labels: true classes, int64 ``[N]``.
        scores: spurious scores; None if the dataset has no pattern or scores were not requested.
    """

    clean_logits: Tensor
    labels: Tensor
    scores: SpuriousScores | None

    def metrics(self, targets: Sequence[int]) -> dict[str, float]:
        """Return ``test/…`` and, with a pattern and target classes, ``spurious/…``."""
        found = {
            schema.TEST_LOSS: cross_entropy(self.clean_logits, self.labels),
            schema.TEST_ACCURACY: accuracy(self.clean_logits, self.labels),
        }
        if self.scores is not None and targets:
            found |= spurious_metrics(self.scores, targets)
        return found


def logits_of(module: nn.Module, device: torch.device) -> Logits:
    """Return the model as a function of images that computes on ``device`` in batches and returns CPU tensors."""
    return lambda images: evaluate_logits(module, images, device)


def evaluate(logits: Logits, dataset: Dataset, threshold: float, *, with_scores: bool = True) -> Evaluation:
    """Evaluate a model on the clean test images and, with ``with_scores``, on the same images with the pattern."""
    clean = logits(dataset.test.images)
    if not with_scores or dataset.name.pattern is None:
        return Evaluation(clean, dataset.test.labels, None)
    patterned = logits(patterned_images(dataset.test, *pattern_of(dataset)))
    return Evaluation(clean, dataset.test.labels, SpuriousScores(clean, patterned, dataset.test.labels, threshold))


def evaluate_members(
    logits: MemberLogits, datasets: Sequence[Dataset], thresholds: Sequence[float], with_scores: Sequence[bool]
) -> list[Evaluation]:
    """Return what :func:`evaluate` returns for each member of a cohort; equal images are evaluated in one pass.

    Args:
        logits: returns the logits of the given members on images, float32 ``[len(members), N, classes]``.
        datasets: each member's dataset.
        thresholds: each member's score threshold.
        with_scores: whether to score each member; clean datasets have no pattern to be scored on.
    """
    clean: dict[int, Tensor] = {}
    for test, members in _grouped(range(len(datasets)), lambda k: datasets[k].test):
        clean |= dict(zip(members, logits(test.images, members), strict=True))
    found = [Evaluation(clean[k], on_device(one.test.labels, clean[k].device), None) for k, one in enumerate(datasets)]
    scored = [k for k, one in enumerate(datasets) if with_scores[k] and one.name.pattern is not None]
    for (test, *pattern), members in _grouped(scored, lambda k: (datasets[k].test, *pattern_of(datasets[k]))):
        patterned = logits(patterned_images(test, *pattern), members)
        limits = [thresholds[k] for k in members]
        together = torch.stack([clean[k] for k in members])
        counts = count_scores(together, patterned, found[members[0]].labels, limits)
        for k, own, counted in zip(members, patterned, counts, strict=True):
            scores = SpuriousScores(clean[k], own, found[k].labels, thresholds[k], counted)
            found[k] = replace(found[k], scores=scores)
    return found


def _grouped(members: Iterable[int], key: Callable[[int], Any]) -> Iterable[tuple[Any, list[int]]]:
    groups: dict[Any, list[int]] = {}
    for k in members:
        groups.setdefault(key(k), []).append(k)
    return groups.items()


def spurious_metrics(scores: SpuriousScores, targets: Sequence[int]) -> dict[str, float]:
    """Return all metrics ``spurious/…``, including per-class scores.

    With two target classes, ``spurious/score`` and the other overall metrics are means over both; the score of each
    class is ``spurious/score_target_{k}``.
    """
    metrics = {
        schema.SPURIOUS_SCORE: fmean(map(scores.score, targets)),
        schema.SPURIOUS_SCORE_NONTARGET: fmean(map(scores.score_nontarget, targets)),
        schema.SPURIOUS_FLIP_RATE: fmean(map(scores.flip_rate, targets)),
        schema.SPURIOUS_TEST_ACCURACY: fmean(map(scores.patterned_accuracy, targets)),
    }
    metrics |= {schema.score_target(k): score for k, score in enumerate(scores.by_target)}
    by_class = enumerate(map(fmean, zip(*map(scores.by_true_class, targets), strict=True)))
    return metrics | {schema.score_class(k): score for k, score in by_class if score == score}


def clean_model_scores(logits: Logits, dataset: Dataset, clean_logits: Tensor, threshold: float) -> dict[str, float]:
    """Return a clean model's scores for each class and each registered pattern (seed 0) that fits its images."""
    metrics: dict[str, float] = {}
    for pattern, declared in PATTERNS.registered().items():
        if not declared.fits(*dataset.image_shape[1:]):
            continue
        patterned = logits(apply_pattern(pattern, dataset.test.images, CLEAN_PATTERN_SEED))
        labels = on_device(dataset.test.labels, clean_logits.device)
        scores = SpuriousScores(clean_logits, patterned, labels, threshold)
        for k, score in enumerate(scores.by_target):
            metrics[schema.reference_score_target(pattern, k)] = score
    return metrics


def pulled_module(model: PulledModel, dataset: Dataset) -> nn.Module:
    """Return a pulled model as a module.

    Raises:
        InputError: its weights do not match the image shape and number of classes of this dataset.
    """
    name = model.model
    module = build_empty(name.architecture, dataset.image_shape, dataset.classes, name.augmentation)
    try:
        module.load_state_dict(model.state_dict)
    except RuntimeError as error:
        raise InputError(
            f"{model.model_uri} was trained on {model.dataset} and does not fit {dataset.name} "
            f"(images of shape {dataset.image_shape}, {dataset.classes} classes). Use a model of the same family."
        ) from error
    return module


def norm_metric(dataset: Dataset) -> dict[str, float]:
    """Return the mean ℓ2 norm of the change that the pattern makes to test images; empty for a clean dataset."""
    if dataset.name.pattern is None:
        return {}
    norm = pattern_norm(dataset.name.pattern, dataset.test.images, dataset.pattern_seed)
    return {schema.PATTERN_NORM: norm}


def matrix_record(scores: SpuriousScores) -> dict[str, Any]:
    """Return the content of ``spurious_scores.json``: scores by true class (rows) and target class (columns)."""
    matrix = [[None if value != value else value for value in row] for row in scores.matrix.tolist()]
    return {
        "threshold": scores.threshold,
        "rows": "true class",
        "columns": "target class",
        "scores": matrix,
        "by_target": scores.by_target,
        "n_test": len(scores.labels),
    }
