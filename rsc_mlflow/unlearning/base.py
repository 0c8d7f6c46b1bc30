"""What an unlearning method is: a model, what to forget, what to keep and a frozen config in; a model and a record out.

Every method is one file in :mod:`rsc_mlflow.unlearning.methods` with one frozen config and one function of the same
signature, registered under the function's name:

    @register_method(title="my method", config=MyConfig, records=("steps",))
    def my_method(model, forget, retain, config, observe=None) -> Unlearned

so that any two compare, and adding a method is adding a file.  The config's options become the options of the method's
command.  Methods never change the model they are given, draw every random number from generators of their own, and
know nothing of tracking.
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

if TYPE_CHECKING:  # this module is imported to list options, which must not take the seconds that PyTorch does
    import torch
    from torch import Tensor, nn

    from rsc_mlflow.training import Checkpoint

Observe = Callable[[int, "nn.Module", Mapping[str, float]], None]
"""Called after each epoch with the epoch (from 1), the model so far (do not change it) and the epoch's figures by name:
those of :data:`EPOCH_FIGURES`, and those that the method declares."""

EPOCH_FIGURES = ("loss", "accuracy", "learning_rate", "forget_loss")
"""Figures of an epoch that any method may report: mean loss and accuracy on what is kept, the learning rate, and the
mean loss on what is forgotten."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows ``indices`` of image and label tensors that others share: a set of examples without a copy.

    Shapes: ``images`` float32 ``[N, C, H, W]``, ``labels`` int64 ``[N]``, ``indices`` int64 ``[n]``.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> Examples:
        """All rows of the two tensors."""
        import torch

        return cls(images, labels, torch.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at ``positions`` (int64, any shape) of this set."""
        chosen = self.indices[positions]
        return self.images[chosen], self.labels[chosen]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, at most ``size`` at a time; between two batches a signal may stop the work."""
        import torch

        for positions in torch.split(torch.arange(len(self)), size):
            cancellation.check()
            yield self.rows(positions)

    def subset(self, count: int, generator: torch.Generator) -> Examples:
        """``count`` of the examples without replacement; all of them if ``count`` is 0 or not smaller."""
        import torch

        if not 0 < count < len(self):
            return self
        chosen = torch.randperm(len(self), generator=generator)[:count].sort().values
        return Examples(self.images, self.labels, self.indices[chosen])

    def to(self, device: torch.device) -> Examples:
        """The same examples on a device; where they are there already, the shared tensors themselves."""
        return Examples(self.images.to(device), self.labels.to(device), self.indices.to(device))


@dataclass(frozen=True, eq=False)
class Unlearned:
    """What a method gives back.

    ``model``: a new module in evaluation mode, on the device of the one given.
    ``record``: figures of the update by name (``gradient_norm``, ``residual``, …).
    ``notes``: sentences a person must read, e.g. that influence cannot act on a saturated model.
    """

    model: nn.Module
    record: dict[str, float]
    notes: tuple[str, ...] = field(default=())


class SourceTraining(Protocol):
    """What a method's config may take from the training of the model that is to be unlearned."""

    @property
    def training(self) -> TrainingConfig:
        """The options that it was trained with."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def epoch(self) -> int:
        """Epochs of training that the model has seen."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Where an exact continuation starts; fetched when it is asked for."""


def of_source(take: Callable[[SourceTraining], Any], default: Any = dataclasses.MISSING) -> Any:
    """A config field that is no option: its value comes from the source's training."""
    return field(default=default, metadata={"of_source": take})


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Options):
    """Base of all configs: fields made with ``option(…)`` are the method's options, under their own names.

    An option of the name of a training option (``epochs``) hides it in the method's command; the source's is then
    spelled ``source_epochs`` there.
    """

    LOSSES: ClassVar[tuple[str, ...]] = ()
    """Losses of models that the method can work on; none named: all."""
    NEEDS_GRADIENT: ClassVar[bool] = False
    """Whether the method does nothing where the loss has no gradient at the examples to forget."""

    @classmethod
    def of(cls, options: Mapping[str, object], source: SourceTraining) -> Self:
        """The config made of the options by name, and of the source.

        Raises:
            InputError: the method cannot work with these options on this source.
        """
        loss = source.training.model.loss
        if cls.LOSSES and loss not in cls.LOSSES:
            raise InputError(
                f"the method computes with the loss {', '.join(cls.LOSSES)}, and the model was trained with {loss}; "
                "use exact_retraining or incremental_retraining, or train the model with ce"
            )
        taken = {f.name: f.metadata["of_source"](source) for f in dataclasses.fields(cls) if "of_source" in f.metadata}
        return cls(**options, **taken)

    @classmethod
    def deciding(cls, options: Mapping[str, object]) -> set[str]:
        """Names of the options that decide the result, given the values of all."""
        found = set()
        for one in option_fields(cls):
            other, value = one.metadata["only_if"] or (None, None)
            if one.metadata["decides"] and (other is None or options[other] == value):
                found.add(one.name)
        return found

    def last_epoch(self) -> int:
        """The last epoch that the method reports, in its own count."""
        return 1

    def offset(self, source: SourceTraining) -> int:
        """What is added to the method's count to give the epoch since the start of training, the step of metrics."""
        return source.epoch

    def params(self, source: SourceTraining) -> dict[str, Any]:
        """Parameters of the run that the options leave open."""
        return {}


ConfigT = TypeVar("ConfigT", contravariant=True)


class Method(Protocol[ConfigT]):
    """The one signature of all methods.

    ``model`` is in any mode and is not changed; ``forget`` holds the examples as the model saw them (with
    their pattern); ``retain`` the rest of its training set.  Raises InputError when ``forget`` or
    ``retain`` is empty, or the config cannot work.
    """

    def __call__(
        self, model: nn.Module, forget: Examples, retain: Examples, config: ConfigT, observe: Observe | None = None
    ) -> Unlearned:
        """The unlearned model and a record of what was done."""


@dataclass(frozen=True)
class UnlearningMethod:
    """A registered method.

    Attributes:
        name: the function's, in commands and in tag ``rsc.method``.
        title: what figures call it.
        summary: first line of the function's docstring, what ``--help`` says.
        config: its config; the options among its fields are those of the command.
        run: the function.
        records: names of what it reports besides :data:`EPOCH_FIGURES`; ``name`` is logged as ``unlearn/name``.
    """

    name: str
    title: str
    summary: str
    config: type[MethodConfig]
    run: Method[Any]
    records: tuple[str, ...]

    def check_declared(self, names: Mapping[str, float]) -> None:
        """Refuse figures that the method reported without declaring them.

        Raises:
            InputError: names the first of them, and those that are declared.
        """
        if undeclared := [name for name in names if name not in (*self.records, *EPOCH_FIGURES)]:
            raise InputError(
                f"the unlearning method {self.name!r} reported {undeclared[0]!r}, which it does not declare; "
                f"add it to records of register_method; declared: {', '.join(self.records) or 'none'}"
            )


METHODS: Registry[UnlearningMethod] = Registry("unlearning method", "rsc_mlflow.unlearning.methods")
FunctionT = TypeVar("FunctionT", bound=Callable[..., "Unlearned"])


def register_method(
    *, title: str, config: type[MethodConfig], records: tuple[str, ...] = ()
) -> Callable[[FunctionT], FunctionT]:
    """Decorator that registers a function as the unlearning method of its name; see :class:`UnlearningMethod`.

    Raises:
        InputError: another method has that name.
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
    """All methods: those of this package by name, then those of plug-ins by name."""
    return sorted(METHODS.values(), key=lambda one: (not one.run.__module__.startswith("rsc_mlflow."), one.name))


def check_sets(forget: Examples, retain: Examples) -> None:
    """Raises InputError when there is nothing to forget or nothing to keep."""
    if not len(forget):
        raise InputError("the forget set is empty; accepted: a model trained with at least one spurious example")
    if not len(retain):
        raise InputError("the retain set is empty; accepted: a training set larger than its spurious examples")


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy of the model in evaluation mode: batch-norm statistics fixed, dropout off."""
    return copy.deepcopy(model).eval()


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device
