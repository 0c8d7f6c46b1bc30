"""RMIA, offline (Zarifzadeh, Liu, Shokri 2024): does the target favor x more than it favors random other examples?

With r(x) = p(x | θ) / p(x), the target's probability of the true class over its average over models, the score of x is
the share of population examples z that the target has not seen with r(x) / r(z) >= γ.  p(x) is estimated from models
that have not seen x as ((1 + a) · mean + (1 - a)) / 2 (the paper's appendix on offline RMIA), for x and for z alike.

γ is 1: here most ratios lie within a factor of 2 of 1, and a larger γ gives most queries the same score; γ = 1 is in
the range that the authors report as equivalent.  The plain softmax probability is used.  a is chosen as the authors
do, by attacking one shadow model; the threshold is the best balanced accuracy in the leave-one-out
rounds on the population.
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
"""Candidates for a."""


def log_ratio(target: Doubles, shadow: Doubles, out: Bools, a: float) -> Doubles:
    """log r(x): target's log p_y [N], shadow models' log p_y [K, N], where those are out [K, N] → [N]."""
    average = ((1 + a) * mean_over_out_models(np.exp(shadow), out) + (1 - a)) / 2
    return target - np.log(np.maximum(average, np.finfo(np.float64).tiny))


def share_dominated(x: Doubles, z: Doubles, gamma: float = GAMMA) -> Doubles:
    """Share of z with r(x) / r(z) >= γ, from log-ratios: [N], [M] → [N]; O((N + M) log M)."""
    share: Doubles = np.searchsorted(np.sort(z), x - np.log(gamma), "right") / len(z)
    return share


def round_scores(r: LeaveOneOutRound, a: float) -> Doubles:
    """RMIA scores of a leave-one-out round; its non-members are the population that x is held against."""
    ratios = log_ratio(r.target, r.shadow, r.out, a)
    return share_dominated(ratios, ratios[~r.members])


def choose_offline_constant(signal: Doubles, members: Bools) -> float:
    """The a of highest AUC in the first leave-one-out round (the smallest, among ties)."""
    from rsc_mlflow.attacks.metrics import auc

    first = next(leave_one_out_rounds(signal, members))
    return max(OFFLINE_CONSTANTS, key=lambda a: auc(round_scores(first, a), first.members))


@register_attack(title="RMIA, offline (Zarifzadeh et al. 2024)", min_shadow_models=4)
def rmia(queries: Observations, population: Observations) -> AttackResult:
    """Shares in [0, 1], float64 [N], and the calibrated threshold.

    Raises:
        InputError: too few shadow models, or a query that all of them have seen.
    """
    if not (~queries.shadow_members).any(axis=0).all():
        raise InputError(
            "the attack 'rmia' needs a shadow model that has not seen the example; some example has none: "
            "raise shadow_models"
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
