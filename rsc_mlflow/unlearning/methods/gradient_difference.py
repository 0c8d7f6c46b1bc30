"""Gradient difference: gradient ascent on forgotten and descent on retained examples.

This is NegGrad+ of Kurmanji et al. 2023 ("SCRUB").  A step minimizes ``(1−w)·CE(retain) − w·CE(forget)``.
Cross-entropy is unbounded, so without a limit the ascent continues beyond chance level and reduces the accuracy on
other examples.  Unlike in that paper, an example has no gradient while its loss exceeds ``ceiling``, by default
ln(classes), the loss of a uniform prediction.  ``ceiling=0`` gives the method of the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rsc_mlflow.fields import number, option, word_or
from rsc_mlflow.unlearning.base import Examples, Observe, Unlearned, register_method
from rsc_mlflow.unlearning.choices import AUTO
from rsc_mlflow.unlearning.finetuning import FineTuning

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class GradientDifferenceConfig(FineTuning):
    """Options of gradient difference: those of the training loop, and the ceiling of the forgotten examples' losses."""

    NEEDS_GRADIENT: ClassVar[bool] = True

    ceiling: float | str = option(
        "Loss (nats) above which an example counts as forgotten; auto: ln(classes); 0: no ceiling.",
        word_or((AUTO,), number(0)),
        AUTO,
    )

    def loss_ceiling(self, classes: int) -> float:
        """Return the ceiling in nats; infinity if there is none."""
        return math.log(classes) if isinstance(self.ceiling, str) else self.ceiling or math.inf


@register_method(title="gradient difference", config=GradientDifferenceConfig, records=("steps",))
def gradient_difference(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    config: GradientDifferenceConfig,
    observe: Observe | None = None,
) -> Unlearned:
    """Continue training with gradient ascent on the spurious and descent on the retained examples (NegGrad+).

    Minimizes ``(1−w)·CE(retain) − w·min(CE(forget), ceiling)`` with w = ``forget_weight``.  Cost: ``unlearn_epochs``
    training epochs.  See :class:`Method` for arguments and errors.
    """
    from torch.nn.functional import cross_entropy

    from rsc_mlflow.unlearning.finetuning_loop import finetune
    from rsc_mlflow.unlearning.saturation import still_known

    def forget_loss(logits: Tensor, labels: Tensor) -> Tensor:
        losses = cross_entropy(logits, labels, reduction="none")
        return -losses.clamp(max=config.loss_ceiling(logits.shape[1])).mean()

    trained, steps = finetune(model, forget, retain, config, forget_loss, observe)
    return Unlearned(trained, {"steps": steps}, still_known(trained, forget, "Gradient ascent had no effect"))
