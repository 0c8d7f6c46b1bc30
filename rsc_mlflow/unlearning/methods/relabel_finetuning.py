"""Forgetting by wrong labels: go on training with random wrong labels on what is to be forgotten.

Golatkar et al. 2020 ("Eternal sunshine of the spotless net", the random-labels baseline); Graves et al.
2021 ("Amnesiac machine learning").  The forget examples get labels drawn uniformly from the other classes,
anew at each step, while the retain set is trained on as before.  Unlike an influence update this does
not need a gradient at the forgotten examples' own labels, so it acts on saturated models too.

What it leaves: the model *un*learns more than retraining would, since examples that look like class k with
a pattern are now taught as "not k"; the gap to the exact retraining can be negative.
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
    """For each label one of the other ``classes − 1`` classes, uniformly: int64 of the labels' shape."""
    import torch

    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + shift.to(labels.device)) % classes


@register_method(title="relabel fine-tuning", config=FineTuning, records=("steps",))
def relabel_finetuning(
    model: nn.Module, forget: Examples, retain: Examples, config: FineTuning, observe: Observe | None = None
) -> Unlearned:
    """Go on training with random wrong labels on the spurious examples, and the kept ones as they are.

    Minimizes ``(1−w)·CE(retain) + w·CE(forget, random wrong labels)`` for some epochs.  Cost: ``unlearn_epochs``
    training epochs.  See ``Method`` for arguments and errors.
    """
    from torch.nn.functional import cross_entropy

    from rsc_mlflow.unlearning.finetuning_loop import finetune
    from rsc_mlflow.unlearning.saturation import still_known

    generator = torch_generator(config.random_seed, "wrong labels")

    def forget_loss(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, wrong_labels(labels, logits.shape[1], generator))

    trained, steps = finetune(model, forget, retain, config, forget_loss, observe)
    more = "a larger unlearn_learning_rate (0.001) and more unlearn_epochs (5) than were given, or exact_retraining"
    return Unlearned(trained, {"steps": steps}, still_known(trained, forget, "the wrong labels were not learned", more))
