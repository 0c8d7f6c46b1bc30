"""Leave-one-out calibration of an attack: each shadow model in turn plays the target, against the others.

The attacker knows the members of every shadow model, so these rounds give scores *with* their truth.  Thresholds and
constants are tuned here, on the population alone; the queries are never touched.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rsc_mlflow import cancellation
from rsc_mlflow.attacks.base import Bools, Doubles


@dataclass(frozen=True, eq=False)
class LeaveOneOutRound:
    """One round on M population examples.

    Attributes:
        target: float64 [M], signal of the shadow model that plays the target.
        shadow: float64 [R, M], the signal of the others.
        out: bool [R, M], where the others have not seen the example; at least one True per column.
        members: bool [M], the truth: what trained the model that plays the target.
    """

    target: Doubles
    shadow: Doubles
    out: Bools
    members: Bools


def leave_one_out_rounds(signal: Doubles, members: Bools) -> Iterator[LeaveOneOutRound]:
    """One round for each of K shadow models: signal float64 [K, M], members bool [K, M].

    A model that was trained on exactly the examples the player was *not* trained on is left out of the player's round:
    it would give members one more "out" observation than non-members, and so a hint that no query has.  Examples that
    every remaining model has seen are left out of the round.
    """
    for k in range(len(signal)):
        cancellation.check()
        others = [j for j in range(len(signal)) if j != k and not np.array_equal(members[j], ~members[k])]
        out = ~members[others]
        usable = out.any(axis=0)
        if usable.any() and 0 < members[k][usable].sum() < usable.sum():
            yield LeaveOneOutRound(signal[k][usable], signal[others][:, usable], out[:, usable], members[k][usable])


def best_threshold(scores: Doubles, members: Bools) -> float:
    """The threshold of highest balanced accuracy on scores whose truth is known (the highest one, among ties)."""
    from rsc_mlflow.attacks.metrics import roc_curve

    curve = roc_curve(scores, members)
    best = int(np.argmax(curve.tpr[1:] - curve.fpr[1:])) + 1
    return float(curve.thresholds[best])


def calibrated_threshold(signal: Doubles, members: Bools, score: Callable[[LeaveOneOutRound], Doubles]) -> float:
    """The threshold of highest balanced accuracy over all rounds together, each scored by ``score``.

    One round is in memory at a time, O(K·M); of the others only scores and truth.
    """
    scored = [(score(r), r.members) for r in leave_one_out_rounds(signal, members)]
    return best_threshold(*map(np.concatenate, zip(*scored, strict=True)))


def mean_over_out_models(signal: Doubles, out: Bools) -> Doubles:
    """Mean of the signal over the models that have not seen the example: [K, N], [K, N] → [N]."""
    mean: Doubles = np.where(out, signal, 0.0).sum(axis=0) / out.sum(axis=0)
    return mean
