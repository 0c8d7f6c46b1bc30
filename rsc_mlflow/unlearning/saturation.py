"""Warnings about saturated models.

A model is saturated if its loss has almost no gradient at the forgotten examples, as is common after training with
Adam.  The norm of the cross-entropy's gradient with respect to the logits is at most √2·(1 − p), where p is the
probability of the label.  If p is 1 in float32, methods that follow this gradient have no effect, whatever their
options.  The gradient of wrong labels does not vanish, so relabel fine-tuning works if its steps are large enough and
there are enough of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from rsc_mlflow.unlearning.base import Examples

NO_GRADIENT = 0.001
"""Mean 1 − p of the forgotten examples below which methods that follow their gradient are not expected to work."""
STILL_KNOWN = 0.01
"""Mean loss (nats) of the forgotten examples below which unlearning counts as having had no effect."""
WHAT_ACTS = (
    "relabel_finetuning with unlearn_learning_rate=0.001 and unlearn_epochs=5, which does not need this gradient, or "
    "exact_retraining"
)


def before_the_method(name: str, confidence: float, norm: float, examples: int, *, needs_gradient: bool) -> str:
    """Return a warning, before a method runs, if it is not expected to have an effect; otherwise an empty text.

    Args:
        name: name of the method.
        confidence: mean probability of the labels of the forgotten examples.
        norm: norm of the summed gradient of their losses.
        examples: number of forgotten examples.
        needs_gradient: whether the method follows this gradient.
    """
    if 1 - confidence >= NO_GRADIENT or not needs_gradient:
        return ""
    return (
        f"The summed gradient of the {examples} forgotten examples has norm {norm:.2g} (mean confidence in their "
        f"labels: {confidence:.6g}), so {name} is not expected to change what the model learned from them. "
        f"Use {WHAT_ACTS}."
    )


def still_known(trained: nn.Module, forget: Examples, why: str, what_acts: str = WHAT_ACTS) -> tuple[str, ...]:
    """Return a warning if the loss of the forgotten examples is still near 0; otherwise nothing.

    Args:
        trained: the unlearned model.
        forget: the forgotten examples.
        why: the beginning of the warning.
        what_acts: what to do instead.
    """
    from rsc_mlflow.unlearning.gradients import loss_and_accuracy

    loss, _ = loss_and_accuracy(trained, forget)
    if loss >= STILL_KNOWN:
        return ()
    return (f"{why}: the mean loss of the {len(forget)} forgotten examples is still {loss:.2g}. Use {what_acts}.",)
