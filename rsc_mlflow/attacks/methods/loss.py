"""The loss attack (Yeom, Giacomelli, Fredrikson, Jha 2018, adversary 2), which assumes that members have a small loss.

The score is the negative cross-entropy of the target on the example.  Yeom et al. classify an example as a member if
its loss is at most the target's mean training loss.  The attacker does not know this loss, so the threshold is the mean
loss of the shadow models on their members.
"""

from rsc_mlflow.attacks.base import AttackResult, Observations, register_attack
from rsc_mlflow.attacks.signals import log_probability


@register_attack(title="Loss (Yeom et al. 2018)")
def loss(queries: Observations, population: Observations) -> AttackResult:
    """Return the scores log p_y, float64 ``[N]``, and the mean log p_y of shadow models on their members."""
    shadow = log_probability(population.shadow, population.labels)
    return AttackResult(
        scores=log_probability(queries.target, queries.labels),
        threshold=float(shadow[population.shadow_members].mean()),
    )
