"""The roles of queries, and the evaluation of one attack.

Two comparisons are made.  *Ordinary members* versus *ordinary non-members* measures the membership leakage of the
model.  *Spurious members* versus *controls* measures whether it leaks the membership of examples with the pattern.
Controls are non-members of the same class with the same pattern.  They are necessary because a model that learned the
pattern treats all images with the pattern alike: an attack may classify all spurious members as members without any
information about membership, but then it classifies the controls as members, too.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rsc_mlflow import cancellation
from rsc_mlflow.attacks.base import Attack, AttackResult, Bools, Doubles, Ints, Observations
from rsc_mlflow.attacks.metrics import (
    SpuriousLeak,
    auc,
    auc_by_class,
    balanced_accuracy,
    spurious_leak,
    tpr_at_fpr,
)

FALSE_POSITIVE_RATES = (0.01, 0.001)


class Role(IntEnum):
    """The relation of a query to the target model's training set."""

    MEMBER = 0
    """In the training set, without the pattern."""
    NONMEMBER = 1
    """Not in the training set, without the pattern."""
    SPURIOUS = 2
    """In the training set, with the pattern."""
    CONTROL = 3
    """Not in the training set in any form; of the target class, with the pattern."""


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """The scores of one attack on the queries, with their true roles.

    Attributes:
        attack: the attack.
        result: scores ``[N]`` and threshold.
        roles: values of :class:`Role`, int8 ``[N]``.
        labels: int ``[N]``.
        leak: comparison of spurious members with controls; None for a clean dataset.
    """

    attack: Attack
    result: AttackResult
    roles: NDArray[np.int8]
    labels: Ints
    leak: SpuriousLeak | None

    def scores(self, role: Role) -> Doubles:
        """Return the scores of the queries with one role."""
        chosen: Doubles = self.result.scores[self.roles == role]
        return chosen

    def ordinary(self) -> tuple[Doubles, Bools, Ints]:
        """Return the scores, membership and labels of ordinary members and non-members, each ``[n]``."""
        mask = (self.roles == Role.MEMBER) | (self.roles == Role.NONMEMBER)
        return self.result.scores[mask], self.roles[mask] == Role.MEMBER, self.labels[mask]

    def spurious(self) -> tuple[Doubles, Bools]:
        """Return the scores and membership of spurious members and controls, each ``[n]``."""
        groups = [self.scores(role) for role in (Role.SPURIOUS, Role.CONTROL)]
        return np.concatenate(groups), np.repeat([True, False], [len(group) for group in groups])

    def measures(self) -> dict[str, float]:
        """Return the measures of the attack by name, as logged in ``attack/{attack}/…``.

        Without a pattern, there are only measures of ordinary examples.
        """
        scores, members, labels = self.ordinary()
        found = {
            "auc": auc(scores, members),
            "balanced_accuracy": balanced_accuracy(scores, members, self.result.threshold),
        }
        found |= {f"tpr_at_fpr_{fpr:g}": tpr_at_fpr(scores, members, fpr) for fpr in FALSE_POSITIVE_RATES}
        found |= {f"auc_class_{label}": value for label, value in auc_by_class(scores, members, labels).items()}
        if self.leak is not None:
            found |= {
                "spurious_tpr": self.leak.tpr,
                "control_fpr": self.leak.control_fpr,
                "spurious_auc": self.leak.auc,
                "spurious_auc_low": self.leak.interval.low,
                "spurious_auc_high": self.leak.interval.high,
                "spurious_p_value": self.leak.p_value,
                "spurious_p_value_error": self.leak.p_value_error,
                "n_spurious": float(self.leak.n_members),
                "n_controls": float(self.leak.n_controls),
            }
        return found


def evaluate(
    attack: Attack, queries: Observations, population: Observations, roles: NDArray[np.int8], seed: int = 0
) -> AttackOutcome:
    """Run an attack and return its scores together with the roles of the queries.

    Args:
        attack: the attack; it does not receive ``roles``.
        queries: the N queries.
        population: the attacker's examples.
        roles: values of :class:`Role`, int8 ``[N]``.
        seed: seed of the bootstrap interval and of random permutations.

    Raises:
        InputError: the attack cannot use the observations, or there are no ordinary members or non-members.
    """
    cancellation.check()
    result = attack.run(queries, population)
    spurious, controls = result.scores[roles == Role.SPURIOUS], result.scores[roles == Role.CONTROL]
    leak = spurious_leak(spurious, controls, result.threshold, seed) if len(spurious) and len(controls) else None
    return AttackOutcome(attack, result, roles, queries.labels, leak)
