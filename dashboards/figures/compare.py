"""Any runs beside each other: what differs, and curves over epochs."""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape, lines
from dashboards.figures.style import Theme, figure, mark


def differing(runs: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """One row per key (columns beginning with ``prefix``), one column per run; only keys whose values differ.

    The columns are the runs' labels in the order given; an absent value is empty.
    """
    columns = [c for c in runs.columns if c.startswith(prefix)]
    values = runs[columns].astype(object).where(runs[columns].notna(), "")
    values.index = pd.Index(labels(runs))
    table = values.T
    table.index = pd.Index([c.removeprefix(prefix) for c in columns], name="name")
    table = table[table.nunique(axis=1) > 1] if len(runs) > 1 else table[(table != "").any(axis=1)]
    return table.sort_index().reset_index()


def labels(runs: pd.DataFrame) -> list[str]:
    """Short names of runs, unique: the run's name and the head of its id."""
    return [f"{name} ({run_id[-6:]})" for name, run_id in zip(runs["run_name"], runs["run_id"], strict=True)]


def curves(
    histories: Mapping[str, Sequence[tuple[int, float]]], links: Sequence[str], theme: Theme, y: str
) -> go.Figure:
    """One line per run, over its epochs.

    Args:
        histories: label → (epoch, value) pairs.
        links: of each run, in the same order.
        theme: light or dark.
        y: axis title.
    """
    legend = [lines(label) for label in histories]
    taken = 18 * sum(name.count("<br>") + 1 for name in legend)
    drawn = figure(theme, x="epoch", y=y, height=max(340, 120 + 2 * taken))  # plotly lets a legend take half of it
    for index, ((label, points), link) in enumerate(zip(histories.items(), links, strict=True)):
        look = mark(index)
        ordered = sorted(points)
        drawn.add_trace(
            go.Scatter(
                x=[step for step, _ in ordered],
                y=[value for _, value in ordered],
                name=legend[index],
                mode="lines+markers",
                line={"color": look.color, "width": 2, "dash": look.dash},
                marker={"color": look.color, "symbol": look.symbol, "size": 6},
                customdata=[link] * len(ordered),
                hovertemplate=f"<b>{escape(label)}</b><br>epoch %{{x}}<br>%{{y:.4f}}<extra></extra>",
            )
        )
    return drawn
