"""A recorder for the CPU, which like a CUDA graph repeats the operations of a step on the same memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """The operations that ran in its context, below autograd and ``vmap``, with the tensors they read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Run the operations again; new results go to where the recorded ones are."""
        for func, args, kwargs, recorded in self._operations:
            result = func(*args, **kwargs)
            places = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            for new, old in zip(tree_leaves(result), tree_leaves(recorded), strict=True):
                if isinstance(old, Tensor) and old.untyped_storage().data_ptr() not in places:  # no view
                    old.copy_(new)


class TapeRecorder:
    """See :class:`rsc_mlflow.training.step.Recorder`."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        """Recording on the CPU runs the work, so the first replay, which follows at once, has nothing to do."""
        with Tape() as tape:
            work()
        self.recorded += 1
        ran = True

        def replay() -> None:
            nonlocal ran
            if ran:
                ran = False
                return
            self.replayed += 1
            with torch.no_grad():
                tape.replay()

        return replay
