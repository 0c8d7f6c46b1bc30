"""The declaration of an experiment, for sweeps, the command line, the MLproject file and the dashboards."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from rsc_mlflow.fields import Options


@dataclass(frozen=True)
class Start:
    """A job to run: in the interrupted run ``run_id``, or in a new run, which the experiment opens."""

    options: Any
    run_id: str | None = None


Required = Sequence[tuple[str, Any]]
"""Jobs as (experiment, options)."""


def _none(_: Any) -> Required:
    return ()


def cannot_be_swept(_: Sequence[Start]) -> None:
    """The value of ``run`` for experiments that sweeps cannot run."""
    raise NotImplementedError


@dataclass(frozen=True)
class ExperimentSpec:
    """One experiment.

    Attributes:
        name: name of the command and the entry point, and value of the tag ``rsc.method``.
        title: name in figures and tables.
        kind: kind of its runs, one of :data:`rsc_mlflow.tracking.schema.KINDS`.
        summary: what it does, in one sentence.
        options_class: the options.  If sweeps can run the experiment, ``identity()`` returns the options that affect
            the result.
        command: runs it for the command line; may return an exit status.
        run: runs jobs of a sweep; several jobs at once only if ``cohort`` returns the same key for them.
        cohort: called with the options and whether there is a GPU; returns a key.  Jobs with equal keys are trained
            together as one model.  None: the job runs alone.  ``run`` finishes such jobs in the given
            order.
        requires: jobs that must be finished before this one; they are added if necessary.
        runs_after: jobs that run before this one if the sweep contains them, because this one looks up their results.
        brings: jobs that the sweep adds to compare the results of this one with.  They run before this one, which also
            runs if they fail.
        shared_artifacts: names of intermediate results that the first of several jobs creates for all.
        resumes: whether an interrupted run is resumed from its checkpoint; otherwise it is closed and a new run
            started.
        records: metrics that it logs in addition to those common to its kind.
        details: further text for ``--help``.
    """

    name: str
    title: str
    kind: str
    summary: str
    options_class: type[Options]
    command: Callable[[Any], int | None]
    run: Callable[[Sequence[Start]], None] = cannot_be_swept
    cohort: Callable[[Any, bool], Hashable] = lambda options, on_gpu: None
    requires: Callable[[Any], Required] = _none
    runs_after: Callable[[Any], Required] = _none
    brings: Callable[[Any], Required] = _none
    shared_artifacts: Callable[[Any], Sequence[str]] = lambda _: ()
    resumes: bool = False
    records: tuple[str, ...] = ()
    details: str = ""
