"""What is said where the examples to forget have no gradient left, as in most models that were trained with Adam.

The gradient of the cross-entropy at the logits has at most the norm √2·(1 − p), with p the probability of the label.
Where p is 1 in float32, methods that follow this gradient have nothing to follow, whatever their options.  Wrong labels
have a gradient there, which is why relabel fine-tuning acts, given enough steps that are large enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from rsc_mlflow.unlearning.base import Examples

NO_GRADIENT = 0.001
"""Mean 1 − p at the examples to forget below which methods that follow their gradient do not act."""
STILL_KNOWN = 0.01
"""Mean loss (nats) of the examples to forget below which nothing was forgotten."""
WHAT_ACTS = (
    "relabel_finetuning with unlearn_learning_rate=0.001 and unlearn_epochs=5, which does not need this gradient, or "
    "exact_retraining"
)


def before_the_method(name: str, confidence: float, norm: float, examples: int, *, needs_gradient: bool) -> str:
    """What is to be expected of a method, before it runs; empty where there is a gradient, or none is needed.

    Args:
        name: of the method.
        confidence: mean probability that the model gives the labels of the examples to forget.
        norm: of the summed gradient of their losses.
        examples: how many they are.
        needs_gradient: whether the method follows this gradient.
    """
    if 1 - confidence >= NO_GRADIENT or not needs_gradient:
        return ""
    return (
        f"the summed gradient of the {examples} examples to forget has norm {norm:.2g} (mean confidence in their "
        f"labels: {confidence:.6g}), so {name} is not expected to change what the model learned from them; "
        f"what acts: {WHAT_ACTS}"
    )


def still_known(trained: nn.Module, forget: Examples, why: str, what_acts: str = WHAT_ACTS) -> tuple[str, ...]:
    """A note if the examples to forget are as well known after a method as before; ``why`` is its first words."""
    from rsc_mlflow.unlearning.gradients import loss_and_accuracy

    loss, _ = loss_and_accuracy(trained, forget)
    if loss >= STILL_KNOWN:
        return ()
    return (
        f"{why}: the mean loss of the {len(forget)} examples to forget is still {loss:.2g}; what acts: {what_acts}",
    )
