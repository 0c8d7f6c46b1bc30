"""The dashboards as one file: ``python -m entry_points.report --output report.html``."""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from entry_points.command import command_of, main
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.registry import ExperimentSpec
from rsc_mlflow.fields import Options, option, text
from rsc_mlflow.startup import imports_without_gc
from rsc_mlflow.tracking import schema

_ACCEPTED = "accepted: a file in a folder that exists and can be written, or none"


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """Which runs, and where the file goes besides the report's own run."""

    experiments: str = option("Comma list of experiment names; all: every one.", text(), "all")
    filter: str = option("MLflow filter string; none: every run.", text(), "none")
    ui_url: str = option("MLflow's UI for links to runs; auto: the tracking URI, if it is http.", text(), "auto")
    output: str = option("File to write as well; none: only the artifact report.html.", text(), "none")
    compare: str = option("Comma list of ids of up to 8 runs for the page Compare; none: no such page.", text(), "none")

    @property
    def compared(self) -> tuple[str, ...]:
        """The runs that ``compare`` names."""
        return () if self.compare == "none" else tuple(name.strip() for name in self.compare.split(","))


def report(options: ReportOptions) -> None:
    """See :data:`EXPERIMENT`."""
    output = None if options.output == "none" else _writable(Path(options.output))
    with imports_without_gc():
        import mlflow

        from dashboards.data import Filters
        from dashboards.report import report_html
        from dashboards.repository import RunRepository
        from rsc_mlflow.tracking.details import Details
        from rsc_mlflow.tracking.frame import RunStore
        from rsc_mlflow.tracking.run import open_run
        from rsc_mlflow.tracking.store import connect

    connect()
    tracking_uri = mlflow.get_tracking_uri()
    store = RunStore(tracking_uri)
    if error := store.refresh().error:
        raise InputError(f"the tracking store {tracking_uri} does not answer ({error}); check MLFLOW_TRACKING_URI")
    ui = tracking_uri if options.ui_url == "auto" and tracking_uri.startswith("http") else options.ui_url
    repository = RunRepository(store, Details(lambda: store.client), ui="" if ui == "auto" else f"{ui.rstrip('/')}/")
    names = _experiments(options.experiments, store.snapshot().experiments.values())
    filters = Filters(experiment=names, filter="" if options.filter == "none" else options.filter)
    about = f"{len(store.snapshot().frame):,} runs of {repository.where}, read at {time.strftime('%Y-%m-%d %H:%M %Z')}."
    page = report_html(
        repository, repository.snapshot(), filters, "Rare spurious correlations", about, options.compared
    )
    with open_run(kind="report", name="report", params=options.as_params()) as run:
        run.log_text(page, schema.REPORT)
        if output is not None:
            _write(output, page)
    print(f"report.html: {len(page.encode()) / 1e6:.1f} MB, artifact of run {run.run_id}")


def _writable(path: Path) -> Path:
    """The path, if a file can be written there: found out before everything is drawn."""
    try:
        fits = path.parent.is_dir() and not path.is_dir()
        fits = fits and os.access(path if path.exists() else path.parent, os.W_OK)
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        fits = False
    if not fits:
        raise InputError(f"output is {str(path)!r}; {_ACCEPTED}")
    return path


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"output is {str(path)!r} ({error.strerror or error}); {_ACCEPTED}") from error


def _experiments(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The names of the comma list; none of them means every experiment."""
    names = () if text == "all" else tuple(name.strip() for name in text.split(","))
    if unknown := set(names) - set(known):
        raise InputError(f"experiments names {sorted(unknown)[0]!r}; accepted: all, {', '.join(sorted(known))}")
    return names


EXPERIMENT = ExperimentSpec(
    name="report",
    title="report",
    kind="report",
    summary="Write the dashboards as one self-contained HTML file and log it as an artifact of a report run.",
    options_class=ReportOptions,
    command=report,
)

if __name__ == "__main__":
    main(command_of(EXPERIMENT))
