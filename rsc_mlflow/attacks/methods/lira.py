"""Offline LiRA, the likelihood-ratio attack (Carlini, Chien, Nasr, Song, Terzis, Tramèr 2022).

The attack tests whether the target's confidence is unusually high for a non-member.  The confidence
log(p_y / (1 - p_y)) of an example over models that have not seen it is modeled as Gaussian N(μ, σ²).  Offline LiRA
scores an example by Λ = 1 - Pr[Z > φ] = Φ((φ - μ) / σ), where Z ~ N(μ, σ²) and φ is the target's confidence (section
VI-C).  The score here is (φ - μ) / σ, which orders the examples in the same way but does not round to 1.

μ is the mean over the models that have not seen the example.  If every example has more than ``OWN_VARIANCE_ABOVE``
such models, σ is estimated per example.  Otherwise one σ is estimated for the population, as the authors recommend
below 64 models.  The authors compute it from all confidences, so it includes the variance *between* examples.  Here, it
is computed from the deviations from each example's mean, so it includes only the variance between models.  The authors'
code for the offline attack differs from their paper: it uses the median for μ and the Gaussian density as the score, so
that unusually low confidences count as well.

The threshold is the one with the highest balanced accuracy in leave-one-out rounds on the population.
"""

import numpy as np

from rsc_mlflow.attacks.base import AttackResult, Bools, Doubles, Observations, register_attack
from rsc_mlflow.attacks.leave_one_out import calibrated_threshold, mean_over_out_models
from rsc_mlflow.attacks.signals import confidence
from rsc_mlflow.errors import InputError

OWN_VARIANCE_ABOVE = 64
"""Each example has its own σ if more than this many models have not seen it."""
_SMALLEST_STD = 1e-6


def own_std(signal: Doubles, out: Bools) -> Doubles:
    """Return each example's σ over the n models that have not seen it (divisor n - 1), ``[N]``.

    Args:
        signal: confidences, ``[K, N]``.
        out: which models have not seen the example, bool ``[K, N]``.
    """
    std: Doubles = np.sqrt(_squares(signal, out) / (out.sum(axis=0) - 1))
    return std


def pooled_std(signal: Doubles, out: Bools) -> Doubles:
    """Return one σ for all examples, ``[1]``, from the deviations from each example's mean; see :func:`own_std`."""
    std: Doubles = np.sqrt(_squares(signal, out).sum(keepdims=True) / np.maximum(out.sum(axis=0) - 1, 0).sum())
    return std


def lira_scores(target: Doubles, shadow: Doubles, out: Bools, std: Doubles | None) -> Doubles:
    """Return (φ - μ) / σ, float64 ``[N]``.

    Args:
        target: confidences φ of the target, ``[N]``.
        shadow: confidences of the shadow models, ``[K, N]``.
        out: which shadow models have not seen the example, bool ``[K, N]``.
        std: σ, ``[N]`` or ``[1]``; None: estimate it per example.
    """
    spread = own_std(shadow, out) if std is None else std
    return (target - mean_over_out_models(shadow, out)) / np.maximum(spread, _SMALLEST_STD)


@register_attack(title="LiRA, offline (Carlini et al. 2022)", min_shadow_models=4)
def lira(queries: Observations, population: Observations) -> AttackResult:
    """Return the scores (φ - μ) / σ, float64 ``[N]``, and the calibrated threshold.

    Raises:
        InputError: fewer than two shadow models have not seen some query.
    """
    out, known_out = ~queries.shadow_members, ~population.shadow_members
    fewest = int(out.sum(axis=0).min())
    if fewest < 2:
        raise InputError(
            "The attack 'lira' needs, for each query, at least two shadow models that have not seen it, but one query "
            f"has {fewest}. Increase shadow_models."
        )
    known = confidence(population.shadow, population.labels)
    enough = min(fewest, int(known_out.sum(axis=0).min())) > OWN_VARIANCE_ABOVE
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
