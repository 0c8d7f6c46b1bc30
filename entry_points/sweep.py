"""Run a grid, resumable: ``python -m entry_points.sweep --grid grids/quick/scores.yaml``."""

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
    summary="Run every combination of a grid file that has no finished run yet; may be killed and started again.",
    options_class=SweepOptions,
    command=sweep,
)

if __name__ == "__main__":
    main(command_of(EXPERIMENT))
