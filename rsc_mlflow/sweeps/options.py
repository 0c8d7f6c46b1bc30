"""The options of ``sweep``."""

from dataclasses import dataclass

from rsc_mlflow.fields import Options, Parse, boolean, integer, option, text, word_or
from rsc_mlflow.sweeps.executors import EXECUTORS

LIMIT = 1_000
"""More combinations than this need ``yes``: a typing error should not start a month of work."""


def executor() -> Parse:
    """The name of an executor, looked up when it is given: plug-ins may add some."""

    def convert(name: str) -> str:
        EXECUTORS[name]
        return name

    return Parse(convert, "the name of an executor")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """Options of ``sweep``."""

    grid: str = option("Path of a grid file, or the name of a shipped grid, e.g. quick/scores.", text())
    executor: str = option("local: processes of this machine; ray: Ray tasks.", executor(), "local")
    workers: int | str = option(
        "Jobs or cohorts at the same time; auto: one per core (per GPU where there are any).",
        word_or(("auto",), integer(1, 10_000)),
        "auto",
    )
    cohort_size: int | str = option(
        "Models trained as one; 1: each alone; auto: as many as are useful and fit in memory.",
        word_or(("auto",), integer(1, 10_000)),
        "auto",
    )
    ray_address: str = option("With executor=ray: local, auto or a cluster's address.", text(), "local")
    dry_run: bool = option("Print the plan and an estimate of the time, and run nothing.", boolean(), False)
    status: bool = option("Print what is finished, running, failed and missing, and run nothing.", boolean(), False)
    yes: bool = option(f"Agree to a grid of more than {LIMIT:,} combinations.", boolean(), False)
    recheck: bool = option(
        "Look at every finished run again instead of trusting the list that the last sweep left.", boolean(), False
    )
