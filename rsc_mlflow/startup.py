"""Garbage collection is switched off where tens of thousands of objects are made and none is garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_disabled() -> Iterator[None]:
    """No garbage collection during the block; it would take two thirds of a large search in a tracking store."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def imports_without_gc() -> Iterator[None]:
    """No garbage collection during the imports in the block, nor of what they made ever after."""
    with gc_disabled():
        yield
    gc.freeze()
