"""The common signature of unlearning methods, and their registry.

A method receives a model, the examples to forget, the examples to retain and a frozen config.  It returns a new model
and metrics of the update.  Each method is a function in its own module of :mod:`rsc_mlflow.unlearning.methods`, with a
config class, registered under the function's name:

    @register_method(title="my method", config=MyConfig, records=("steps",))
    def my_method(model, forget, retain, config, observe=None) -> Unlearned

The config's options become the options of the method's command.  Methods must not modify the given model, must use
their own random generators, and must not depend on tracking.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

from rsc_mlflow import cancellation
from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import Options, option_fields
from rsc_mlflow.registries import Registry

if TYPE_CHECKING:  # this module is imported to list options, and PyTorch takes seconds to import
    import torch
    from torch import Tensor, nn

    from rsc_mlflow.training import Checkpoint

Observe = Callable[[int, "nn.Module", Mapping[str, float]], None]
"""A function that a method calls after each epoch with the epoch (from 1), the current model (do not modify it) and the
epoch's metrics by name: those in :data:`EPOCH_FIGURES` and those that the method declares."""

EPOCH_FIGURES = ("loss", "accuracy", "learning_rate", "forget_loss")
"""Metrics of an epoch that any method may report: mean loss (nats) and accuracy on the retained examples, the learning
rate, and the mean loss (nats) on the forgotten examples."""


@dataclass(frozen=True, eq=False)
class Examples:
    """A set of n examples: a selection of rows from shared tensors of images and labels, which are not copied.

    Attributes:
        images: float32 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        indices: the rows that belong to the set, int64 ``[n]``.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> Examples:
        """Return the set of all rows of the two tensors."""
        import torch

        return cls(images, labels, torch.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels at ``positions`` in this set (int64 of any shape, from 0 to n - 1)."""
        chosen = self.indices[positions]
        return self.images[chosen], self.labels[chosen]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels of all examples in order, at most ``size`` at a time.

        Raises:
            Cancelled: the process was asked to stop; see :mod:`rsc_mlflow.cancellation`.
        """
        import torch

        for positions in torch.split(torch.arange(len(self)), size):
            cancellation.check()
            yield self.rows(positions)

    def subset(self, count: int, generator: torch.Generator) -> Examples:
        """Return ``count`` examples drawn without replacement, or all if ``count`` is 0 or at least their number."""
        import torch

        if not 0 < count < len(self):
            return self
        chosen = torch.randperm(len(self), generator=generator)[:count].sort().values
        return Examples(self.images, self.labels, self.indices[chosen])

    def to(self, device: torch.device) -> Examples:
        """Return the same examples on a device, without a copy if they are already on it."""
        return Examples(self.images.to(device), self.labels.to(device), self.indices.to(device))


@dataclass(frozen=True, eq=False)
class Unlearned:
    """The result of an unlearning method.

    Attributes:
        model: a new module in evaluation mode, on the device of the given model.
        record: metrics of the update by name (``gradient_norm``, ``residual``, …), which the method must declare.
        notes: warnings for the user, e.g. that the update has no effect on a saturated model.
    """

    model: nn.Module
    record: dict[str, float]
    notes: tuple[str, ...] = field(default=())


class SourceTraining(Protocol):
    """Properties of the source model's training that a method's config may use."""

    @property
    def training(self) -> TrainingConfig:
        """The training options of the source model."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def epoch(self) -> int:
        """Number of epochs that the source model was trained for."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint from which training can be continued exactly; downloaded on first access."""


def of_source(take: Callable[[SourceTraining], Any], default: Any = dataclasses.MISSING) -> Any:
    """Return a config field that is not an option.

    Args:
        take: returns the value for a source model's training.
        default: the value of a config that is constructed without a source model; without it, the field is required.
    """
    return field(default=default, metadata={"of_source": take})


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Options):
    """Base class of the methods' configs.  Fields declared with ``option(…)`` are the method's options.

    If an option has the name of a training option, such as ``epochs``, the source model's training option is called
    ``source_epochs`` in the command of the method.
    """

    LOSSES: ClassVar[tuple[str, ...]] = ()
    """Losses with which a source model may have been trained; empty: all."""
    NEEDS_GRADIENT: ClassVar[bool] = False
    """Whether the method has no effect if the gradient of the loss is 0 at the forgotten examples."""

    @classmethod
    def of(cls, options: Mapping[str, object], source: SourceTraining) -> Self:
        """Return the config for a source model, from the method's options by name.

        Raises:
            InputError: an option is invalid, or the method does not support the source model.
        """
        loss = source.training.model.loss
        if cls.LOSSES and loss not in cls.LOSSES:
            raise InputError(
                f"The method supports models trained with the loss {', '.join(cls.LOSSES)}, but this model was trained "
                f"with {loss}. Use exact_retraining or incremental_retraining, or train the model with ce."
            )
        taken = {f.name: f.metadata["of_source"](source) for f in dataclasses.fields(cls) if "of_source" in f.metadata}
        return cls(**options, **taken)

    @classmethod
    def deciding(cls, options: Mapping[str, object]) -> set[str]:
        """Return the names of the options that affect the result, given the values of all options."""
        found = set()
        for one in option_fields(cls):
            other, value = one.metadata["only_if"] or (None, None)
            if one.metadata["decides"] and (other is None or options[other] == value):
                found.add(one.name)
        return found

    def last_epoch(self) -> int:
        """Return the last epoch that the method reports to ``observe``."""
        return 1

    def offset(self, source: SourceTraining) -> int:
        """Return the number to add to the method's epochs, so that metrics are logged by epoch since training began."""
        return source.epoch

    def params(self, source: SourceTraining) -> dict[str, Any]:
        """Return parameters to log, by name, in addition to the options."""
        return {}


ConfigT = TypeVar("ConfigT", contravariant=True)


class Method(Protocol[ConfigT]):
    """The signature of all methods."""

    def __call__(
        self, model: nn.Module, forget: Examples, retain: Examples, config: ConfigT, observe: Observe | None = None
    ) -> Unlearned:
        """Return the unlearned model and metrics of the update.

        Args:
            model: the source model, in training or evaluation mode; it must not be modified.
            forget: the examples to forget as used in training, i.e. with their pattern.
            retain: the rest of the training set.
            config: the method's config.
            observe: called after each epoch; see :data:`Observe`.

        Raises:
            InputError: ``forget`` or ``retain`` is empty, or the method cannot use the config or the model.
        """


@dataclass(frozen=True)
class UnlearningMethod:
    """A registered method.

    Attributes:
        name: name of the function, used in commands and in the tag ``rsc.method``.
        title: name in figures.
        summary: first line of the function's docstring, shown by ``--help``.
        config: config class; its option fields are the options of the command.
        run: the function; see :class:`Method`.
        records: names of the metrics it reports besides :data:`EPOCH_FIGURES`; each is logged as ``unlearn/NAME``.
    """

    name: str
    title: str
    summary: str
    config: type[MethodConfig]
    run: Method[Any]
    records: tuple[str, ...]

    def check_declared(self, names: Mapping[str, float]) -> None:
        """Check that the method declared all metrics that it reported.

        Raises:
            InputError: it reported a metric that it did not declare.
        """
        if undeclared := [name for name in names if name not in (*self.records, *EPOCH_FIGURES)]:
            raise InputError(
                f"The unlearning method {self.name!r} reported the undeclared metric {undeclared[0]!r}. Add it to the "
                f"argument records of register_method, which has {', '.join(self.records) or 'none'}."
            )


METHODS: Registry[UnlearningMethod] = Registry("unlearning method", "rsc_mlflow.unlearning.methods")
FunctionT = TypeVar("FunctionT", bound=Callable[..., "Unlearned"])


def register_method(
    *, title: str, config: type[MethodConfig], records: tuple[str, ...] = ()
) -> Callable[[FunctionT], FunctionT]:
    """Return a decorator that registers a function with the signature :class:`Method` under the function's name.

    Args:
        title: name in figures.
        config: config class of the method.
        records: names of the metrics that the method reports besides :data:`EPOCH_FIGURES`.

    Raises:
        InputError: the name is already registered.
    """

    def register(function: FunctionT) -> FunctionT:
        name = function.__name__
        if not function.__module__.startswith("rsc_mlflow."):
            METHODS.load_builtins()
        summary = (inspect.getdoc(function) or title).splitlines()[0]
        METHODS.register(name, UnlearningMethod(name, title, summary, config, function, records))
        return function

    return register


def methods() -> list[UnlearningMethod]:
    """Return all methods: built-in ones by name, then those of plug-ins by name."""
    return sorted(METHODS.values(), key=lambda one: (not one.run.__module__.startswith("rsc_mlflow."), one.name))


def check_sets(forget: Examples, retain: Examples) -> None:
    """Check that both sets contain examples.

    Raises:
        InputError: one of them is empty.
    """
    if not len(forget):
        raise InputError("The forget set is empty. Use a model that was trained with at least one spurious example.")
    if not len(retain):
        raise InputError("The retain set is empty. Use a training set with examples that are not spurious.")


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the model in evaluation mode, with fixed batch-norm statistics and without dropout."""
    return copy.deepcopy(model).eval()


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's parameters."""
    return next(model.parameters()).device
