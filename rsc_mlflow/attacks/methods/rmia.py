"""Offline RMIA, the robust membership inference attack (Zarifzadeh, Liu, Shokri 2024).

Let r(x) = p(x | θ) / p(x), where p(x | θ) is the target's probability of the true class and p(x) its mean over models.
The score of x is the share of population examples z, which the target has not seen, with r(x) / r(z) ≥ γ.  p(x) is
estimated from the mean over models that have not seen x, as ((1 + a) · mean + (1 - a)) / 2 (the RMIA paper's appendix
on the offline attack), and p(z) likewise.

γ is 1, which is in the range for which the authors report the same performance.  Most ratios in this setting are
between 1/2 and 2, so a larger γ would give most queries the same score.  Probabilities are plain softmax probabilities.
As in the RMIA paper, a is chosen by attacking one shadow model.  The threshold is the one with the highest balanced
accuracy in leave-one-out rounds on the population.
"""

import numpy as np

from rsc_mlflow.attacks.base import AttackResult, Bools, Doubles, Observations, register_attack
from rsc_mlflow.attacks.leave_one_out import (
    LeaveOneOutRound,
    calibrated_threshold,
    leave_one_out_rounds,
    mean_over_out_models,
)
from rsc_mlflow.attacks.signals import log_probability
from rsc_mlflow.errors import InputError

GAMMA = 1.0
OFFLINE_CONSTANTS = tuple(i / 10 for i in range(11))
"""Candidates for the constant a."""


def log_ratio(target: Doubles, shadow: Doubles, out: Bools, a: float) -> Doubles:
    """Return log r(x), float64 ``[N]``.

    Args:
        target: log p_y of the target, ``[N]``.
        shadow: log p_y of the shadow models, ``[K, N]``.
        out: which shadow models have not seen the example, bool ``[K, N]``.
        a: the constant of offline RMIA.
    """
    average = ((1 + a) * mean_over_out_models(np.exp(shadow), out) + (1 - a)) / 2
    return target - np.log(np.maximum(average, np.finfo(np.float64).tiny))


def share_dominated(x: Doubles, z: Doubles, gamma: float = GAMMA) -> Doubles:
    """Return for each x the share of z with r(x) / r(z) ≥ γ, float64 ``[N]``.

    Args:
        x: log r(x), ``[N]``.
        z: log r(z), ``[M]``.
        gamma: γ.
    """
    share: Doubles = np.searchsorted(np.sort(z), x - np.log(gamma), "right") / len(z)
    return share


def round_scores(r: LeaveOneOutRound, a: float) -> Doubles:
    """Return the RMIA scores of a leave-one-out round, float64 ``[M]``, with the round's non-members as z."""
    ratios = log_ratio(r.target, r.shadow, r.out, a)
    return share_dominated(ratios, ratios[~r.members])


def choose_offline_constant(signal: Doubles, members: Bools) -> float:
    """Return the constant a with the highest AUC in the first leave-one-out round; of several, the smallest."""
    from rsc_mlflow.attacks.metrics import auc

    first = next(leave_one_out_rounds(signal, members))
    return max(OFFLINE_CONSTANTS, key=lambda a: auc(round_scores(first, a), first.members))


@register_attack(title="RMIA, offline (Zarifzadeh et al. 2024)", min_shadow_models=4)
def rmia(queries: Observations, population: Observations) -> AttackResult:
    """Return the scores in [0, 1], float64 ``[N]``, and the calibrated threshold.

    Raises:
        InputError: all shadow models have seen some query.
    """
    if not (~queries.shadow_members).any(axis=0).all():
        raise InputError(
            "The attack 'rmia' needs, for each query, a shadow model that has not seen it, but one query has none. "
            "Increase shadow_models."
        )
    known = log_probability(population.shadow, population.labels)
    a = choose_offline_constant(known, population.shadow_members)
    z_out = ~population.shadow_members
    usable = z_out.any(axis=0)
    z = log_ratio(log_probability(population.target, population.labels)[usable], known[:, usable], z_out[:, usable], a)
    x = log_ratio(
        log_probability(queries.target, queries.labels),
        log_probability(queries.shadow, queries.labels),
        ~queries.shadow_members,
        a,
    )
    threshold = calibrated_threshold(known, population.shadow_members, lambda r: round_scores(r, a))
    return AttackResult(share_dominated(x, z), threshold)
