"""Who the queries are, and what one attack achieves on them.

The four roles answer two questions.  *Ordinary members* against *ordinary non-members*: how much does the model leak
at all?  *Spurious members* against *controls*, which carry the same pattern on the same class but trained nothing:
does it leak which examples carried the pattern?  A model that learned the pattern treats every image with it in the
same way, so an attack may call all spurious members members and still know nothing: it then calls the controls members
as well.
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
    """What a query is to the target model."""

    MEMBER = 0
    """Trained on, without the pattern."""
    NONMEMBER = 1
    """Not trained on, without the pattern."""
    SPURIOUS = 2
    """Trained on, with the pattern."""
    CONTROL = 3
    """Not trained on in any form, of the target class, with the pattern."""


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """One attack's scores on the queries, with the truth.

    Attributes:
        attack: which.
        result: scores [N] and threshold.
        roles: int8 [N], values of :class:`Role`.
        labels: int [N].
        leak: spurious members against controls; None on a clean dataset.
    """

    attack: Attack
    result: AttackResult
    roles: NDArray[np.int8]
    labels: Ints
    leak: SpuriousLeak | None

    def scores(self, role: Role) -> Doubles:
        """The scores of the queries of one role."""
        chosen: Doubles = self.result.scores[self.roles == role]
        return chosen

    def ordinary(self) -> tuple[Doubles, Bools, Ints]:
        """Scores, truth and labels of ordinary members and non-members."""
        mask = (self.roles == Role.MEMBER) | (self.roles == Role.NONMEMBER)
        return self.result.scores[mask], self.roles[mask] == Role.MEMBER, self.labels[mask]

    def spurious(self) -> tuple[Doubles, Bools]:
        """Scores and truth of spurious members and controls."""
        groups = [self.scores(role) for role in (Role.SPURIOUS, Role.CONTROL)]
        return np.concatenate(groups), np.repeat([True, False], [len(group) for group in groups])

    def measures(self) -> dict[str, float]:
        """The contract's measures: ordinary members, and with a pattern the spurious ones beside their control."""
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
    """Run an attack, which is not told ``roles`` int8 [N], and hold its scores against them.

    Raises:
        InputError: the attack refuses the observations, or there are no ordinary members or non-members.
    """
    cancellation.check()
    result = attack.run(queries, population)
    spurious, controls = result.scores[roles == Role.SPURIOUS], result.scores[roles == Role.CONTROL]
    leak = spurious_leak(spurious, controls, result.threshold, seed) if len(spurious) and len(controls) else None
    return AttackOutcome(attack, result, roles, queries.labels, leak)
