"""The spurious score and what stands around it: how far a pattern pulls a model towards a class.

Everything is computed from two arrays of logits, one pass over the clean test images and one over the
same images with the pattern added; no model is called here.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rsc_mlflow.errors import InputError


@dataclass(frozen=True, eq=False)
class SpuriousScores:
    """Scores of one model on one pattern, for every class as target.

    Args:
        clean_logits: float[N, C], on the clean test images.
        pattern_logits: float[N, C], on the same images with the pattern added.
        labels: int64[N], the true classes.
        threshold: by how much the probability of the target class must rise to count;
            the paper takes 1/C (Section 3.1, "spurious score").

    Raises:
        InputError: shapes that do not fit, or a threshold outside [0, 1).
    """

    clean_logits: Tensor
    pattern_logits: Tensor
    labels: Tensor
    threshold: float

    def __post_init__(self) -> None:
        n, classes = self.clean_logits.shape
        if self.pattern_logits.shape != (n, classes) or self.labels.shape != (n,):
            raise InputError(
                f"logits of shapes {tuple(self.clean_logits.shape)}, {tuple(self.pattern_logits.shape)} and labels "
                f"of shape {tuple(self.labels.shape)} do not fit; accepted: [N, C], [N, C] and [N]"
            )
        if not 0 <= self.threshold < 1:
            raise InputError(f"score_threshold is {self.threshold}; accepted: at least 0 and below 1")

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.clean_logits.shape[1]

    @cached_property
    def hits(self) -> Tensor:
        """bool[N, C]: did the probability of class k rise by more than the threshold on example i?

        Strictly more, in float64, so that a rise of exactly the threshold does not count.
        """
        rise = self.pattern_logits.double().softmax(1) - self.clean_logits.double().softmax(1)
        return rise > self.threshold

    @cached_property
    def _patterned_prediction(self) -> Tensor:
        return self.pattern_logits.argmax(1)

    def score(self, target: int) -> float:
        """Share of all test examples that are hits for ``target``: the paper's spurious score."""
        return self.hits[:, target].double().mean().item()

    def score_nontarget(self, target: int) -> float:
        """The same share over examples whose true class is not ``target`` (0 if there are none)."""
        return _mean(self.hits[self.labels != target, target])

    def flip_rate(self, target: int) -> float:
        """Share of examples of other classes that the pattern turns into predictions of ``target``.

        An example counts when it was not predicted as ``target`` before and is with the pattern; the
        denominator is all examples of other classes.
        """
        flipped = (self._patterned_prediction == target) & (self.clean_logits.argmax(1) != target)
        return _mean(flipped[self.labels != target])

    def patterned_accuracy(self, target: int) -> float:
        """Accuracy on examples of other classes with the pattern added (the paper's spurious accuracy)."""
        correct = self._patterned_prediction == self.labels
        return _mean(correct[self.labels != target])

    @cached_property
    def by_target(self) -> list[float]:
        """The score with class k as target, for every k: float[C]."""
        return self.hits.double().mean(0).tolist()

    @cached_property
    def matrix(self) -> Tensor:
        """float64[C, C]: share of hits, true class × target class; NaN in the row of a class without examples."""
        rows = [self.hits[self.labels == k].double().mean(0) for k in range(self.classes)]
        return torch.stack(rows)

    def by_true_class(self, target: int) -> list[float]:
        """The score for ``target`` over the test examples of each true class: float[C]."""
        return self.matrix[:, target].tolist()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of examples whose largest logit is the label's; logits float[N, C], labels int64[N]."""
    return _mean(logits.argmax(1) == labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood in nats; logits float[N, C], labels int64[N]."""
    return torch.nn.functional.cross_entropy(logits.double(), labels).item()


def _mean(indicator: Tensor) -> float:
    return indicator.double().mean().item() if len(indicator) else 0.0
