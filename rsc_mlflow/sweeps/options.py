"""Options of ``sweep``."""

from dataclasses import dataclass

from rsc_mlflow.errors import invalid_value
from rsc_mlflow.fields import Options, Parse, boolean, integer, option, text, word_or
from rsc_mlflow.sweeps.executors import EXECUTORS

LIMIT = 1_000
"""Grids with more combinations than this need ``yes``, to prevent starting very long sweeps by mistake."""


def executor() -> Parse:
    """Return a parser for the name of an executor, which may be registered by a plug-in."""

    def convert(name: str) -> str:
        EXECUTORS[name]
        return name

    return Parse(convert, "the name of an executor")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """Options of ``sweep``."""

    grid: str = option(
        "Path of a grid file, or the name of a shipped grid, e.g. quick/scores.",
        text("the path of a grid file or the name of a shipped grid such as quick/scores"),
    )
    executor: str = option("Executor: local (processes on this machine) or ray (Ray tasks).", executor(), "local")
    workers: int | str = option(
        "Number of jobs or cohorts to run in parallel; auto: one per CPU core, or two per GPU if there are any.",
        word_or(("auto",), integer(1, 10_000)),
        "auto",
    )
    cohort_size: int | str = option(
        "Maximum number of models trained together; 1: train each model alone; auto: as many as are useful and fit in "
        "memory.",
        word_or(("auto",), integer(1, 10_000)),
        "auto",
    )
    ray_address: str = option(
        "Only with executor=ray: local (start Ray on this machine), auto, or the address of a cluster.", text(), "local"
    )
    dry_run: bool = option("true: print the plan and an estimate of the time, and run nothing.", boolean(), False)
    status: bool = option("true: print the state of all jobs, and run nothing.", boolean(), False)
    yes: bool = option(f"true: run a grid with more than {LIMIT:,} combinations.", boolean(), False)
    recheck: bool = option(
        "true: query all finished runs instead of using the summary of the last sweep.", boolean(), False
    )

    def check(self) -> None:
        """Check that the executor uses the address of Ray."""
        if self.executor == "local" and self.ray_address != "local":
            raise invalid_value(
                "ray_address", self.ray_address, "local with executor=local. To use Ray, set executor=ray"
            )
