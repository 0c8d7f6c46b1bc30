"""Performance metrics of attacks: ROC metrics, and spurious members versus their controls.

In all functions, ``scores`` is float ``[N]`` and ``members`` bool ``[N]``.  An example with a higher score is more
likely a member; it is classified as a member if its score is at least the threshold.
"""

from dataclasses import dataclass

import numpy as np

from rsc_mlflow.attacks.base import Bools, Doubles, Floats, Ints
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import numpy_generator
from rsc_mlflow.statistics import double_midranks, rank_sum


@dataclass(frozen=True, eq=False)
class Roc:
    """False- and true-positive rates at every distinct threshold, from inf (no positives) to the lowest score (all)."""

    fpr: Doubles
    tpr: Doubles
    thresholds: Doubles


@dataclass(frozen=True)
class AucInterval:
    """A two-sided confidence interval of an AUC."""

    low: float
    high: float


@dataclass(frozen=True)
class SpuriousLeak:
    """Spurious members (with the pattern) versus controls (non-members with the pattern).

    Attributes:
        tpr: share of spurious members classified as members.
        control_fpr: share of controls classified as members.  ``tpr`` indicates leakage only if it is higher than this.
        auc: probability that a random spurious member scores above a random control (ties count half); 0.5: no leak.
        interval: bootstrap confidence interval of ``auc``.
        p_value: one-sided p-value of the null hypothesis that spurious members score no higher than controls
            (:func:`rsc_mlflow.statistics.rank_sum`).
        p_value_error: standard error of ``p_value``; 0 if it is exact.
        n_members: number of spurious members.
        n_controls: number of controls.
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
    """Return the ROC curve, with one point per distinct score after the first point (0, 0).

    Raises:
        InputError: there are no members or no non-members.
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
    """Return the probability that a random member scores above a random non-member; ties count half.

    Raises:
        InputError: there are no members or no non-members.
    """
    n_members, n_others = _counts(members)
    ranks = float(double_midranks(scores)[members].sum()) / 2
    return (ranks - n_members * (n_members + 1) / 2) / (n_members * n_others)


def balanced_accuracy(scores: Floats, members: Bools, threshold: float) -> float:
    """Return the mean of the true-positive and the true-negative rate at the threshold.

    Raises:
        InputError: there are no members or no non-members.
    """
    _counts(members)
    called = scores >= threshold
    return float((called[members].mean() + 1 - called[~members].mean()) / 2)


def tpr_at_fpr(scores: Floats, members: Bools, fpr: float) -> float:
    """Return the largest true-positive rate with a false-positive rate of at most ``fpr``, without interpolation.

    Raises:
        InputError: there are no members or no non-members.
    """
    curve = roc_curve(scores, members)
    return float(curve.tpr[curve.fpr <= fpr].max())


def auc_by_class(scores: Floats, members: Bools, labels: Ints) -> dict[int, float]:
    """Return the AUC within each class that has both members and non-members, by class; ``labels`` is int ``[N]``."""
    result = {}
    for label in np.unique(labels):
        here = labels == label
        if 0 < members[here].sum() < here.sum():
            result[int(label)] = auc(scores[here], members[here])
    return result


def auc_interval(
    positives: Floats, negatives: Floats, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> AucInterval:
    """Return a percentile bootstrap interval of the AUC of ``positives`` ``[n]`` versus ``negatives`` ``[m]``.

    Both groups are resampled with replacement.  If a group has fewer than two examples, the interval is [0, 1].  With
    fewer than about 10 positives the interval is too narrow.  Cost: O(resamples · (n + m)).
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
    """Return the comparison of spurious members with controls.

    Args:
        members: scores of the spurious members, ``[n]``.
        controls: scores of the controls, ``[m]``.
        threshold: threshold of the attack.
        seed: seed of the bootstrap and of random permutations.

    Raises:
        InputError: one of the groups is empty.
    """
    if not len(members) or not len(controls):
        raise InputError(
            "Cannot compute the spurious leak without spurious members and controls, got "
            f"{len(members)} and {len(controls)}."
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
        raise InputError(
            f"An ROC curve needs members and non-members, got {n_members} members among {len(members)} examples."
        )
    return n_members, len(members) - n_members
