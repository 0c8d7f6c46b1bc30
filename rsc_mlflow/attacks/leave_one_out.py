"""Leave-one-out calibration of an attack: each shadow model in turn is attacked, with the others as shadow models.

The members of every shadow model are known, so these rounds give scores with known membership.  Thresholds and
constants are tuned on these scores, which depend only on the population and not on the queries.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rsc_mlflow import cancellation
from rsc_mlflow.attacks.base import Bools, Doubles
from rsc_mlflow.errors import InputError


@dataclass(frozen=True, eq=False)
class LeaveOneOutRound:
    """One round on M population examples.

    A signal is a quantity computed from the logits of one model, such as a log-probability.

    Attributes:
        target: signal of the shadow model that is attacked, float64 ``[M]``.
        shadow: signals of the R other shadow models, float64 ``[R, M]``.
        out: which of these models have not seen the example, bool ``[R, M]``; at least one True per example.
        members: whether the attacked model was trained on the example, bool ``[M]``.
    """

    target: Doubles
    shadow: Doubles
    out: Bools
    members: Bools


def leave_one_out_rounds(signal: Doubles, members: Bools) -> Iterator[LeaveOneOutRound]:
    """Yield one round for each of K shadow models.

    A model trained on exactly the complement of the attacked model's training set is left out of the round: all members
    would have one more model that has not seen them than non-members, which is information that an attack on the target
    does not have.  Examples that all remaining models have seen are left out, too.  A round without members or without
    non-members is skipped.

    Args:
        signal: the models' signals on the population, float64 ``[K, M]``.
        members: whether each model was trained on each example, bool ``[K, M]``.

    Raises:
        InputError: no round is usable, because the population is too small.
    """
    none = True
    for k in range(len(signal)):
        cancellation.check()
        others = [j for j in range(len(signal)) if j != k and not np.array_equal(members[j], ~members[k])]
        out = ~members[others]
        usable = out.any(axis=0)
        if usable.any() and 0 < members[k][usable].sum() < usable.sum():
            none = False
            yield LeaveOneOutRound(signal[k][usable], signal[others][:, usable], out[:, usable], members[k][usable])
    if none:
        raise InputError(
            f"The attack cannot be calibrated on a population of {signal.shape[1]} examples with {len(signal)} shadow "
            "models. Use a larger dataset, more shadow models, or the attacks shadow and loss."
        )


def best_threshold(scores: Doubles, members: Bools) -> float:
    """Return the threshold with the highest balanced accuracy; of several, the highest threshold.

    Args:
        scores: float64 ``[N]``.
        members: bool ``[N]``.
    """
    from rsc_mlflow.attacks.metrics import roc_curve

    curve = roc_curve(scores, members)
    best = int(np.argmax(curve.tpr[1:] - curve.fpr[1:])) + 1
    return float(curve.thresholds[best])


def calibrated_threshold(signal: Doubles, members: Bools, score: Callable[[LeaveOneOutRound], Doubles]) -> float:
    """Return the threshold with the highest balanced accuracy over all rounds together.

    Memory: one round at a time, O(K·M), and the scores of all rounds.

    Args:
        signal: as for :func:`leave_one_out_rounds`.
        members: as for :func:`leave_one_out_rounds`.
        score: returns the scores of a round, float64 ``[M]``.
    """
    scored = [(score(r), r.members) for r in leave_one_out_rounds(signal, members)]
    return best_threshold(*map(np.concatenate, zip(*scored, strict=True)))


def mean_over_out_models(signal: Doubles, out: Bools) -> Doubles:
    """Return each example's mean signal over the models that have not seen it: ``[K, N]``, ``[K, N]`` → ``[N]``."""
    mean: Doubles = np.where(out, signal, 0.0).sum(axis=0) / out.sum(axis=0)
    return mean
