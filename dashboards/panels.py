"""What a page is made of, free of Dash and of HTML: the live pages and the report file render the same panels."""

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
SAME_RUNS = "Shown and left out: the same runs as in “{}”."
"""Shown instead of a notice that an earlier panel has already."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plot:
    """One figure with the heading that tells it from its neighbors (empty for a lone one).

    A screen narrower than ``least_width`` pixels shows it in a box that scrolls sideways.
    """

    figure: go.Figure
    title: str = ""
    least_width: int = 0


@dataclass(frozen=True)
class Picture:
    """A PNG artifact of a run, with its caption."""

    run_id: str
    path: str
    title: str


@dataclass(frozen=True)
class Note:
    """The description of a run (Markdown) under the run's label."""

    run_id: str
    label: str
    text: str


@dataclass(frozen=True)
class LogExcerpt:
    """The end of a log, shown as plain text below its title, folded."""

    title: str
    text: str


@dataclass(frozen=True)
class SavedView:
    """A saved view: its name, its address below the dashboards, and the name and id of the experiment that holds it."""

    name: str
    address: str
    experiment: str
    experiment_id: str


@dataclass(frozen=True)
class Panel:
    """A question, its figures, the data behind them, and what to do where there is none.

    Attributes:
        key: identifies the panel in addresses and file names.
        title: the question or quantity.
        about: how to read it; one or two sentences.
        plots: figures, shown side by side where there is room.
        table: what the CSV download holds; ``links`` ("experiment:run,…") becomes links to runs.
        note: what stands behind all points.
        message: instead of figures: what is missing and what to do.
        show_table: the table is the panel, not its footnote.
        optional: a page does without the panel where it has but a message.
        notice: what a reader must know before looking, above the figures: which unlike runs were set apart.
        notice_at: title of an earlier panel of the page that has the same notice, which is then not repeated.
        pictures: PNG artifacts, side by side.
        views: saved views, listed as links.
        wide: takes the whole width of the page.
        notes: descriptions of runs, which those may edit who may edit the run.
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
    """What a page may ask for besides the runs' newest values."""

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) pairs of a run's metric; empty if there are none."""

    def artifact(self, run_id: str, path: str) -> object | None:
        """A JSON artifact of a run, parsed; None if it has none."""

    def picture(self, run_id: str, path: str) -> bytes | None:
        """A PNG artifact of a run; None if it has none."""

    def experiment_tags(self) -> dict[str, dict[str, str]]:
        """Id → tags of every experiment of the store, of those too that the reader may not see."""

    def models(self) -> pd.DataFrame:
        """Registered versions, newest first: name, version, dataset, method, aliases, run_id, created (ms)."""


@dataclass(frozen=True)
class View:
    """Everything a panel is made from.

    Attributes:
        runs: this project's, read and filtered, one row per fingerprint.
        every: the same with repetitions.
        total: runs of this project that the reader may see, before filtering.
        experiments: id → name.
        filters: from the address, with the page's options.
        theme: light or dark.
        source: histories and artifacts.
        memo: what panels of one page share.
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
        """The value of a page's option: from the address if it is one of the choices, else the default."""
        given = self.filters.options.get(option.name, ())
        return given[0] if given and given[0] in dict(option.choices) else option.default

    def kind(self, *kinds: str) -> pd.DataFrame:
        """The runs of some kinds."""
        if kinds not in self._kinds:
            self._kinds[kinds] = analysis.kind(self.runs, *kinds)
        return self._kinds[kinds]

    def poisoned(self) -> pd.DataFrame:
        """The training runs with a pattern."""
        if "poisoned" not in self.memo:
            self.memo["poisoned"] = analysis.poisoned(self.kind("train"))
        found: pd.DataFrame = self.memo["poisoned"]
        return found

    def empty_message(self, runs: pd.DataFrame, metrics: Sequence[str], made_by: str) -> str:
        """Why a panel has nothing to show and what to do; empty if some run has one of the metrics.

        Args:
            runs: those that the panel would show.
            metrics: of which it needs one.
            made_by: the command that makes such runs.
        """
        return "" if has_metric(runs, metrics) else self.missing_message(runs, " or ".join(metrics[:2]), made_by)

    def missing_message(self, runs: pd.DataFrame, what: str, made_by: str) -> str:
        """Why there are no runs, or what those that there are lack; and what to do."""
        if self.total == 0:
            return f"No runs yet. Make some: {made_by}"
        if not len(self.every):
            return f"The filters let none of {self.total:,} runs through. Remove one of them, or press Reset."
        if not len(runs):
            return f"None of the {len(self.every):,} runs shown here is of this kind. Make some: {made_by}"
        return f"None of these {len(runs):,} runs has {what}. It is logged by: {made_by}"


@dataclass(frozen=True)
class Option:
    """A choice on one page, kept in the address."""

    name: str
    label: str
    choices: tuple[tuple[str, str], ...]
    default: str


@dataclass(frozen=True)
class Page:
    """One page: where it is, what it is for, and its panels in order.

    Attributes:
        path: below the dashboards' address.
        title: in the menu.
        about: the question it answers.
        panels: what it shows, from top to bottom.
        options: its own choices beside the filters.
        place: in the menu, ascending; pages that give none come last.
    """

    path: str
    title: str
    about: str
    panels: tuple[Callable[[View], Panel], ...]
    options: tuple[Option, ...] = ()
    place: int = 1000


def panels(page: Page, view: View) -> list[Panel]:
    """The page's panels; one that cannot be made says so instead of taking the page down.

    Of several panels that have nothing to show for the same reason only the first is kept.  Panels with nothing to show
    come last.  Figures of one panel that show the same quantity have the same range.  If several panels have the same
    notice, only the first shows it.
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
    """What ``read`` makes of an artifact; None where its content has another shape than ours."""
    try:
        return read(*content)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError):
        return None


def _safely(build: Callable[[View], Panel], view: View) -> Panel:
    try:
        panel = build(view)
        common_range([plot.figure for plot in panel.plots])
        return panel
    except Exception as error:  # shown in the panel's place; the log has the trace
        _logger.exception("panel %s", build.__name__)
        message = f"This panel could not be drawn ({type(error).__name__}). The log says more."
        return Panel(build.__name__, build.__name__.replace("_", " ").capitalize(), message=message)
