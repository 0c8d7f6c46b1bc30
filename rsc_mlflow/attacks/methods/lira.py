"""LiRA, offline (Carlini, Chien, Nasr, Song, Terzis, Tramèr 2022): how unusual is this confidence for a non-member?

The confidence log(p_y / (1 - p_y)) of an example, over models that have not seen it, is taken as Gaussian N(μ, σ²).
Offline LiRA scores an example by Λ = 1 - Pr[Z > φ] = Φ((φ - μ) / σ), with φ the target's confidence (section VI-C).
The score here is (φ - μ) / σ: it orders examples as Λ does and does not round to 1.

μ is the example's own mean.  σ is the example's own where every example has more than ``OWN_VARIANCE_FROM`` models that
have not seen it; with fewer, one σ is pooled over the population, as the authors advise below 64 models.  They take the
standard deviation of all confidences, which holds the spread *between* examples too; pooling the deviations from each
example's own mean keeps to the spread between models.  Their code for the offline attack also differs from their paper:
it takes the median for μ and scores by the Gaussian density, so that an unusually low confidence counts as well.

Threshold: the best balanced accuracy in the leave-one-out rounds on the population.
"""

import numpy as np

from rsc_mlflow.attacks.base import AttackResult, Bools, Doubles, Observations, register_attack
from rsc_mlflow.attacks.leave_one_out import calibrated_threshold, mean_over_out_models
from rsc_mlflow.attacks.signals import confidence
from rsc_mlflow.errors import InputError

OWN_VARIANCE_FROM = 64
_SMALLEST_STD = 1e-6


def own_std(signal: Doubles, out: Bools) -> Doubles:
    """σ of each example over the models that have not seen it: [K, N], [K, N] → [N], with n - 1 in the divisor."""
    std: Doubles = np.sqrt(_squares(signal, out) / (out.sum(axis=0) - 1))
    return std


def pooled_std(signal: Doubles, out: Bools) -> Doubles:
    """One σ for all examples, from the deviations from each one's own mean: [K, N], [K, N] → [1]."""
    std: Doubles = np.sqrt(_squares(signal, out).sum(keepdims=True) / np.maximum(out.sum(axis=0) - 1, 0).sum())
    return std


def lira_scores(target: Doubles, shadow: Doubles, out: Bools, std: Doubles | None) -> Doubles:
    """(φ - μ) / σ of confidences [N], [K, N] with the models that have not seen them [K, N]; ``std`` None: own σ."""
    spread = own_std(shadow, out) if std is None else std
    return (target - mean_over_out_models(shadow, out)) / np.maximum(spread, _SMALLEST_STD)


@register_attack(title="LiRA, offline (Carlini et al. 2022)", min_shadow_models=4)
def lira(queries: Observations, population: Observations) -> AttackResult:
    """Scores (φ - μ) / σ [N] and the calibrated threshold.

    Raises:
        InputError: too few shadow models, or a query that fewer than two of them have not seen.
    """
    out, known_out = ~queries.shadow_members, ~population.shadow_members
    fewest = int(out.sum(axis=0).min())
    if fewest < 2:
        raise InputError(
            "the attack 'lira' needs two shadow models that have not seen the example, for a Gaussian; "
            f"an example has {fewest}: raise shadow_models"
        )
    known = confidence(population.shadow, population.labels)
    enough = min(fewest, int(known_out.sum(axis=0).min())) > OWN_VARIANCE_FROM
    std = None if enough else pooled_std(known, known_out)
    shadow = confidence(queries.shadow, queries.labels)
    return AttackResult(
        scores=lira_scores(confidence(queries.target, queries.labels), shadow, out, std),
        threshold=calibrated_threshold(
            known, population.shadow_members, lambda r: lira_scores(r.target, r.shadow, r.out, std)
        ),
    )


def _squares(signal: Doubles, out: Bools) -> Doubles:
    squares: Doubles = np.where(out, (signal - mean_over_out_models(signal, out)) ** 2, 0.0).sum(axis=0)
    return squares
