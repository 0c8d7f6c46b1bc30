"""Run a grid of experiments: ``rsc sweep --grid grids/quick/scores.yaml``.  An interrupted sweep can be resumed."""

from entry_points.command import command_of, main
from rsc_mlflow.experiments.registry import ExperimentSpec
from rsc_mlflow.sweeps.fork_server import start_fork_server
from rsc_mlflow.sweeps.options import SweepOptions


def sweep(options: SweepOptions) -> int:
    """See :data:`EXPERIMENT`."""
    if options.executor == "local" and not (options.dry_run or options.status):
        start_fork_server()
    from rsc_mlflow.sweeps.sweep import run_sweep

    return run_sweep(options)


EXPERIMENT = ExperimentSpec(
    name="sweep",
    title="sweep",
    kind="sweep",
    summary="Run all combinations of a grid file that have no finished run yet; run it again to resume.",
    options_class=SweepOptions,
    command=sweep,
)

if __name__ == "__main__":
    main(command_of(EXPERIMENT))
