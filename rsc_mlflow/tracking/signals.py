"""Former names, until sweeps no longer import them: nothing is interrupted any more (see :mod:`cancellation`)."""

from contextlib import nullcontext as deferred

from rsc_mlflow.cancellation import cancellable as interruptible

__all__ = ["deferred", "interruptible"]
