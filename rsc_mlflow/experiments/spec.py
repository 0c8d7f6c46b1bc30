"""What an experiment is to sweeps, the command line, the MLproject and the dashboards; and what starts one."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from rsc_mlflow.fields import Options


@dataclass(frozen=True)
class Start:
    """A job to carry out now: in the interrupted run ``run_id``, or in a new run, which the experiment opens."""

    options: Any
    run_id: str | None = None


Required = Sequence[tuple[str, Any]]
"""Jobs as (experiment, options)."""


def _none(_: Any) -> Required:
    return ()


def cannot_be_swept(_: Sequence[Start]) -> None:
    """Stands for ``run`` in experiments that no sweep runs."""
    raise NotImplementedError


@dataclass(frozen=True)
class ExperimentSpec:
    """One experiment.

    Attributes:
        name: of the command, the entry point and tag ``rsc.method``.
        title: what figures and tables call it.
        kind: of its runs, one of :data:`rsc_mlflow.tracking.schema.KINDS`.
        summary: what it does, in one sentence.
        options_class: validates the options; where the experiment can be swept, its ``identity()`` says what decides
            the result.
        command: carries it out for the command line; may return an exit status.
        run: carries out the started jobs of a sweep, several at once only where ``cohort`` gave them the same key;
            left out, it cannot be swept.
        cohort: (options, whether there is a GPU) → a key; jobs with the same key train as one stacked model; None: this
            job runs alone.
        requires: jobs that must be finished before; run if they are missing.
        runs_after: jobs that, if the sweep has them too, run before, because this one looks up their results.
        brings: jobs that the sweep adds where its grid asks for this one, to compare its results with; they run
            before, and this one runs whether they succeed or not.
        shared_artifacts: names of intermediate results that the first of several jobs makes for all.
        resumes: an interrupted run goes on from its checkpoint; otherwise it is closed and started anew.
        records: metrics of its own that it logs, beside those that all experiments of its kind share.
        details: what ``--help`` says besides the summary.
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
