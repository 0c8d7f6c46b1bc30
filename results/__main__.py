"""``python -m results export|render|show``: see ``--help`` of each."""

import difflib
import sys
from pathlib import Path

import click

from entry_points.command import status
from results.studies import FOLDER, ROOT, Results, chosen


@click.group()
def cli() -> None:
    """Export results from a tracking store to CSV files and render the numbers in the documents from them."""


@cli.command()
@click.option("--tracking_uri", default=None, help="MLflow tracking URI; default: MLFLOW_TRACKING_URI.")
@click.option("--out", default=str(FOLDER), help="Folder of the CSV files.")
@click.option("--study", "names", multiple=True, help="Study to export (may be repeated); default: all.")
@click.option("--grid", "grids", multiple=True, help="Grid files to use instead of those of the named study.")
@click.option("--replace", is_flag=True, help="Replace existing rows of the same runs.")
def export(tracking_uri: str | None, out: str, names: tuple[str, ...], grids: tuple[str, ...], replace: bool) -> None:
    """Write one CSV file per study with one row per finished run. Rows of runs that this store lacks are kept."""
    import mlflow

    from results.export import StoredRuns, summary, wanted
    from results.runs import merged, read_rows, write_rows
    from rsc_mlflow.tracking.store import connect

    if tracking_uri is not None:
        mlflow.set_tracking_uri(tracking_uri)
    studies = chosen(names, grids)
    stored = StoredRuns.read(connect())
    for study in studies:
        path, of = Path(out) / f"{study.name}.csv", wanted(study.jobs())
        old, new = read_rows(path), stored.rows(of)
        rows = merged(old, new, replace=replace)
        if rows:
            write_rows(path, rows)
        print(summary(study.name, of, old, new, len(rows)))


@cli.command()
@click.option("--check", is_flag=True, help="Print changes without writing them; exit with status 1 if there are any.")
@click.option("--data", default=str(FOLDER), help="Folder of the CSV files.")
@click.option("--root", default=str(ROOT), help="Folder with README.md and docs/.")
def render(check: bool, data: str, root: str) -> int:
    """Render the numbers, tables and figures of the documents.

    They are the generated parts of README.md and docs/*.md, which are made from the CSV files.
    """
    from results.documents import rendered

    changed = rendered(Path(root), Results(Path(data)))
    for path, (old, new) in changed.items():
        name = path.relative_to(root).as_posix()
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, f"{name} (rendered)", lineterm="")
        print(*lines, sep="\n") if check else path.write_text(new, encoding="utf-8")
    if not check:
        from results.figures import draw

        draw(Path(root), Results(Path(data)))
        print(f"changed: {', '.join(path.name for path in changed) or 'no text'}")
    return int(check and bool(changed))


@cli.command()
@click.option("--data", default=str(FOLDER), help="Folder of the CSV files.")
@click.argument("name")
@click.argument("arguments", nargs=-1)
def show(data: str, name: str, arguments: tuple[str, ...]) -> None:
    """Print one generated text. NAME and ARGUMENTS are as in the documents, for example: show headline R3."""
    from results.texts import made

    print(made(Results(Path(data)), name, arguments))


if __name__ == "__main__":
    sys.exit(status(cli, sys.argv[1:], "python -m results"))
