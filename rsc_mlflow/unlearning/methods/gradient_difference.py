"""Ascent on what to forget, descent on what to keep: NegGrad+ (Kurmanji et al. 2023, "SCRUB").

A step minimizes ``(1−w)·CE(retain) − w·CE(forget)``.  The ascent has no end of its own: cross-entropy is
unbounded, and a model driven past chance on the forget set loses accuracy elsewhere.  Deviation from the
paper: an example stops counting once its loss exceeds ``ceiling``; by default the loss of a uniform guess,
ln(classes), which is what "forgotten" means; ``ceiling=0`` gives the paper's method.
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
    """Options: those of the training loop, and the loss above which an example is forgotten."""

    NEEDS_GRADIENT: ClassVar[bool] = True

    ceiling: float | str = option(
        "Loss in nats above which an example counts as forgotten; auto: ln(classes), 0: no ceiling.",
        word_or((AUTO,), number(0)),
        AUTO,
    )

    def loss_ceiling(self, classes: int) -> float:
        """The ceiling in nats; infinite where there is none."""
        return math.log(classes) if isinstance(self.ceiling, str) else self.ceiling or math.inf


@register_method(title="gradient difference", config=GradientDifferenceConfig, records=("steps",))
def gradient_difference(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    config: GradientDifferenceConfig,
    observe: Observe | None = None,
) -> Unlearned:
    """Go on training: gradient ascent on the spurious examples, descent on the kept ones (NegGrad+).

    Minimizes ``(1−w)·CE(retain) − w·min(CE(forget), ceiling)`` for some epochs.  Cost: ``unlearn_epochs`` training
    epochs.  See ``Method`` for arguments and errors.
    """
    from torch.nn.functional import cross_entropy

    from rsc_mlflow.unlearning.finetuning_loop import finetune
    from rsc_mlflow.unlearning.saturation import still_known

    def forget_loss(logits: Tensor, labels: Tensor) -> Tensor:
        losses = cross_entropy(logits, labels, reduction="none")
        return -losses.clamp(max=config.loss_ceiling(logits.shape[1])).mean()

    trained, steps = finetune(model, forget, retain, config, forget_loss, observe)
    return Unlearned(trained, {"steps": steps}, still_known(trained, forget, "the ascent found no gradient to follow"))
