"""Pages and panels without Dash or HTML, rendered by both the web pages and the report file."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import pandas as pd
import plotly.graph_objects as go

from dashboards.data import Filters, has_metric
from dashboards.figures.style import Theme, common_range
from rsc_mlflow import analysis

T = TypeVar("T")
SAME_RUNS = "This panel shows and leaves out the same runs as “{}”."
"""Text that replaces a notice that an earlier panel shows."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plot:
    """One figure of a panel.

    Attributes:
        figure: the figure.
        title: heading that tells it from the other figures; empty if it is not needed.
        least_width: minimum width in pixels; on narrower screens the figure scrolls sideways.
    """

    figure: go.Figure
    title: str = ""
    least_width: int = 0


@dataclass(frozen=True)
class Picture:
    """A PNG artifact of a run; ``title`` is its caption."""

    run_id: str
    path: str
    title: str


@dataclass(frozen=True)
class Note:
    """The description of a run (Markdown), with the run's label as heading."""

    run_id: str
    label: str
    text: str


@dataclass(frozen=True)
class LogExcerpt:
    """The end of a log, shown as plain text that is folded under its title."""

    title: str
    text: str


@dataclass(frozen=True)
class SavedView:
    """A saved view.

    Attributes:
        name: given by the user.
        address: path and query string, relative to the dashboards.
        experiment: name of the experiment whose tag stores the view.
        experiment_id: its id.
    """

    name: str
    address: str
    experiment: str
    experiment_id: str


@dataclass(frozen=True)
class Panel:
    """Figures of one quantity with a caption and their data, or a message if there is nothing to show.

    Attributes:
        key: identifies the panel in URLs and file names.
        title: heading.
        about: caption: what is plotted and how to read it.
        plots: figures, side by side if there is room.
        table: data of the figures, for the table and the downloads; ``links`` ("experiment:run,…") becomes links.
        note: line below the figures: numbers of points, runs and seeds, and what is left out.
        message: shown instead of figures: what is missing and what to do.
        show_table: show the table instead of folding it.
        optional: omit the panel if it has only a message.
        notice: text above the figures: which recipes are shown and which are left out.
        notice_at: title of an earlier panel of the page with the same notice, which is then not repeated.
        pictures: PNG artifacts, side by side.
        notes: descriptions of runs; users who may edit a run can edit its description.
        views: saved views, listed as links.
        wide: use the whole width of the page.
        logs: excerpts of logs, below the table.
    """

    key: str
    title: str
    about: str = ""
    plots: tuple[Plot, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    message: str = ""
    show_table: bool = False
    optional: bool = False
    notice: str = ""
    notice_at: str = ""
    pictures: tuple[Picture, ...] = ()
    notes: tuple[Note, ...] = ()
    views: tuple[SavedView, ...] = ()
    wide: bool = False
    logs: tuple[LogExcerpt, ...] = ()


class RunDetails(Protocol):
    """Loads data of runs that are not part of the table of all runs."""

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return (step, value) pairs of a run's metric; empty if there are none."""

    def artifact(self, run_id: str, path: str) -> object | None:
        """Return a parsed JSON artifact of a run, or None."""

    def picture(self, run_id: str, path: str) -> bytes | None:
        """Return a PNG artifact of a run, or None."""

    def experiment_tags(self) -> dict[str, dict[str, str]]:
        """Return id → tags of all experiments, including those that the user may not read."""

    def models(self) -> pd.DataFrame:
        """Return the registered versions, newest first.

        Columns: ``name``, ``version``, ``dataset``, ``method``, ``aliases``, ``run_id``, ``created`` (ms since 1970).
        """


@dataclass(frozen=True)
class View:
    """The input of a panel.

    Attributes:
        runs: the filtered runs, one row per fingerprint, without raw parameters and tags.
        every: all filtered runs, including repetitions.
        total: number of runs that the user may read, before filtering.
        experiments: id → name.
        filters: filters and options from the URL.
        theme: light or dark.
        source: histories and artifacts.
        memo: intermediate results that the panels of a page share.
    """

    runs: pd.DataFrame
    every: pd.DataFrame
    total: int
    experiments: Mapping[str, str]
    filters: Filters
    theme: Theme
    source: RunDetails
    _kinds: dict[tuple[str, ...], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def option(self, option: "Option") -> str:
        """Return the value of an option: from the URL if it is one of the choices, else the default."""
        given = self.filters.options.get(option.name, ())
        return given[0] if given and given[0] in dict(option.choices) else option.default

    def kind(self, *kinds: str) -> pd.DataFrame:
        """Return the runs of the given kinds."""
        if kinds not in self._kinds:
            self._kinds[kinds] = analysis.kind(self.runs, *kinds)
        return self._kinds[kinds]

    def poisoned(self) -> pd.DataFrame:
        """Return the training runs on datasets with a pattern."""
        if "poisoned" not in self.memo:
            self.memo["poisoned"] = analysis.poisoned(self.kind("train"))
        found: pd.DataFrame = self.memo["poisoned"]
        return found

    def empty_message(self, runs: pd.DataFrame, metrics: Sequence[str], made_by: str) -> str:
        """Return why a panel has nothing to show and what to do; empty if any run has one of the metrics.

        Args:
            runs: candidates for the panel.
            metrics: names, of which the panel needs one.
            made_by: command that creates such runs.
        """
        return "" if has_metric(runs, metrics) else self.missing_message(runs, " or ".join(metrics[:2]), made_by)

    def missing_message(self, runs: pd.DataFrame, what: str, made_by: str) -> str:
        """Return why there are no runs or what they do not have, and which command creates it."""
        if self.total == 0:
            return f"No runs yet. Create some with: {made_by}"
        if not len(self.every):
            return f"None of the {self.total:,} runs matches the filters. Remove a filter, or press Reset."
        if not len(runs):
            return f"None of the {len(self.every):,} runs is of the kind shown here. Create some with: {made_by}"
        return f"None of these {len(runs):,} runs has {what}, which is logged by: {made_by}"


@dataclass(frozen=True)
class Option:
    """A choice on a page, kept in the URL.

    Attributes:
        name: of the parameter in the URL.
        label: for users.
        choices: (value, label) pairs.
        default: value if the URL has no valid one.
    """

    name: str
    label: str
    choices: tuple[tuple[str, str], ...]
    default: str


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        path: relative to the dashboards.
        title: heading and entry in the menu.
        about: the question that the page answers.
        panels: functions that build its panels, from top to bottom.
        options: options in addition to the filters.
        place: position in the menu, ascending; by default last.
    """

    path: str
    title: str
    about: str
    panels: tuple[Callable[[View], Panel], ...]
    options: tuple[Option, ...] = ()
    place: int = 1000


def panels(page: Page, view: View) -> list[Panel]:
    """Return the page's panels.  If a panel cannot be built, it shows a message and the other panels are not affected.

    Of several panels with the same message, only the first is kept.  Panels with a message come last.  Vertical axes
    with the same title have the same range in all figures of a panel.  If several panels have the same notice, only the
    first shows it.
    """
    kept: dict[str, Panel] = {}
    for panel in (_safely(build, view) for build in page.panels):
        if not (panel.optional and panel.message):
            kept.setdefault(panel.message or panel.key, panel)
    return _notices_once(sorted(kept.values(), key=lambda panel: bool(panel.message)))


def _notices_once(drawn: Sequence[Panel]) -> list[Panel]:
    first: dict[str, str] = {}
    found = []
    for panel in drawn:
        at = first.setdefault(panel.notice, panel.title) if panel.notice and not panel.message else panel.title
        found.append(panel if at == panel.title else replace(panel, notice_at=at))
    return found


def legible(read: Callable[..., T], *content: Any) -> T | None:
    """Return ``read(*content)``, or None if the content of an artifact does not have the expected structure."""
    try:
        return read(*content)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError):
        return None


def _safely(build: Callable[[View], Panel], view: View) -> Panel:
    try:
        panel = build(view)
        common_range([plot.figure for plot in panel.plots])
        return panel
    except Exception as error:  # the log contains the traceback
        _logger.exception("panel %s", build.__name__)
        message = f"This panel could not be drawn ({type(error).__name__}). See the log for details."
        return Panel(build.__name__, build.__name__.replace("_", " ").capitalize(), message=message)
