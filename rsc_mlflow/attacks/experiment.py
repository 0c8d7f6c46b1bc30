"""Membership inference on a target model and a ``mem…`` dataset, without tracking.

Each quarter of the dataset has one role.  The target model was trained on target-train, so these are the members.
Target-test contains the same number of non-members.  Shadow-train and shadow-test are the population; each shadow model
is trained on half of it.

``ShadowConfig.spurious`` selects what the attacker knows:

* True (the default): the attacker knows how spurious examples are made.  Each shadow model is trained on as many
  spurious examples as the target.  A shadow model that has not seen an example has still learned the pattern, so LiRA
  and RMIA detect the membership of the *example*.
* False (our reading of the paper): the shadow models are clean.  Compared with them, the target is unusually confident
  on every image with the pattern, whether it was trained on it or not.  Attacks then classify spurious members *and
  controls* as members: they detect the pattern, not the membership of the example.
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
    """The attacker's own M examples.

    Attributes:
        clean: shadow-train, then shadow-test, without the pattern.
        spurious_indices: indices of spurious examples, half of them in each quarter, int64 ``[s]``; empty if the shadow
            models are clean.
        spurious_images: these examples with the pattern, float32 ``[s, C, H, W]``.
        members: which of the K shadow models is trained on which example, bool ``[K, M]``.
    """

    clean: ImageSet
    spurious_indices: Tensor
    spurious_images: Tensor
    members: Bools

    def images(self) -> Tensor:
        """Return a new tensor of all images, spurious ones with the pattern, float32 ``[M, C, H, W]``."""
        images = self.clean.images.clone()
        images[self.spurious_indices] = self.spurious_images
        return images

    def data(self, k: int) -> TrainingData:
        """Return the training set of shadow model k."""
        kept = torch.from_numpy(np.flatnonzero(self.members[k]))
        return TrainingData(self.clean, self.spurious_indices, self.spurious_images, kept)


@dataclass(frozen=True, eq=False)
class Queries:
    """The examples whose membership is to be inferred.

    Attributes:
        images: float32 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        roles: values of :class:`Role`, int8 ``[N]``.
        shadow_members: whether each shadow model was trained on each example in any form, bool ``[K, N]``.
    """

    images: Tensor
    labels: Tensor
    roles: NDArray[np.int8]
    shadow_members: Bools


def require_quarters(dataset: Dataset) -> tuple[ImageSet, ImageSet]:
    """Return the quarters shadow-train and shadow-test.

    Raises:
        InputError: the dataset's name does not have the ``mem…`` form.
    """
    if dataset.shadow is None:
        raise InputError(
            f"Membership inference needs the quarters of a mem… dataset, got {dataset.name}. "
            f"Expected memFAMILY or memFAMILYPATTERN-COUNT-TARGET-SEED, for example mem{dataset.name.family}v20-10-0-0."
        )
    return dataset.shadow


def make_population(dataset: Dataset, config: ShadowConfig) -> Population:
    """Return the population of a ``mem…`` dataset.

    Raises:
        InputError: the dataset has another form, its count is larger than the class in a quarter, or there are no
            shadow models.
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
    """Return the queries: target-train as used in training, target-test, and the controls.

    Controls are all examples of the target class in target-test and in the population, with the pattern.  In
    ``shadow_members``, a control from the population is a member of each shadow model trained on it in any form.
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


def _controls(dataset: Dataset, source: ImageSet, members: Bools) -> Queries:
    here = np.isin(source.labels.numpy(), dataset.name.targets)
    indices = torch.from_numpy(np.flatnonzero(here))
    roles = np.full(len(indices), Role.CONTROL, np.int8)
    return Queries(dataset.patterned(source.images[indices]), source.labels[indices], roles, members[:, here])


def shadow_members(population: Population, training: TrainingConfig, config: ShadowConfig) -> list[Member]:
    """Return the shadow models to train.

    Each one has the target's training options, its half of the population, and its own training seed.
    """
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
    """Train models, as one cohort if they can be trained together on this device, and return them.

    Args:
        members: the models to train.
        classes: number of classes.
        device: the device to train on.
        report: called after each epoch of each cohort.
    """
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
    """Return the outcome of each attack on ``target``.

    Args:
        target: a model trained on target-train, or unlearned from such a model.
        shadows: the K models trained on ``population``, in the order of ``population.members``.
        dataset: the ``mem…`` dataset.
        population: the population of ``dataset``.
        attacks: the attacks to run.
        device: the device to compute logits on.

    Raises:
        InputError: a model does not accept the images, its logits are not finite, or an attack cannot be run.
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
    """Return the logits of all models on the same images.

    Args:
        target: the target model.
        shadows: the K shadow models.
        images: float32 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        shadow_members: see :class:`Observations`, bool ``[K, N]``.
        device: the device to compute on.
    """
    shadow = np.stack([_logits(module, images, device) for module in shadows])
    return Observations(_logits(target, images, device), shadow, shadow_members, labels.numpy())


def _logits(module: nn.Module, images: Tensor, device: torch.device) -> Floats:
    cancellation.check()
    logits: Floats = evaluate_logits(module, images, device).numpy()
    return logits
