"""Spurious scores and related measures of how strongly a model associates a pattern with a class.

They are computed from a model's logits on the clean test images and on the same images with the pattern.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from rsc_mlflow.errors import InputError, invalid_value


@dataclass(frozen=True, eq=False)
class SpuriousScores:
    """Scores of one model on one pattern, for every class as target.

    Args:
        clean_logits: logits on the clean test images, float ``[N, C]``.
        pattern_logits: logits on the same images with the pattern, float ``[N, C]``.
        labels: true classes, int64 ``[N]``.
        threshold: an example is a hit if the probability of the target class rises by more than this; the paper uses
            1/C (section 3.1, "spurious score").
        counted: the result of :func:`count_scores` for these logits; None: they are counted when needed.

    Raises:
        InputError: the shapes do not match, or the threshold is outside [0, 1).
    """

    clean_logits: Tensor
    pattern_logits: Tensor
    labels: Tensor
    threshold: float
    counted: "ScoreCounts | None" = None

    def __post_init__(self) -> None:
        n, classes = self.clean_logits.shape
        if self.pattern_logits.shape != (n, classes) or self.labels.shape != (n,):
            raise InputError(
                f"The shapes of logits {tuple(self.clean_logits.shape)}, {tuple(self.pattern_logits.shape)} and labels "
                f"{tuple(self.labels.shape)} do not match. Expected [N, C], [N, C] and [N]."
            )
        if not 0 <= self.threshold < 1:
            raise invalid_value("score_threshold", self.threshold, "a number ≥ 0 and < 1")

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.clean_logits.shape[1]

    @cached_property
    def hits(self) -> Tensor:
        """Whether the probability of class k rises by more than the threshold on example i, bool ``[N, C]``.

        Computed in float64.  An increase of exactly the threshold is not a hit.
        """
        return _hits(self.clean_logits, self.pattern_logits, self.threshold)

    @cached_property
    def counts(self) -> "ScoreCounts":
        """Numbers of examples, from which all shares are computed."""
        if self.counted is not None:
            return self.counted
        return count_scores(self.clean_logits[None], self.pattern_logits[None], self.labels, [self.threshold])[0]

    def score(self, target: int) -> float:
        """Return the paper's spurious score: the share of all test examples that are hits for ``target``."""
        return self.counts.share_of_hits(target)

    def score_nontarget(self, target: int) -> float:
        """Return the share of hits among examples whose true class is not ``target`` (0 if there are none)."""
        return self.counts.share_of_others(self.counts.hits[:, target], target)

    def flip_rate(self, target: int) -> float:
        """Return the share of examples of other classes that are predicted as ``target`` only with the pattern.

        The denominator is the number of all examples of other classes.
        """
        return self.counts.share_of_others(self.counts.flips[:, target], target)

    def patterned_accuracy(self, target: int) -> float:
        """Return the accuracy on examples of other classes with the pattern (the paper's spurious accuracy)."""
        return self.counts.share_of_others(self.counts.correct, target)

    @cached_property
    def by_target(self) -> list[float]:
        """The spurious score with class k as target, for every k."""
        return [self.score(k) for k in range(self.classes)]

    @cached_property
    def matrix(self) -> Tensor:
        """Share of hits by true class and target class, float64 ``[C, C]``; NaN for true classes without examples."""
        return self.counts.hits.double() / self.counts.examples.double().unsqueeze(1)

    def by_true_class(self, target: int) -> list[float]:
        """Return the spurious score for ``target`` over the test examples of each true class."""
        return self.matrix[:, target].tolist()


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """Numbers of test examples of each true class, for one model; int64, on the CPU.

    Attributes:
        examples: all test examples, ``[C]``.
        hits: hits for each target class (columns), ``[C, C]``.
        flips: examples that are predicted as each class (columns) only with the pattern, ``[C, C]``.
        correct: correct predictions with the pattern, ``[C]``.
    """

    examples: Tensor
    hits: Tensor
    flips: Tensor
    correct: Tensor

    def share_of_hits(self, target: int) -> float:
        """Return the share of hits for ``target`` among all examples."""
        return _share(int(self.hits[:, target].sum()), int(self.examples.sum()))

    def share_of_others(self, by_true_class: Tensor, target: int) -> float:
        """Return the share, among the examples of other classes than ``target``, of those that were counted.

        Args:
            by_true_class: the counted examples by true class, int64 ``[C]``.
            target: the class that is left out.

        Returns:
            The share; 0 if there are no examples of other classes.
        """
        counted, all_examples = by_true_class.sum() - by_true_class[target], self.examples.sum() - self.examples[target]
        return _share(int(counted), int(all_examples))


_MEMBERS_AT_A_TIME = 16
"""Maximum number of models whose probabilities are in memory in float64 at the same time."""


def count_scores(clean: Tensor, patterned: Tensor, labels: Tensor, thresholds: Sequence[float]) -> list[ScoreCounts]:
    """Return the counts of K models, computed on the device of the logits.

    Args:
        clean: logits on the clean test images, float ``[K, N, C]``.
        patterned: logits on the same images with the pattern, float ``[K, N, C]``.
        labels: true classes, int64 ``[N]``.
        thresholds: the models' score thresholds, ``[K]``; see :class:`SpuriousScores`.
    """
    labels = labels.to(clean.device)
    true = F.one_hot(labels, clean.shape[2]).double()  # [N, C]
    limits = torch.tensor(thresholds, dtype=torch.float64, device=clean.device).view(-1, 1, 1)
    parts = [slice(k, k + _MEMBERS_AT_A_TIME) for k in range(0, len(clean), _MEMBERS_AT_A_TIME)]
    counted = [_tables(clean[part], patterned[part], limits[part], labels, true) for part in parts]
    tables = torch.cat(counted).long().cpu()  # [K, C, 2C + 1]
    examples, classes = true.sum(0).long().cpu(), clean.shape[2]
    split = (table.split([classes, classes, 1], 1) for table in tables)
    return [ScoreCounts(examples, hits, flips, correct.squeeze(1)) for hits, flips, correct in split]


def _tables(clean: Tensor, patterned: Tensor, limits: Tensor, labels: Tensor, true: Tensor) -> Tensor:
    """Return hits, flips and correct predictions by true class, concatenated, float64 ``[K, C, 2C + 1]``."""
    hits = _hits(clean, patterned, limits)  # [K, N, C]
    prediction = patterned.argmax(2)
    changed = F.one_hot(prediction, clean.shape[2]).bool() & (prediction != clean.argmax(2)).unsqueeze(2)
    correct = (prediction == labels).unsqueeze(2)
    return true.T @ torch.cat([hits, changed, correct], 2).double()


def _hits(clean: Tensor, patterned: Tensor, limit: Tensor | float) -> Tensor:
    return patterned.double().softmax(-1) - clean.double().softmax(-1) > limit


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of examples whose largest logit is that of the label; 0 if there are no examples.

    Args:
        logits: float ``[N, C]``.
        labels: int64 ``[N]``.
    """
    return _mean(logits.argmax(1) == labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Return the mean negative log-likelihood in nats for logits ``[N, C]`` and labels int64 ``[N]``."""
    return F.cross_entropy(logits.double(), labels).item()


def _share(counted: int, all_examples: int) -> float:
    return counted / all_examples if all_examples else 0.0


def _mean(indicator: Tensor) -> float:
    return indicator.double().mean().item() if len(indicator) else 0.0
