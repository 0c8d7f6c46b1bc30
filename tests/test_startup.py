"""Garbage collection while many objects are made: off, and then as it was."""

import gc

import pytest

from rsc_mlflow.startup import importing, uncollected


def test_the_garbage_collector_is_left_as_it_was() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="refused"), uncollected():
        raise ValueError("refused")
    assert gc.isenabled()


def test_what_was_imported_is_never_looked_at_again() -> None:
    before = gc.get_freeze_count()
    try:
        with importing():
            kept = [[] for _ in range(1000)]
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()
