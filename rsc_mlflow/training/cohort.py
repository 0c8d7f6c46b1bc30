"""Training of a cohort: K models of the same architecture, trained together as one stacked model."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build, build_empty, enlargement, stackable
from rsc_mlflow.models.mapped import MappedModel
from rsc_mlflow.models.stacked import SingleModel, Stack, StackedModel
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training.augmentation import check_aug01
from rsc_mlflow.training.batches import BatchIterator
from rsc_mlflow.training.checkpoint import Checkpoint
from rsc_mlflow.training.members import Member, check_members
from rsc_mlflow.training.optimizers import STEPS_BETWEEN_DROPS, CohortOptimizer, block_key
from rsc_mlflow.training.precision import autocast, check_precision, tf32_as
from rsc_mlflow.training.resident import as_floats, on_device
from rsc_mlflow.training.schedule import learning_rate_at
from rsc_mlflow.training.step import PURPOSES, Step, recorder_for

BATCHES = "batches"
"""Purpose of the generators that draw the order of examples.  They are on the CPU; those of the other purposes
(``step.PURPOSES``) are on the device."""
EVALUATED_AT_A_TIME = {"cpu": 2048, "cuda": 16384}
"""Maximum number of images in a batch of an evaluation, multiplied by the members that are evaluated together."""


@dataclass(frozen=True)
class EpochResult:
    """Results of one epoch of one member.

    Attributes:
        loss: mean training loss over the epoch's examples, measured during training.
        accuracy: share of correct predictions on the training examples, measured during training.
        learning_rate: learning rate of the epoch.
    """

    loss: float
    accuracy: float
    learning_rate: float


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        members: results of the members, in the order in which they were given.
        seconds: time for all members together.
    """

    epoch: int
    members: tuple[EpochResult, ...]
    seconds: float


class Diverged(InputError):  # noqa: N818 - what happened, like the built-in KeyboardInterrupt
    """Training diverged; ``members`` are the positions in the cohort of the members that diverged."""

    def __init__(self, message: str, members: Sequence[int]) -> None:
        super().__init__(message)
        self.members = tuple(members)


class Cohort:
    """Trains its members together.  Each one has the initial weights and batches that it would have alone.

    Members may differ in data, seed, learning rate, momentum, weight decay, clipping, input noise and schedule.  All
    else must be equal; see :func:`rsc_mlflow.training.members.check_members`.

    Args:
        members: the models to train.
        classes: number of classes.
        device: the device to train on.
        record_steps: whether a GPU records the training step as a CUDA graph and replays it.  Without recording,
            training is slower but gives the same result.

    Raises:
        InputError: the members cannot be trained together, or the architecture does not accept the images.
    """

    def __init__(
        self, members: Sequence[Member], classes: int, device: torch.device, *, record_steps: bool = True
    ) -> None:
        check_members(members)
        self._config = members[0].config
        self._image_shape = members[0].data.clean.image_shape
        check_aug01(self._config.model.augmentation, self._image_shape)
        check_precision(self._config.precision, device)
        self._classes, self._device = classes, device
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # pragma: no cover - needs a GPU; for reproducibility
        # Members are sorted by hyper-parameters; _slot[k] is the new position of member k.
        keys = [block_key(m.config, m.start.optimizer if m.start else None) for m in members]
        order = sorted(range(len(members)), key=lambda k: (keys[k], k))
        self._slot = [order.index(k) for k in range(len(members))]
        self._members = [members[k] for k in order]
        self.epoch = members[0].start.epoch if members[0].start else 0
        self._stack = self._make_stack()
        self._generators = {purpose: [self._generator(m, purpose) for m in self._members] for purpose in PURPOSES}
        orders = [self._generator(m, BATCHES) for m in self._members]
        self._batches = BatchIterator([m.data for m in self._members], self._config.batch_size, orders, device)
        starts = [m.start.optimizer if m.start else None for m in self._members]
        self._optimizer = CohortOptimizer(self._stack.parameters, [m.config for m in self._members], starts)
        recorder = recorder_for(device) if record_steps else None
        self._step = Step(
            self._members, self._stack, self._batches, self._optimizer, self._generators, device, recorder
        )

    def __len__(self) -> int:
        return len(self._members)

    def epochs(self) -> Iterator[EpochReport]:
        """Train until epoch ``config.epochs``, counted from the start of training, and yield a report after each epoch.

        Between epochs the caller may evaluate the members, save checkpoints or stop.

        Raises:
            Diverged: after an epoch, some weights of a member are not finite.
            Cancelled: the process was asked to stop; see :mod:`rsc_mlflow.cancellation`.
        """
        while self.epoch < self._config.epochs:
            with tf32_as(self._config.precision):
                report = self._train_epoch()
            yield report

    def logits(self, images: Tensor, members: Sequence[int] | None = None) -> Tensor:
        """Return the members' logits in evaluation mode, float32 ``[K, N, classes]``, on the cohort's device.

        On the CPU, members are evaluated one by one, because evaluating them together would hardly be faster.  There,
        the logits are bitwise equal to those that :func:`evaluate_logits` returns for a member's :meth:`module`.

        Args:
            images: float32 ``[N, C, H, W]``, the same for all members, on any device.
            members: positions in the cohort of the members to evaluate; None: all.

        Raises:
            Cancelled: the process was asked to stop; see :mod:`rsc_mlflow.cancellation`.
        """
        slots = [self._slot[k] for k in (range(len(self)) if members is None else members)]
        together = len(slots) if self._device.type == "cuda" else 1
        with torch.no_grad(), tf32_as(self._config.precision):
            found = [self._logits(images, slots[k : k + together]) for k in range(0, len(slots), together)]
        return torch.cat(found)

    def _logits(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        rows = max(1, EVALUATED_AT_A_TIME[self._device.type] // len(slots) // self._enlargement)
        parts = []
        for batch in torch.split(on_device(images, self._device), rows):
            cancellation.check()
            with autocast(self._config.precision, self._device):
                parts.append(self._stack.evaluate(as_floats(batch), slots).float())
        return torch.cat(parts, 1)

    def module(self, k: int) -> nn.Module:
        """Return a copy of member k as a module on the cohort's device, in evaluation mode."""
        name = self._config.model
        model = build_empty(name.architecture, self._image_shape, self._classes, name.augmentation)
        model.load_state_dict(self._stack.member_state(self._slot[k]))
        return model.to(self._device)

    def checkpoint(self, k: int) -> Checkpoint:
        """Return member k's checkpoint after the current epoch, in the format of a model that is trained alone."""
        slot = self._slot[k]
        config = self._members[slot].config
        return Checkpoint(
            epoch=self.epoch,
            config=config,
            model={key: value.cpu() for key, value in self._stack.member_state(slot).items()},
            optimizer=self._optimizer.member_state(slot),
            generators={BATCHES: self._batches.state(slot)}
            | {purpose: own[slot].get_state() for purpose, own in self._generators.items()},
            device=self._device.type,
            learning_rate=learning_rate_at(config, max(1, self.epoch)),
        )

    def _make_stack(self) -> Stack:
        models = [self._make_model(member) for member in self._members]
        self._enlargement = enlargement(models[0], self._image_shape)
        if stackable(self._config.model.architecture):
            return StackedModel(models, self._device)
        return SingleModel(models[0], self._device) if len(models) == 1 else MappedModel(models, self._device)

    def _make_model(self, member: Member) -> nn.Module:
        architecture, augmentation = member.config.model.architecture, member.config.model.augmentation
        if member.start is None:
            generator = torch_generator(member.config.random_seed, "init")
            return build(architecture, self._image_shape, self._classes, generator, augmentation)
        model = build_empty(architecture, self._image_shape, self._classes, augmentation)
        try:
            model.load_state_dict(member.start.model)
        except RuntimeError as error:
            raise InputError(
                f"The checkpoint's weights do not fit {architecture} for images of shape {self._image_shape} "
                f"and {self._classes} classes. Use a checkpoint of the same data and model."
            ) from error
        return model

    def _generator(self, member: Member, purpose: str) -> torch.Generator:
        device = torch.device("cpu") if purpose == BATCHES else self._device
        start = member.start
        if start is None:
            return torch_generator(member.config.random_seed, purpose, device)
        state = start.generators.get(purpose)
        if state is None or (purpose != BATCHES and start.device != self._device.type):
            # only the weights are known, or the state is that of a generator on another type of device
            return torch_generator(member.config.random_seed, f"{purpose} after epoch {start.epoch}", device)
        generator = torch.Generator(device=device)
        generator.set_state(state)
        return generator

    def _train_epoch(self) -> EpochReport:
        began = time.perf_counter()
        epoch = self.epoch + 1
        rates = [learning_rate_at(member.config, epoch) for member in self._members]
        self._optimizer.set_learning_rates(rates)
        self._batches.start_epoch()
        self._step.start_epoch()
        for number, size in enumerate(self._batches.sizes):
            cancellation.check()
            if number % STEPS_BETWEEN_DROPS == 0:
                self._optimizer.drop_negligible()
            self._step(size)
        self._batches.end_epoch(more=epoch < self._config.epochs)  # draws the next order while a GPU still computes
        self.epoch = epoch
        self._refuse_diverged()
        count = self._batches.examples
        results = [
            EpochResult(loss / count, hit / count, rate)
            for loss, hit, rate in zip(self._step.losses.tolist(), self._step.hits.tolist(), rates, strict=True)
        ]
        return EpochReport(epoch, tuple(results[slot] for slot in self._slot), time.perf_counter() - began)

    def _refuse_diverged(self) -> None:
        """Raise Diverged if some weights are not finite.  Such a model would get a spurious score of 0."""
        whole = torch.ones(len(self), dtype=torch.bool, device=self._device)
        for values in self._stack.parameters.values():
            whole &= torch.isfinite(values).flatten(1).all(1)
        diverged = [k for k, finite in enumerate(whole[self._slot].tolist()) if not finite]
        if diverged:
            configs = [self._members[self._slot[k]].config for k in diverged]
            which = [f"learning_rate {one.learning_rate:g} and random_seed {one.random_seed}" for one in configs]
            raise Diverged(
                f"Training diverged: after epoch {self.epoch}, not all weights are finite ({'; '.join(which)}). "
                "Use a smaller learning_rate (or weight_decay, or input_noise).",
                diverged,
            )
