"""The loss attack (Yeom, Giacomelli, Fredrikson, Jha 2018, adversary 2): members have small loss.

Score: minus the target's cross-entropy on the example.  Threshold: Yeom et al. call an example a member when its loss
is at most the average training loss of the target, which an attacker does not see; as they do for this, it is
estimated here as the mean loss of the shadow models on their own members.
"""

from rsc_mlflow.attacks.base import AttackResult, Observations, register_attack
from rsc_mlflow.attacks.signals import log_probability


@register_attack(title="Loss (Yeom et al. 2018)")
def loss(queries: Observations, population: Observations) -> AttackResult:
    """Scores log p_y [N] and the mean log p_y of shadow models on their members.

    Raises:
        InputError: there is no shadow model.
    """
    shadow = log_probability(population.shadow, population.labels)
    return AttackResult(
        scores=log_probability(queries.target, queries.labels),
        threshold=float(shadow[population.shadow_members].mean()),
    )
