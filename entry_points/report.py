"""Write the dashboards as one HTML file: ``python -m entry_points.report --output report.html``."""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from entry_points.command import command_of, main
from rsc_mlflow.errors import InputError, invalid_value, unknown_name
from rsc_mlflow.experiments.registry import ExperimentSpec
from rsc_mlflow.fields import Options, option, text
from rsc_mlflow.messages import answer
from rsc_mlflow.tracking import schema

_EXPECTED = "a file in an existing, writable folder, or none"


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """Options of ``report``."""

    experiments: str = option("Experiment names, separated by commas; all: all experiments.", text(), "all")
    filter: str = option(
        "MLflow filter string that selects the runs, e.g. \"params.optimizer = 'adam'\"; none: all runs.",
        text(),
        "none",
    )
    ui_url: str = option(
        "URL of MLflow's UI, for links to runs; auto: the tracking URI if it starts with http, else no links.",
        text(),
        "auto",
    )
    output: str = option("File to write, in addition to the artifact report.html; none: no file.", text(), "none")
    compare: str = option(
        "Ids of up to 100 runs to compare on a page Compare, separated by commas; none: no such page.", text(), "none"
    )
    export: str = option(
        "Folder to write all figures (PDF, SVG) and tables (LaTeX, CSV) to; none: no files.", text(), "none"
    )
    size: str = option("Size of exported figures: column, page, or WIDTHxHEIGHT in centimeters.", text(), "page")

    @property
    def compared(self) -> tuple[str, ...]:
        """The run ids in ``compare``."""
        return () if self.compare == "none" else tuple(name.strip() for name in self.compare.split(","))


def report(options: ReportOptions) -> None:
    """See :data:`EXPERIMENT`."""
    output = None if options.output == "none" else _writable(Path(options.output))
    folder = None if options.export == "none" else _made(Path(options.export))
    import mlflow

    from dashboards.data import Filters
    from dashboards.downloads import size_named
    from dashboards.export import export_all
    from dashboards.figures.style import LIGHT
    from dashboards.report import report_html
    from dashboards.repository import RunRepository
    from rsc_mlflow.tracking.details import Details
    from rsc_mlflow.tracking.frame import RunStore
    from rsc_mlflow.tracking.run import open_run
    from rsc_mlflow.tracking.store import connect, redact_passwords

    size = size_named(options.size)
    connect()
    tracking_uri = mlflow.get_tracking_uri()
    store = RunStore(tracking_uri)
    if error := store.refresh().error:
        where = redact_passwords(tracking_uri)
        raise InputError(f"Cannot read the tracking store {where} ({error}). Check MLFLOW_TRACKING_URI.")
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
    if folder is not None:
        written = export_all(repository.view(repository.snapshot(), filters, LIGHT), folder, size)
        answer(f"{written} files in {folder}")
    answer(f"report.html: {len(page.encode()) / 1e6:.1f} MB, artifact of run {run.run_id}")


def _writable(path: Path) -> Path:
    """Return the path if a file can be written there; checked before the report is created."""
    try:
        fits = path.parent.is_dir() and not path.is_dir()
        fits = fits and os.access(path if path.exists() else path.parent, os.W_OK)
    except (OSError, ValueError):  # a name that is too long or contains a NUL byte
        fits = False
    if not fits:
        raise invalid_value("output", str(path), _EXPECTED)
    return path


def _made(folder: Path) -> Path:
    """Return the folder, created if necessary.  It is checked before the figures are drawn."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        given = f"Invalid value for 'export': {str(folder)!r} ({error.strerror or error})."
        raise InputError(f"{given} Expected a folder that can be written.") from error
    return folder


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {str(path)!r} ({error.strerror or error}). Expected {_EXPECTED}.") from error


def _experiments(text: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the experiment names; empty for all experiments."""
    names = () if text == "all" else tuple(name.strip() for name in text.split(","))
    if unknown := set(names) - set(known):
        raise InputError(unknown_name("experiment", sorted(unknown)[0], ["all", *sorted(known)], text))
    return names


EXPERIMENT = ExperimentSpec(
    name="report",
    title="report",
    kind="report",
    summary="Write the dashboards as one self-contained HTML file and log it as an artifact of a new run.",
    options_class=ReportOptions,
    command=report,
)

if __name__ == "__main__":
    main(command_of(EXPERIMENT))
