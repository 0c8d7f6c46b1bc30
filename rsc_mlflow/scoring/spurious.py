"""Spurious scores and related measures of how strongly a model associates a pattern with a class.

They are computed from two arrays of logits, on the clean test images and on the same images with the pattern.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

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

    Raises:
        InputError: the shapes do not match, or the threshold is outside [0, 1).
    """

    clean_logits: Tensor
    pattern_logits: Tensor
    labels: Tensor
    threshold: float

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
        rise = self.pattern_logits.double().softmax(1) - self.clean_logits.double().softmax(1)
        return rise > self.threshold

    @cached_property
    def _patterned_prediction(self) -> Tensor:
        return self.pattern_logits.argmax(1)

    def score(self, target: int) -> float:
        """Return the paper's spurious score: the share of all test examples that are hits for ``target``."""
        return self.hits[:, target].double().mean().item()

    def score_nontarget(self, target: int) -> float:
        """Return the share of hits among examples whose true class is not ``target`` (0 if there are none)."""
        return _mean(self.hits[self.labels != target, target])

    def flip_rate(self, target: int) -> float:
        """Return the share of examples of other classes that are predicted as ``target`` only with the pattern.

        The denominator is the number of all examples of other classes.
        """
        flipped = (self._patterned_prediction == target) & (self.clean_logits.argmax(1) != target)
        return _mean(flipped[self.labels != target])

    def patterned_accuracy(self, target: int) -> float:
        """Return the accuracy on examples of other classes with the pattern (the paper's spurious accuracy)."""
        correct = self._patterned_prediction == self.labels
        return _mean(correct[self.labels != target])

    @cached_property
    def by_target(self) -> list[float]:
        """The spurious score with class k as target, for every k."""
        return self.hits.double().mean(0).tolist()

    @cached_property
    def matrix(self) -> Tensor:
        """Share of hits by true class and target class, float64 ``[C, C]``; NaN for true classes without examples."""
        rows = [self.hits[self.labels == k].double().mean(0) for k in range(self.classes)]
        return torch.stack(rows)

    def by_true_class(self, target: int) -> list[float]:
        """Return the spurious score for ``target`` over the test examples of each true class."""
        return self.matrix[:, target].tolist()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of examples whose largest logit is the label's; logits ``[N, C]``, labels int64 ``[N]``."""
    return _mean(logits.argmax(1) == labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Return the mean negative log-likelihood in nats; logits ``[N, C]``, labels int64 ``[N]``."""
    return torch.nn.functional.cross_entropy(logits.double(), labels).item()


def _mean(indicator: Tensor) -> float:
    return indicator.double().mean().item() if len(indicator) else 0.0
