"""Ascent on what to forget, descent on what to keep: NegGrad+ (Kurmanji et al. 2023, "SCRUB").

A step minimises ``(1−w)·CE(retain) − w·CE(forget)``.  The ascent has no end of its own: cross-entropy is
unbounded, and a model driven past chance on the forget set loses accuracy elsewhere.  Deviation from the
paper: an example stops counting once its loss exceeds ``ceiling``; by default the loss of a uniform guess,
ln(classes), which is what "forgotten" means; ``ceiling=0`` gives the paper's method.
"""

import math
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rsc_mlflow.unlearning.base import Examples, Observe, Unlearned, check_range
from rsc_mlflow.unlearning.finetuning import FineTuning, finetune
from rsc_mlflow.unlearning.gradients import loss_and_accuracy

CHANCE = -1.0
"""Value of ``ceiling`` that stands for ln(classes)."""


STILL_KNOWN = 0.01
"""Mean forget loss (nats) below which nothing was forgotten."""


@dataclass(frozen=True)
class GradientDifferenceConfig:
    """Options: those of the training loop, and the loss (nats) above which an example is forgotten; 0: none."""

    training: FineTuning = field(default_factory=FineTuning)
    ceiling: float = CHANCE

    def __post_init__(self) -> None:
        if self.ceiling != CHANCE:
            check_range("ceiling", self.ceiling, 0)


def gradient_difference(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    config: GradientDifferenceConfig,
    observe: Observe | None = None,
) -> Unlearned:
    """Minimise ``(1−w)·CE(retain) − w·min(CE(forget), ceiling)`` for some epochs.

    Cost: ``epochs`` training epochs.  See ``Method`` for arguments and errors.
    """

    def forget_loss(logits: Tensor, labels: Tensor) -> Tensor:
        losses = cross_entropy(logits, labels, reduction="none")
        ceiling = math.log(logits.shape[1]) if config.ceiling == CHANCE else config.ceiling or math.inf
        return -losses.clamp(max=ceiling).mean()

    trained, steps = finetune(model, forget, retain, config.training, forget_loss, observe)
    return Unlearned(trained, {"steps": steps}, _notes(trained, forget))


def _notes(trained: nn.Module, forget: Examples) -> tuple[str, ...]:
    """The gradient of a loss near 0 is near 0 as well, and Adam then follows the retain set alone."""
    loss, _ = loss_and_accuracy(trained, forget)
    if loss >= STILL_KNOWN:
        return ()
    return (
        f"the ascent found no gradient to follow: the mean loss of the {len(forget)} examples to forget is still "
        f"{loss:.2g}; the model is saturated on them: use relabel_finetuning or exact_retraining, a larger "
        "learning_rate or more epochs",
    )
