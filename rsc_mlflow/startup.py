"""Quick starts: what a process imports is tens of thousands of objects, none of them garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_disabled() -> Iterator[None]:
    """No garbage collection during the block.

    With each few hundred new objects Python's collector goes through all that it has: where many are made and kept,
    that is most of the time (two thirds of a large search in a tracking store).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def imports_without_gc() -> Iterator[None]:
    """No garbage collection during the imports in the block, nor of what they made ever after.

    PyTorch and MLflow leave hundreds of thousands of objects behind, which the collector would go through again at
    every full collection and at the end of the process.  What a start costs: ``python -m benchmarks startup``.
    """
    with gc_disabled():
        yield
    gc.freeze()
