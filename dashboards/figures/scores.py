"""Spurious score against the number of spurious examples, and by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import TARGETS, behind, counted, escape, hover, lines, seed_marks, symlog
from dashboards.figures.style import (
    Mark,
    Theme,
    figure,
    in_order,
    in_place,
    mark,
    pattern_mark,
    plain,
    share_range,
)
from rsc_mlflow.analysis import (
    above_clean,
    clean_rows,
    metric,
    points,
    series,
    unit_means,
    with_clean_scores,
    with_targets,
)
from rsc_mlflow.tracking import schema

_NO_COUNTS = {"incomplete": 0, "running": 0, "failed": 0, "copies": 0, "unreadable": 0, "mixed": "", "links": ""}


def score_points(
    runs: pd.DataFrame, metric_name: str, by: Sequence[str], clean: pd.DataFrame | None = None, group: str = "paper"
) -> pd.DataFrame:
    """Return points by line (``group``), number of spurious examples and ``by``.

    For the spurious score, clean models are added as points with 0 examples.

    Args:
        runs: training runs with a pattern, selected by :func:`rsc_mlflow.analysis.alike`.
        metric_name: e.g. ``spurious/score``.
        by: columns that define the figures of the panel: facets and recipes.
        clean: runs among which clean runs are looked up; default: ``runs``.
        group: column with one line per value.

    Returns:
        The columns of :func:`rsc_mlflow.analysis.points`, and ``baseline`` (bool: clean models), ``p`` (rank-sum test
        against clean models with Holm's correction over all points; NaN without clean models), ``n_clean`` (number of
        clean models) and ``significant`` (p < 0.05).  If there are clean models, also ``clean_low`` and ``clean_high``
        (the smallest and the largest of their scores, in baseline rows).
    """
    line = [*dict.fromkeys([*by, group])]
    every = [*dict.fromkeys([*line, "n_spurious"])]
    table = points(runs, every, metric_name).assign(baseline=False, p=np.nan, n_clean=0, significant=False)
    if metric_name != schema.SPURIOUS_SCORE:
        return table.sort_values(every, ignore_index=True)
    table = with_targets(table, runs, every)
    scored = with_clean_scores(runs, clean)
    tested = above_clean(scored, every).rename(columns={"p_holm": "p"}).drop(columns=["p_value", "n_poisoned"])
    table = table.drop(columns=["p", "n_clean", "significant"]).merge(tested, on=every, how="left")
    base = baseline(scored, line)
    if len(base):
        with_base = table.merge(base[line].drop_duplicates(), on=line, how="left", indicator=True)["_merge"] == "both"
        table = pd.concat([table[~(with_base & (table["n_spurious"] == 0)).to_numpy()], base], ignore_index=True)
    table["significant"] = table["significant"].eq(True)
    table["n_clean"] = table["n_clean"].fillna(0).astype(int)
    return table.sort_values(every, ignore_index=True)


def baseline(scored: pd.DataFrame, line: Sequence[str]) -> pd.DataFrame:
    """Return the mean score of the clean models of each line as a point at 0; its units are their training seeds."""
    rows: list[dict[str, Any]] = []
    models = clean_rows(scored, line)
    for key, group in models.groupby(list(line), sort=True) if len(models) else ():
        interval, each = unit_means(
            group["score"].to_numpy(float), {"training": group["random_seed"].tolist()}, bounds=(0, 1)
        )
        row = dict(zip(line, key if isinstance(key, tuple) else (key,), strict=True)) | _NO_COUNTS
        row |= {"mean": interval.estimate, "low": interval.low, "high": interval.high, "units": interval.n_units}
        words = interval.estimand.replace("training seeds", "training seeds of clean models")
        row |= {"over": words, "each": each, "runs": len(group), "n_clean": len(group)}
        row |= {"clean_low": group["score"].min(), "clean_high": group["score"].max()}
        rows.append(row | {"n_spurious": 0.0, "baseline": True, "p": np.nan, "significant": False})
    return pd.DataFrame(rows)


def score_curves(
    table: pd.DataFrame,
    theme: Theme,
    y: str,
    group: str = "paper",
    marks: Sequence[tuple[object, str, Mark]] = (),
) -> go.Figure:
    """Plot means and 95 % intervals against the number of spurious examples, one line per value of ``group``.

    Points with fewer than five seeds have no interval but a small marker for each seed.  Hollow points are not
    significantly above the clean models; without clean models, all points are filled.  A band spans the scores of the
    clean models.

    Args:
        table: points of :func:`score_points`.
        theme: light or dark.
        y: axis title.
        group: column with one line per value.
        marks: lines from :func:`line_marks`, the same for all figures of a panel.
    """
    drawn = figure(theme, x="spurious examples in the training set", y=y)
    ends = symlog([table["n_spurious"].min(), table["n_spurious"].max()]).tolist() if len(table) else [0.0, 0.0]
    for value, name, look in marks or line_marks(table[group]):
        rows = table[table[group] == value].sort_values("n_spurious")
        if rows.empty:
            continue
        drawn.add_traces(_clean_band(rows, name, look, ends))
        drawn.add_trace(_line(rows, name, look))
        drawn.add_traces(single(rows, drawn.data[-1], look))
        drawn.add_traces(_targets(rows, name, look))
    drawn.update_yaxes(range=share_range(table))
    ticks = _ticks(sorted(table["n_spurious"].unique()))
    drawn.update_xaxes(tickvals=symlog(ticks), ticktext=[f"{n:,.0f}" for n in ticks], showgrid=False)
    return drawn


def line_marks(values: "pd.Series[Any]") -> list[tuple[object, str, Mark]]:
    """Return (value, name, mark) of each line, in order; patterns have fixed marks, other values one by position."""
    if values.name == "paper":
        return [(name, name, pattern_mark(name)) for name in in_order(values.tolist())]
    return [(value, plain(value) or "no value", mark(at)) for at, value in enumerate(in_place(values))]


def _clean_band(rows: pd.DataFrame, name: str, look: Mark, ends: Sequence[float]) -> list[go.Scatter]:
    """Return a band over the whole width that spans the clean models' scores; empty without clean models."""
    base = rows[rows["baseline"]]
    if base.empty or "clean_low" not in base:
        return []
    low, high = float(base["clean_low"].iloc[0]), float(base["clean_high"].iloc[0])
    band = go.Scatter(
        x=[ends[0], ends[1], ends[1], ends[0]],
        y=[low, low, high, high],
        mode="none",
        fill="toself",
        fillcolor=look.color,
        opacity=0.18,
        name=f"{escape(name)}, clean models",
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
    )
    return [band]


def single(rows: pd.DataFrame, line: go.Scatter, look: Mark) -> list[go.Scatter]:
    """Return a trace with a small marker for each seed of the points without an interval; empty if there are none.

    A marker has the hover text and the runs of its point.

    Args:
        rows: points of one line.
        line: trace of the line; a click on its name in the legend also shows or hides the markers.
        look: mark of the line.
    """
    at, values = seed_marks(rows, range(len(rows)))
    if not values:
        return []
    x, links, texts = ([column[k] for k in at] for column in (line.x, line.customdata, line.hovertext))
    trace = go.Scatter(
        x=x,
        y=values,
        yaxis=line.yaxis,
        name=f"{line.name}, single seeds",
        legendgroup=line.legendgroup,
        showlegend=False,
        mode="markers",
        marker={"color": look.color, "symbol": look.symbol, "size": 5, "opacity": 0.55},
        customdata=links,
        hovertext=[f"single seed: {value:.4f}<br>{text}" for value, text in zip(values, texts, strict=True)],
        hoverinfo="text",
    )
    return [trace]


def _targets(rows: pd.DataFrame, name: str, look: Mark) -> list[go.Scatter]:
    """Return a thin line for each of two target classes; empty for runs with one target class."""
    found = []
    for place, column in enumerate(TARGETS):
        known = rows[rows[column].notna()] if column in rows else rows[:0]
        if len(known):
            line = {"color": look.color, "dash": "dot", "width": 1}
            marker = {"color": look.color, "symbol": ("triangle-left", "triangle-right")[place], "size": 6}
            words = f"{escape(name)}, {('first', 'second')[place]} target class"
            x, y = symlog(known["n_spurious"]), known[column].to_numpy()
            trace = go.Scatter(x=x, y=y, mode="lines+markers", line=line, marker=marker, name=words, opacity=0.7)
            found.append(trace.update(customdata=known["links"].tolist(), hovertemplate=f"{words}<br>%{{y:.4f}}"))
    return found


def _ticks(numbers: Sequence[float]) -> list[float]:
    """Return the numbers to label on the axis, so that labels do not overlap."""
    kept: list[float] = []
    for number in numbers:
        if not kept or symlog([number])[0] - symlog([kept[-1]])[0] >= 0.22:
            kept.append(number)
    return kept


def _line(rows: pd.DataFrame, name: str, look: Mark) -> go.Scatter:
    hollow = ~rows["significant"] & rows["p"].notna()
    titles = [
        f"{escape(name)}, {models} clean models" if base else f"{escape(name)}, {counted(n, 'example')}"
        for base, n, models in zip(rows["baseline"], rows["n_spurious"], rows["n_clean"], strict=True)
    ]
    texts = hover(rows, titles)
    p = [
        f"<br>p = {value:.2g} against {models:.0f} clean models (Holm)" if value == value else ""
        for value, models in zip(rows["p"], rows["n_clean"], strict=True)
    ]
    return go.Scatter(
        x=symlog(rows["n_spurious"]),
        y=rows["mean"].to_numpy(),
        name=lines(name),
        legendgroup=name,
        mode="lines+markers",
        line={"color": look.color, "dash": look.dash, "width": 2},
        marker={
            "color": look.color,
            "symbol": [f"{look.symbol}-open" if open_ else look.symbol for open_ in hollow],
            "size": 9,
        },
        error_y=error(rows),
        customdata=rows["links"].tolist(),
        hovertext=[a + b for a, b in zip(texts, p, strict=True)],
        hoverinfo="text",
    )


def error(rows: pd.DataFrame) -> dict[str, object]:
    """Return plotly's error bars from each mean to the ends of its interval; length 0 if it has none."""
    up = np.nan_to_num(rows["high"].to_numpy() - rows["mean"].to_numpy())
    down = np.nan_to_num(rows["mean"].to_numpy() - rows["low"].to_numpy())
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.3, "width": 3}


def class_points(runs: pd.DataFrame, kind: str, classes: int, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return mean per-class scores: one row per pattern and class ``k`` (and ``by``).

    Args:
        runs: training runs with a pattern, selected by :func:`rsc_mlflow.analysis.alike`.
        kind: ``target`` (class used as the target) or ``class`` (true class of the test images).
        classes: maximum number of classes.
        by: columns that define the figures of the panel.
    """
    name_of = {"target": schema.score_target, "class": schema.score_class}[kind]
    values = {str(k): metric(runs, name_of(k)) for k in range(classes)}
    keys = [*dict.fromkeys([*by, "paper"])]
    table = series(runs, keys, values, bounds=(0, 1)).rename(columns={"series": "k"})
    return table.assign(k=table["k"].astype(int)).sort_values([*keys, "k"], ignore_index=True)


def class_map(table: pd.DataFrame, theme: Theme, x: str) -> go.Figure:
    """Plot a heat map of mean scores with patterns as rows and classes as columns; numbers for up to 20 classes."""
    names = in_order(table["paper"].tolist())
    classes = sorted(table["k"].unique())
    drawn = figure(theme, x=x, y="pattern", height=90 + 38 * len(names))
    grid = table.set_index(["paper", "k"])
    cells = grid["mean"].unstack().reindex(index=names, columns=classes)
    cell = {(row["paper"], row["k"]): row for row in table.to_dict("records")}
    texts = [[_cell_text(cell.get((name, k)), name, k) for k in classes] for name in names]
    links = grid["links"].unstack().reindex(index=names, columns=classes)
    step = 1 / (len(theme.scale) - 1)
    drawn.add_trace(
        go.Heatmap(
            z=cells.to_numpy(),
            x=[str(k) for k in classes],
            y=names,
            zmin=0,
            zmax=1,
            colorscale=[[i * step, color] for i, color in enumerate(theme.scale)],
            texttemplate="%{z:.2f}" if len(classes) <= 20 else None,
            hovertext=texts,
            hoverinfo="text",
            customdata=links.fillna("").to_numpy(),
            xgap=2,
            ygap=2,
            colorbar={"thickness": 10, "title": {"text": ""}, "outlinewidth": 0},
        )
    )
    drawn.update_yaxes(autorange="reversed", type="category")
    drawn.update_xaxes(type="category")
    return drawn


def _cell_text(row: Mapping[Any, Any] | None, name: str, k: int) -> str:
    if row is None:
        return f"{name}, class {k}: no run"
    return f"<b>{name}, class {k}</b><br>mean {row['mean']:.4f}<br>{behind(row)}"
