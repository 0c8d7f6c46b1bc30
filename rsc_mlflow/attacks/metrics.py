"""How well an attack does: ROC numbers for all members, and the spurious ones against their control.

Everywhere ``members`` is bool [N], ``scores`` is float [N] with higher = member, and an example is called a member
when its score is at least the threshold.
"""

from dataclasses import dataclass

import numpy as np

from rsc_mlflow.attacks.base import Bools, Doubles, Floats, Ints
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import numpy_generator
from rsc_mlflow.statistics import double_midranks, rank_sum


@dataclass(frozen=True, eq=False)
class Roc:
    """Rates at every distinct threshold, from calling nobody a member (threshold inf) to calling all."""

    fpr: Doubles
    tpr: Doubles
    thresholds: Doubles


@dataclass(frozen=True)
class AucInterval:
    """A two-sided interval of an AUC."""

    low: float
    high: float


@dataclass(frozen=True)
class SpuriousLeak:
    """Members that carry the pattern against non-members that carry it: the control.

    Attributes:
        tpr: share of the spurious members called members.
        control_fpr: share of the pattern-carrying *non-members* called members.  ``tpr`` says something about
            membership only as far as it exceeds this.
        auc: probability that a random spurious member scores above a random control (ties count half); .5 = no leak.
        interval: bootstrap interval of ``auc``.
        p_value: one-sided p-value of "spurious members score no higher than controls", from the permutation
            distribution of the rank sum with ties.
        p_value_error: its standard error; 0 where it is exact (:func:`rsc_mlflow.statistics.rank_sum`).
        n_members, n_controls: how many of each.
    """

    tpr: float
    control_fpr: float
    auc: float
    interval: AucInterval
    p_value: float
    p_value_error: float
    n_members: int
    n_controls: int


def roc_curve(scores: Floats, members: Bools) -> Roc:
    """The ROC curve at every distinct score.

    Raises:
        InputError: there is no member or no non-member.
    """
    n_members, n_others = _counts(members)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last index of each run of equal scores
    hits = np.cumsum(members[order])[ends]
    return Roc(
        fpr=np.append(0.0, (ends + 1 - hits) / n_others),
        tpr=np.append(0.0, hits / n_members),
        thresholds=np.append(np.inf, ranked[ends].astype(np.float64)),
    )


def auc(scores: Floats, members: Bools) -> float:
    """Probability that a random member scores above a random non-member, ties counting half.

    Raises:
        InputError: there is no member or no non-member.
    """
    n_members, n_others = _counts(members)
    ranks = float(double_midranks(scores)[members].sum()) / 2
    return (ranks - n_members * (n_members + 1) / 2) / (n_members * n_others)


def balanced_accuracy(scores: Floats, members: Bools, threshold: float) -> float:
    """Mean of the true-positive and the true-negative rate at the threshold."""
    _counts(members)
    called = scores >= threshold
    return float((called[members].mean() + 1 - called[~members].mean()) / 2)


def tpr_at_fpr(scores: Floats, members: Bools, fpr: float) -> float:
    """The largest true-positive rate at a false-positive rate of at most ``fpr``; no interpolation."""
    curve = roc_curve(scores, members)
    return float(curve.tpr[curve.fpr <= fpr].max())


def auc_by_class(scores: Floats, members: Bools, labels: Ints) -> dict[int, float]:
    """The AUC among the examples of each class that has both members and non-members."""
    result = {}
    for label in np.unique(labels):
        here = labels == label
        if 0 < members[here].sum() < here.sum():
            result[int(label)] = auc(scores[here], members[here])
    return result


def auc_interval(
    positives: Floats, negatives: Floats, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> AucInterval:
    """Percentile bootstrap interval of the AUC of ``positives`` [n] above ``negatives`` [m].

    Both groups are resampled with replacement.  One positive cannot be resampled: its interval is [0, 1], since one
    example says nothing about the spread between examples.  With few positives (below about 10) the interval is too
    narrow; read it with their number.  Cost O(resamples · (n + m)).
    """
    n, m = len(positives), len(negatives)
    if n < 2 or m < 2:
        return AucInterval(0.0, 1.0)
    rng = numpy_generator(seed, "bootstrap of an AUC")
    ranked = np.sort(negatives)
    below, upto = np.searchsorted(ranked, positives, "left"), np.searchsorted(ranked, positives, "right")
    draws = np.empty(resamples)
    for start in range(0, resamples, 100):
        rows = min(100, resamples - start)
        offsets = np.arange(rows)[:, None] * m
        weights = np.bincount((rng.integers(0, m, (rows, m)) + offsets).ravel(), minlength=rows * m).reshape(rows, m)
        total = np.concatenate([np.zeros((rows, 1)), np.cumsum(weights, axis=1)], axis=1)  # [rows, m + 1]
        placements = (total[:, below] + total[:, upto]) / (2 * m)  # [rows, n]
        draws[start : start + rows] = np.take_along_axis(placements, rng.integers(0, n, (rows, n)), 1).mean(axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return AucInterval(float(low), float(high))


def spurious_leak(members: Floats, controls: Floats, threshold: float, seed: int = 0) -> SpuriousLeak:
    """Scores of the spurious members [n] against those of the pattern-carrying non-members [m].

    Raises:
        InputError: one of the groups is empty.
    """
    if not len(members) or not len(controls):
        raise InputError(
            f"the spurious leak needs spurious members and controls; got {len(members)} and {len(controls)}"
        )
    test = rank_sum(members, controls, seed=seed)
    return SpuriousLeak(
        tpr=float((members >= threshold).mean()),
        control_fpr=float((controls >= threshold).mean()),
        auc=test.statistic / (len(members) * len(controls)),
        interval=auc_interval(members, controls, seed=seed),
        p_value=test.p_value,
        p_value_error=test.standard_error,
        n_members=len(members),
        n_controls=len(controls),
    )


def _counts(members: Bools) -> tuple[int, int]:
    n_members = int(members.sum())
    if not 0 < n_members < len(members):
        raise InputError(f"an ROC needs members and non-members; got {n_members} members among {len(members)} examples")
    return n_members, len(members) - n_members
