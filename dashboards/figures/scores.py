"""Spurious score against the number of spurious examples, and by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.data import metric
from dashboards.figures.points import behind, hover, points, series, symlog
from dashboards.figures.style import PATTERN_MARKS, Theme, figure, in_order, share_range
from rsc_mlflow.statistics import fisher, holm
from rsc_mlflow.tracking import schema

LEVEL = 0.05
_NEEDED = ("run_id", "experiment_id", "status", "seed", "lost", "copies")


def score_points(runs: pd.DataFrame, metric_name: str, facet: str | None) -> pd.DataFrame:
    """Points by facet, pattern and number of examples, with the clean model's as number 0.

    Added to :func:`dashboards.figures.points.points`: ``p`` (Fisher's combination over the runs of the paired
    one-sided p-values against the clean model, then Holm's correction over all points; nan where none is logged)
    and ``significant`` (p < 0.05).
    """
    by = [facet, "paper", "n"] if facet and facet not in ("paper", "n") else ["paper", "n"]
    spurious = runs[~runs["pattern"].isin(["", "none"])]
    table = points(spurious, by, metric_name)
    table["baseline"] = False
    if metric_name == "spurious/score":
        base = baseline(runs, spurious, [b for b in by if b != "n"]).assign(n=0.0, baseline=True)
        table = pd.concat([table[table["n"] > 0], base], ignore_index=True) if len(base) else table
    p_values = _p_values(spurious, by) if metric_name == "spurious/score" else None
    table = table.assign(p=np.nan) if p_values is None else table.merge(p_values, on=by, how="left")
    table["significant"] = table["p"] < LEVEL
    return table.sort_values(by, ignore_index=True)


def baseline(runs: pd.DataFrame, spurious: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The clean model's score on the pattern and target class of each group.

    From ``spurious/reference_score``, which a run has if its clean model was there before it; for groups without
    it from the clean runs themselves (``reference/{pattern}/score_target_{k}``) that share family, architecture
    and optimiser with runs of the group.
    """
    own = points(spurious, by, "spurious/reference_score")
    shared = ["family", "architecture", "optimizer"]
    groups = spurious[[*dict.fromkeys(["pattern", "paper", "target", *shared, *by])]].drop_duplicates()
    missing = groups.merge(own[by], on=by, how="left", indicator=True)["_merge"].to_numpy() == "left_only"
    clean = runs[runs["pattern"] == "none"]
    if not missing.any() or clean.empty:
        return own
    plain = clean[[*_NEEDED, *shared]].assign(_row=np.arange(len(clean)))
    every = plain.merge(groups[missing], on=shared)
    score = np.full(len(every), np.nan)
    cells: Mapping[Any, Any] = every.groupby(["pattern", "target"]).indices
    for (pattern, target), rows in cells.items():
        column = metric(clean, schema.reference_score_target(pattern, int(target)))
        score[rows] = column.to_numpy()[every["_row"].to_numpy()[rows]]
    found = series(every, by, {"": pd.Series(score)}).drop(columns="series")
    return pd.concat([own, found], ignore_index=True) if len(own) else found


def _p_values(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame | None:
    """The groups' corrected p-values; None where no run has one."""
    values = metric(runs, "spurious/p_value").where(~runs["lost"])
    known = runs[list(by)].assign(p=values)[values.notna()]
    if known.empty:
        return None
    combined = known.groupby(list(by))["p"].agg(lambda p: fisher(p.to_numpy()))
    return combined.to_frame().assign(p=holm(combined.to_numpy())).reset_index()


def score_curves(table: pd.DataFrame, theme: Theme, y: str) -> go.Figure:
    """A line per pattern over the number of spurious examples (symlog), 95 % intervals over seeds.

    Hollow points are not significantly above the clean model (see :func:`score_points`); where no p-value is known,
    all points are filled.
    """
    drawn = figure(theme, x="spurious examples in the training set", y=y)
    for name in in_order(table["paper"].tolist()):
        rows = table[table["paper"] == name].sort_values("n")
        drawn.add_trace(_line(rows, name))
    drawn.update_yaxes(range=share_range(table))
    ticks = _ticks(sorted(table["n"].unique()))
    drawn.update_xaxes(tickvals=symlog(ticks), ticktext=[f"{n:,.0f}" for n in ticks])
    return drawn


def _ticks(numbers: Sequence[float]) -> list[float]:
    """Those of the numbers that have room beside each other."""
    kept: list[float] = []
    for number in numbers:
        if not kept or symlog([number])[0] - symlog([kept[-1]])[0] >= 0.22:
            kept.append(number)
    return kept


def _line(rows: pd.DataFrame, name: str) -> go.Scatter:
    look = PATTERN_MARKS[name]
    hollow = ~rows["significant"] & rows["p"].notna()
    titles = [
        f"{name}, clean model" if base else f"{name}, {n:.0f} examples"
        for base, n in zip(rows["baseline"], rows["n"], strict=True)
    ]
    texts = hover(rows, titles)
    p = [f"<br>p = {value:.2g} against the clean model (Holm)" if value == value else "" for value in rows["p"]]
    return go.Scatter(
        x=symlog(rows["n"]),
        y=rows["mean"].to_numpy(),
        name=name,
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash, "width": 2},
        marker={
            "color": look.colour,
            "symbol": [f"{look.symbol}-open" if open_ else look.symbol for open_ in hollow],
            "size": 9,
        },
        error_y=error(rows),
        customdata=rows["links"].tolist(),
        hovertext=[a + b for a, b in zip(texts, p, strict=True)],
        hoverinfo="text",
    )


def error(rows: pd.DataFrame) -> dict[str, object]:
    """Error bars to the ends of the intervals, none where there is one seed."""
    up = np.nan_to_num(rows["high"].to_numpy() - rows["mean"].to_numpy())
    down = np.nan_to_num(rows["mean"].to_numpy() - rows["low"].to_numpy())
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.3, "width": 3}


def class_points(runs: pd.DataFrame, kind: str, classes: int) -> pd.DataFrame:
    """Mean per-class scores: one row a pattern and class.

    Args:
        runs: prepared, one a fingerprint.
        kind: ``target`` (class as the target) or ``class`` (true class of the test examples).
        classes: how many classes to look for.
    """
    values = {str(k): metric(runs, f"spurious/score_{kind}_{k}") for k in range(classes)}
    table = series(runs, ["paper"], values).rename(columns={"series": "k"})
    return table.assign(k=table["k"].astype(int)).sort_values(["paper", "k"], ignore_index=True)


def class_map(table: pd.DataFrame, theme: Theme, x: str) -> go.Figure:
    """A cell a pattern (row) and class (column): mean score, shaded and written out."""
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
            colorscale=[[i * step, colour] for i, colour in enumerate(theme.scale)],
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
