"""The command ``rsc disk``: print how much disk space runs use."""

from dataclasses import dataclass

from entry_points.local import Local
from rsc_mlflow.errors import InputError, unknown_name
from rsc_mlflow.fields import Options, integer, option, text
from rsc_mlflow.tracking import schema


@dataclass(frozen=True, kw_only=True)
class DiskOptions(Options):
    """Options of ``disk``."""

    experiments: str = option("Experiment names, separated by commas; all: all experiments.", text(), "all")
    rows: int = option("Maximum number of runs to list, largest first.", integer(1), 20)


def disk(options: DiskOptions) -> None:
    """See :data:`DISK`."""
    from rich.console import Console
    from rich.table import Table

    from rsc_mlflow.tracking.disk import disk_use
    from rsc_mlflow.tracking.store import connect

    client = connect()
    known = {one.name: one.experiment_id for one in client.search_experiments()}
    names = list(known) if options.experiments == "all" else [name.strip() for name in options.experiments.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise InputError(unknown_name("experiment", unknown[0], ["all", *known], options.experiments))
    found = disk_use(client, [known[name] for name in names])
    table = Table("run", "id", "kind", title=f"{', '.join(names)}: {len(found)} runs", show_footer=True)
    parts = {name: [getattr(one, name) for one in found] for name in ("checkpoints", "models", "others", "total")}
    for name, values in parts.items():
        table.add_column(f"{name}, MB", _megabytes(sum(values)), justify="right")
    for one in found[: options.rows]:
        sizes = (_megabytes(getattr(one, name)) for name in parts)
        table.add_row(one.run.info.run_name, one.run.info.run_id, one.run.data.tags.get(schema.KIND, "–"), *sizes)
    Console(width=150).print(table)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


DISK = Local(
    name="disk",
    summary="Print the disk space that runs use: checkpoints, models and other files.",
    options_class=DiskOptions,
    run=disk,
)
