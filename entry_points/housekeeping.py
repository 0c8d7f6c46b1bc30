"""``python -m entry_points disk`` (``rsc disk``): what the runs of an experiment take on disk."""

from dataclasses import dataclass

from entry_points.local import Local
from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import Options, integer, option, text
from rsc_mlflow.startup import imports_without_gc


@dataclass(frozen=True, kw_only=True)
class DiskOptions(Options):
    """Which runs."""

    experiments: str = option("Comma list of experiment names; all: every one.", text(), "all")
    rows: int = option("Runs to list, those that take most first.", integer(1), 20)


def disk(options: DiskOptions) -> None:
    """See :data:`DISK`."""
    with imports_without_gc():
        from rich.console import Console
        from rich.table import Table

        from rsc_mlflow.tracking.disk import disk_use
        from rsc_mlflow.tracking.store import connect

    client = connect()
    known = {one.name: one.experiment_id for one in client.search_experiments()}
    names = list(known) if options.experiments == "all" else [name.strip() for name in options.experiments.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"experiments names {unknown[0]!r}; accepted: all, {', '.join(known)}")
    found = disk_use(client, [known[name] for name in names])
    table = Table("run", "id", "kind", title=f"{', '.join(names)}: {len(found)} runs", show_footer=True)
    parts = {name: [getattr(one, name) for one in found] for name in ("checkpoints", "models", "others", "total")}
    for name, values in parts.items():
        table.add_column(f"{name}, MB", _megabytes(sum(values)), justify="right")
    for one in found[: options.rows]:
        sizes = (_megabytes(getattr(one, name)) for name in parts)
        table.add_row(one.run.info.run_name, one.run.info.run_id, one.run.data.tags.get("rsc.kind", "–"), *sizes)
    Console(width=150).print(table)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


DISK = Local(
    name="disk",
    summary="Print what the runs of an experiment take on disk: checkpoints, models and all other files.",
    options_class=DiskOptions,
    run=disk,
)
