"""Signals that attacks compute from logits, in a form that is numerically stable for confident models."""

import numpy as np

from rsc_mlflow.attacks.base import Doubles, Floats, Ints


def log_probability(logits: Floats, labels: Ints) -> Doubles:
    """Return log p_y, the log-probability of the true class: logits ``[..., N, C]``, labels ``[N]`` → ``[..., N]``."""
    from scipy.special import logsumexp

    wide = logits.astype(np.float64)
    result: Doubles = _of_label(wide, labels) - logsumexp(wide, axis=-1)
    return result


def confidence(logits: Floats, labels: Ints) -> Doubles:
    """Return log(p_y / (1 - p_y)) of the true class y: logits ``[..., N, C]``, labels ``[N]`` → float64 ``[..., N]``.

    This is the scaled logit of Carlini et al. 2022 (section IV-C), which is approximately Gaussian over shadow models.
    It is computed as the true class's logit minus the log-sum-exp of the others, which is accurate even if p_y rounds
    to 1.
    """
    from scipy.special import logsumexp

    wide = logits.astype(np.float64)
    own = _of_label(wide, labels)
    wide[..., np.arange(len(labels)), labels] = -np.inf
    result: Doubles = own - logsumexp(wide, axis=-1)
    return result


def _of_label(logits: Doubles, labels: Ints) -> Doubles:
    return logits[..., np.arange(len(labels)), labels]
