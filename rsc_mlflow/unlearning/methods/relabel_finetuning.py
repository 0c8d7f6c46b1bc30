"""Relabel fine-tuning: continue training with random wrong labels on the forgotten examples.

Golatkar et al. 2020 ("Eternal sunshine of the spotless net", the random-labels baseline); Graves et al. 2021 ("Amnesiac
machine learning").  At each step the forgotten examples get labels drawn uniformly from the other classes; the retained
examples keep their labels.  Unlike an influence update, the method does not need the gradient at the original labels,
so it also works for saturated models.

The method can overshoot: images of class k with the pattern are trained to be "not k", so the spurious score can fall
below that of the retrained model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsc_mlflow.rng import torch_generator
from rsc_mlflow.unlearning.base import Examples, Observe, Unlearned, register_method
from rsc_mlflow.unlearning.finetuning import FineTuning

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Return a uniformly random other class for each label, int64 with the shape of ``labels``."""
    import torch

    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + shift.to(labels.device)) % classes


@register_method(title="relabel fine-tuning", config=FineTuning, records=("steps",))
def relabel_finetuning(
    model: nn.Module, forget: Examples, retain: Examples, config: FineTuning, observe: Observe | None = None
) -> Unlearned:
    """Continue training with random wrong labels on the spurious examples and true labels on the retained ones.

    Minimizes ``(1−w)·CE(retain) + w·CE(forget, random wrong labels)`` with w = ``forget_weight``.  Cost:
    ``unlearn_epochs`` training epochs.  See :class:`Method` for arguments and errors.
    """
    from torch.nn.functional import cross_entropy

    from rsc_mlflow.unlearning.finetuning_loop import finetune
    from rsc_mlflow.unlearning.saturation import still_known

    generator = torch_generator(config.random_seed, "wrong labels")

    def forget_loss(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, wrong_labels(labels, logits.shape[1], generator))

    trained, steps = finetune(model, forget, retain, config, forget_loss, observe)
    more = "a larger unlearn_learning_rate (e.g. 0.001), more unlearn_epochs (e.g. 5), or exact_retraining"
    return Unlearned(trained, {"steps": steps}, still_known(trained, forget, "The wrong labels were not learned", more))
