"""From a ``mem…`` dataset and a target model to the outcomes of attacks; nothing is written down here.

The four quarters are used once each.  Target-train made the target model: its members.  Target-test: the non-members,
as many.  Shadow-train and shadow-test, in which as many examples of the target class carry the pattern as in the
target's own pair of quarters would, are the population that shadow models are trained on, half of it each.

Whether the shadow models learn the pattern is a choice about the attacker (``ShadowConfig.spurious``):

* True (the default): the attacker knows the recipe.  Each shadow model holds ``count`` spurious examples, like the
  target, so a model that has not seen an example still knows the pattern, and LiRA and RMIA ask about the *example*.
* False (as we understand the paper): shadow models are clean.  Every image with the pattern, trained on or not, then
  looks unusual under the target.  Spurious members *and controls* are called members: the presence of the pattern is
  detected, not the example.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rsc_mlflow import cancellation
from rsc_mlflow.attacks.base import Attack, Bools, Floats, Observations, ShadowConfig
from rsc_mlflow.attacks.evaluation import AttackOutcome, Role, evaluate
from rsc_mlflow.attacks.shadow_sets import draw_shadow_members
from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.data import Dataset, ImageSet, choose_spurious
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import trains_together
from rsc_mlflow.rng import derive_seed
from rsc_mlflow.training.cohort import Cohort, EpochReport
from rsc_mlflow.training.evaluate import evaluate_logits
from rsc_mlflow.training.members import Member, TrainingData


@dataclass(frozen=True, eq=False)
class Population:
    """The attacker's own examples, M of them.

    Attributes:
        clean: shadow-train, then shadow-test, without the pattern.
        spurious_indices: int64 [s] into it, half in either quarter; empty where shadow models are clean.
        spurious_images: float32 [s, C, H, W]: those with the pattern, as every shadow model that holds them sees them.
        members: bool [K, M]: which examples train which shadow model.
    """

    clean: ImageSet
    spurious_indices: Tensor
    spurious_images: Tensor
    members: Bools

    def images(self) -> Tensor:
        """float32 [M, C, H, W], the spurious ones with the pattern; a new tensor."""
        images = self.clean.images.clone()
        images[self.spurious_indices] = self.spurious_images
        return images

    def data(self, k: int) -> TrainingData:
        """The training set of shadow model k."""
        kept = torch.from_numpy(np.flatnonzero(self.members[k]))
        return TrainingData(self.clean, self.spurious_indices, self.spurious_images, kept)


@dataclass(frozen=True, eq=False)
class Queries:
    """The examples whose membership is asked for.

    Attributes:
        images: float32 [N, C, H, W].
        labels: int64 [N].
        roles: int8 [N], values of :class:`Role`.
        shadow_members: bool [K, N]: whether the example, in any form, trained the shadow model.
    """

    images: Tensor
    labels: Tensor
    roles: NDArray[np.int8]
    shadow_members: Bools


def require_quarters(dataset: Dataset) -> tuple[ImageSet, ImageSet]:
    """Shadow-train and shadow-test.

    Raises:
        InputError: the dataset's name is not of the ``mem…`` form.
    """
    if dataset.shadow is None:
        raise InputError(
            f"membership inference needs the quarters of a mem… dataset, got {dataset.name}; "
            f"accepted: memFAMILY or memFAMILYPATTERN-COUNT-TARGET-SEED, for example mem{dataset.name.family}v20-10-0-0"
        )
    return dataset.shadow


def make_population(dataset: Dataset, config: ShadowConfig) -> Population:
    """The population of a ``mem…`` dataset.

    Raises:
        InputError: another dataset, a count larger than the class has in a quarter, or no shadow model.
    """
    train, test = require_quarters(dataset)
    clean = ImageSet(torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]))
    chosen = np.empty(0, dtype=np.int64)
    if config.spurious and dataset.name.pattern is not None:
        name, halves = dataset.name, []
        for half, (part, what) in enumerate(((train, "shadow-train"), (test, "shadow-test"))):
            seed = derive_seed(config.seed, f"spurious examples of {what}") % 2**32
            halves.append(choose_spurious(part.labels.numpy(), name.targets, name.count, seed) + half * len(train))
        chosen = np.concatenate(halves)
    mask = np.zeros(len(clean), dtype=np.bool_)
    mask[chosen] = True
    indices = torch.from_numpy(chosen)
    images = clean.images[indices]
    return Population(
        clean=clean,
        spurious_indices=indices,
        spurious_images=dataset.patterned(images) if len(chosen) else images,
        members=draw_shadow_members(mask, config.n_models, config.seed),
    )


def make_queries(dataset: Dataset, population: Population) -> Queries:
    """Target-train as it was trained on, target-test, and every unseen example of the target class with the pattern.

    Controls are the target-class examples of target-test and of the population; those of the population count as seen
    by the shadow models that trained on them in any form.
    """
    train, test, n_shadow = dataset.train, dataset.test, len(population.members)
    roles = np.full(len(train), Role.MEMBER, dtype=np.int8)
    roles[dataset.spurious_indices.numpy()] = Role.SPURIOUS
    parts = [
        Queries(dataset.training_images(), train.labels, roles, _unseen(n_shadow, len(train))),
        Queries(test.images, test.labels, np.full(len(test), Role.NONMEMBER, np.int8), _unseen(n_shadow, len(test))),
    ]
    if dataset.name.n_spurious:
        parts.append(_controls(dataset, test, _unseen(n_shadow, len(test))))
        parts.append(_controls(dataset, population.clean, population.members))
    return Queries(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        np.concatenate([part.roles for part in parts]),
        np.concatenate([part.shadow_members for part in parts], axis=1),
    )


def _unseen(n_shadow: int, n: int) -> Bools:
    return np.zeros((n_shadow, n), dtype=np.bool_)


def _controls(dataset: Dataset, source: ImageSet, seen: Bools) -> Queries:
    here = np.isin(source.labels.numpy(), dataset.name.targets)
    indices = torch.from_numpy(np.flatnonzero(here))
    roles = np.full(len(indices), Role.CONTROL, np.int8)
    return Queries(dataset.patterned(source.images[indices]), source.labels[indices], roles, seen[:, here])


def shadow_members(population: Population, training: TrainingConfig, config: ShadowConfig) -> list[Member]:
    """The shadow models to train: as the target was, each with its half of the population and a seed of its own."""
    return [
        Member(population.data(k), replace(training, random_seed=derive_seed(config.seed, f"shadow model {k}") % 2**32))
        for k in range(len(population.members))
    ]


def train_models(
    members: Sequence[Member],
    classes: int,
    device: torch.device,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> list[nn.Module]:
    """Train models, in one cohort where the architecture allows it, else one after the other."""
    model, shape = members[0].config.model, members[0].data.clean.image_shape
    together = len(members) if trains_together(model.architecture, shape, model.augmentation, device) else 1
    modules: list[nn.Module] = []
    for start in range(0, len(members), together):
        cohort = Cohort(members[start : start + together], classes, device)
        for epoch in cohort.epochs():
            cancellation.check()
            report(epoch)
        modules += [cohort.module(k) for k in range(len(cohort))]
    return modules


def attack_model(
    target: nn.Module,
    shadows: Sequence[nn.Module],
    dataset: Dataset,
    population: Population,
    attacks: Sequence[Attack],
    device: torch.device,
) -> list[AttackOutcome]:
    """The outcome of each attack on ``target``.

    Args:
        target: trained on target-train, or unlearned from such a model.
        shadows: the K models trained on ``population``, in the order of its members.
        dataset: the ``mem…`` dataset.
        population: made from it.
        attacks: which to run.
        device: where to compute logits.

    Raises:
        InputError: a model does not fit the data, gives logits that are not finite, or an attack refuses.
    """
    queries = make_queries(dataset, population)
    asked = observe(target, shadows, queries.images, queries.labels, queries.shadow_members, device)
    known = observe(target, shadows, population.images(), population.clean.labels, population.members, device)
    return [evaluate(attack, asked, known, queries.roles) for attack in attacks]


def observe(
    target: nn.Module,
    shadows: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    shadow_members: Bools,
    device: torch.device,
) -> Observations:
    """Logits of target and shadow models on images float32 [N, C, H, W] with labels int64 [N]."""
    shadow = np.stack([_logits(module, images, device) for module in shadows])
    return Observations(_logits(target, images, device), shadow, shadow_members, labels.numpy())


def _logits(module: nn.Module, images: Tensor, device: torch.device) -> Floats:
    cancellation.check()
    logits: Floats = evaluate_logits(module, images, device).numpy()
    return logits
