"""The loss attack (Yeom, Giacomelli, Fredrikson, Jha 2018, adversary 2): members have small loss.

Score: minus the target's cross-entropy on the example.  Threshold: Yeom et al. call an example a member when its loss
is at most the average training loss of the target, which an attacker does not see; as they do for this, it is
estimated here as the mean loss of the shadow models on their own members.
"""

from rsc_mlflow.attacks.base import Attack, AttackResult, Observations
from rsc_mlflow.attacks.signals import log_probability


def attack(queries: Observations, population: Observations) -> AttackResult:
    """Scores log p_y [N] and the mean log p_y of shadow models on their members.

    Raises:
        InputError: there is no shadow model.
    """
    ATTACK.check(population.n_shadow)
    shadow = log_probability(population.shadow, population.labels)
    return AttackResult(
        scores=log_probability(queries.target, queries.labels),
        threshold=float(shadow[population.shadow_members].mean()),
    )


ATTACK = Attack("loss", "Loss (Yeom et al. 2018)", 1, attack)
