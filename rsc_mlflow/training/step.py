"""A training step of a cohort, which a GPU runs as a CUDA graph.

Launching the kernels of an MLP's training step one by one from Python takes longer than running them.  A CUDA graph
launches all of them at once.  It repeats the recorded operations on the same memory, so values that change from one
step to the next must be tensors on the device: the number of the batch, the learning rates and the sums over the epoch.
Random numbers differ between steps, because the members' generators are registered with the graph.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor

from rsc_mlflow.models.stacked import Stack
from rsc_mlflow.training.augmentation import aug01
from rsc_mlflow.training.batches import BatchIterator
from rsc_mlflow.training.losses import LOSS_FUNCTIONS
from rsc_mlflow.training.members import Member
from rsc_mlflow.training.optimizers import CohortOptimizer
from rsc_mlflow.training.precision import autocast

PURPOSES = ("noise", "dropout", "augmentation")
"""Uses of random numbers in a step.  For each, there is one generator per member, on the device."""
WARM_UP = 3
"""Number of steps before the one that is recorded.  In these, libraries choose algorithms and reserve memory."""

Generators = Mapping[str, list[torch.Generator]]
Replay = Callable[[], object]

_logger = logging.getLogger(__name__)


class Recorder(Protocol):
    """Records the operations of a function on a device, so that they can be repeated without Python."""

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run ``work`` in the same way as for a recording, without recording it."""

    def record(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Replay:
        """Record ``work``, which draws from these generators, without running it; return the function that runs it."""


class GraphRecorder:  # pragma: no cover - needs a GPU; see tests/cuda
    """Records CUDA graphs, which share one memory pool."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Callable[[], None]) -> None:
        """See :class:`Recorder`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*step.. is running without CUDA graph capture")
            work()
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    def record(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Replay:
        """See :class:`Recorder`.  Each replay draws from the generators' states at that time."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        device, cause = self._stream.device, None
        # thread_local: other threads, such as those that write checkpoints, may use the GPU during the recording.
        recording = torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local")
        try:
            with torch.cuda.device(device), recording:
                try:
                    work()
                except RuntimeError as error:
                    cause = error
                    raise
        except RuntimeError as error:
            raise (cause or error) from None  # after an error, ending the recording may raise another one
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """Return a recorder of steps for this device; None on the CPU, where steps are not recorded."""
    return GraphRecorder(device) if device.type == "cuda" else None


class Step:
    """Trains the members on one batch after another, without waiting for a GPU.

    With a recorder, the first steps with a given batch size are run, the next one is recorded, and from then on the
    recording is replayed.

    Attributes:
        losses: sum of the losses of the epoch's examples so far, float64 ``[K]``.
        hits: number of correct predictions in the epoch so far, int64 ``[K]``; a batch is counted before its update.
    """

    def __init__(
        self,
        members: Sequence[Member],
        stack: Stack,
        batches: BatchIterator,
        optimizer: CohortOptimizer,
        generators: Generators,
        device: torch.device,
        recorder: Recorder | None,
    ) -> None:
        self._members, self._stack, self._batches, self._optimizer = members, stack, batches, optimizer
        self._generators, self._device = generators, device
        self._precision = members[0].config.precision
        self._loss = LOSS_FUNCTIONS[members[0].config.model.loss]
        self.losses = torch.zeros(len(members), dtype=torch.float64, device=device)
        self.hits = torch.zeros(len(members), dtype=torch.int64, device=device)
        self._recorder = recorder
        self._replays: dict[int, Replay] = {}
        self._warmed_up: Counter[int] = Counter()

    def start_epoch(self) -> None:
        """Set ``losses`` and ``hits`` to zero."""
        self.losses.zero_()
        self.hits.zero_()

    def __call__(self, size: int) -> None:
        """Train on the next batch, with ``size`` examples per member."""
        if self._recorder is not None and self._warmed_up[size] == WARM_UP and size not in self._replays:
            self._record(self._recorder, size)
        if size in self._replays:
            self._replays[size]()
        elif self._recorder is not None:
            self._warmed_up[size] += 1
            self._recorder.warm_up(partial(self._update, size))
        else:
            self._update(size)

    def _update(self, size: int) -> None:
        images, labels = self._batches.next(size)  # [K, size, C, H, W], [K, size]
        self._perturb(images)
        with autocast(self._precision, self._device):
            logits = self._stack.forward(images, self._generators["dropout"]).float()
        each = self._loss(logits.flatten(0, 1), labels.flatten())
        losses = each.view(labels.shape).mean(1)
        self._optimizer.step(self._stack.gradients(losses.sum()))
        self.losses += losses.detach() * size
        self.hits += (logits.detach().argmax(2) == labels).sum(1)

    def _perturb(self, images: Tensor) -> None:
        """Apply the augmentation and then input noise to the images, in place."""
        for k, member in enumerate(self._members):
            if member.config.model.augmentation == "aug01":
                images[k] = aug01(images[k], self._generators["augmentation"][k])
            if member.config.input_noise > 0:
                noise = torch.empty_like(images[k]).normal_(generator=self._generators["noise"][k])
                images[k].add_(noise, alpha=member.config.input_noise)

    def _record(self, recorder: Recorder, size: int) -> None:
        """Record the update.  If that fails, this and all later steps run without a recording."""
        every = [own for purpose in PURPOSES for own in self._generators[purpose]]
        states = [generator.get_state() for generator in every]
        try:
            self._replays[size] = recorder.record(partial(self._update, size), every)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _warn_not_recorded(str(self._members[0].config.model.architecture), str(error).splitlines()[0])
            self._recorder = None
            self._replays.clear()
            # Generators that were registered for a failed recording remain unusable.
            fresh = iter([_generator_at(state, self._device) for state in states])
            for purpose in PURPOSES:
                self._generators[purpose][:] = [next(fresh) for _ in self._members]


def _generator_at(state: Tensor, device: torch.device) -> torch.Generator:
    generator = torch.Generator(device=device)
    generator.set_state(state)
    return generator


@cache
def _warn_not_recorded(architecture: str, reason: str) -> None:
    _logger.warning(
        "A training step of %s cannot be recorded as a CUDA graph (%s). "
        "Its kernels are launched one by one, which is slower.",
        architecture,
        reason,
    )
