"""From runs to the points of a figure: averages over seeds with their intervals and everything behind them."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from dashboards.data import metric
from rsc_mlflow.statistics import t_half_width

LISTED = 25
"""Run ids that a point carries for its links; the rest is counted."""
SETTINGS = {
    "family": "families",
    "paper": "patterns",
    "architecture": "architectures",
    "optimizer": "optimisers",
    "n": "numbers of examples",
    "target": "target classes",
    "weight_decay": "weight decays",
    "input_noise": "noise levels",
    "grad_clip": "clipping bounds",
    "epochs": "lengths of training",
}
"""Settings that a figure names when it averages over them; filters hold them fixed."""
COUNTED = ("runs", "seeds", "failed", "copies")


def points(runs: pd.DataFrame, by: Sequence[str], metric_name: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of a metric for each group, averaged first within and then over seeds.

    Args:
        runs: prepared runs, one a fingerprint (``dashboards.data.once``).
        by: columns that make a group.
        metric_name: e.g. ``spurious/score``.
        confidence: of the two-sided Student-t interval over seeds.

    Returns:
        One row a group that has a value: the columns of ``by``; ``mean``; ``low``, ``high`` (nan with one seed);
        ``sd`` over seeds; ``runs``, ``seeds``, ``failed`` (settings of the group of which no run finished),
        ``copies`` (finished repetitions that were left out); ``links`` ("experiment:run,…", at most 25).
    """
    return series(runs, by, {metric_name: metric(runs, metric_name)}, confidence).drop(columns="series")


def series(
    runs: pd.DataFrame, by: Sequence[str], values: Mapping[str, pd.Series], confidence: float = 0.95
) -> pd.DataFrame:
    """:func:`points` of several quantities at once; the column ``series`` holds their names.

    Args:
        runs: as for :func:`points`.
        by: as for :func:`points`.
        values: name → float [runs], nan where a run has none.
        confidence: as for :func:`points`.
    """
    by, names = list(by), list(values)
    lost = runs["lost"].to_numpy()
    table = pd.DataFrame({name: column.to_numpy() for name, column in values.items()}, index=runs.index)
    table[lost] = np.nan
    table.columns = pd.RangeIndex(len(names))
    group = runs.groupby(by, sort=True).ngroup().to_numpy()
    keys = runs.assign(_group=group).drop_duplicates("_group").set_index("_group")[by].sort_index()
    seed = pd.factorize(runs["seed"])[0]
    per_seed = table.groupby([group, seed]).mean().groupby(level=0)
    mean, sd, seeds = per_seed.mean(), per_seed.std(), per_seed.count()
    half = t_half_width(sd, seeds, confidence)
    known = table.notna()
    extra = (runs["copies"].to_numpy() - 1).clip(min=0)
    counts = {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "sd": sd,
        "runs": known.groupby(group).sum(),
        "seeds": seeds,
        "copies": known.mul(extra, axis=0).groupby(group).sum(),
    }
    long = pd.DataFrame({name: part.stack(future_stack=True) for name, part in counts.items()})
    long = long[long["seeds"] > 0]
    failed = pd.Series(lost).groupby(group).sum()
    place, which = long.index.get_level_values(0), long.index.get_level_values(1)
    long = long.assign(failed=failed[place].to_numpy(), links=_links(runs, group, known)[place].to_numpy())
    long = long.assign(series=[names[k] for k in which], **{c: keys.loc[place, c].to_numpy() for c in by})
    return long[[*by, "series", "mean", "low", "high", "sd", *COUNTED, "links"]].reset_index(drop=True)


def _links(runs: pd.DataFrame, group: np.ndarray, known: pd.DataFrame) -> pd.Series:
    """Group → "experiment:run,…" of its first runs that have any value."""
    link = (runs["experiment_id"].astype(object) + ":" + runs["run_id"].astype(object)).to_numpy()
    rows = pd.DataFrame({"group": group, "link": link})[known.any(axis=1).to_numpy()]
    rows = rows[rows.groupby("group").cumcount() < LISTED]
    joined = rows.groupby("group")["link"].agg(",".join)
    return joined.reindex(np.unique(group), fill_value="")


def interval(low: float, high: float) -> str:
    """An interval in words for a hover text."""
    return "one seed, no interval" if np.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"


def behind(row: pd.Series) -> str:
    """What stands behind a point, in words."""
    parts = [_count(row["runs"], "run"), _count(row["seeds"], "seed"), f"{row['failed']:.0f} failed"]
    parts += [f"{row['copies']:.0f} repeated, left out"] if row["copies"] else []
    return " · ".join(parts)


def hover(table: pd.DataFrame, title: Sequence[str]) -> list[str]:
    """Hover texts of the points: title, mean, interval, and what stands behind."""
    rows = [row for _, row in table.iterrows()]
    return [
        f"<b>{head}</b><br>mean {row['mean']:.4f}<br>{interval(row['low'], row['high'])}<br>{behind(row)}"
        for head, row in zip(title, rows, strict=True)
    ]


def summary(table: pd.DataFrame, runs: pd.DataFrame | None = None) -> str:
    """One line about all points of a figure; runs behind several points are counted once.

    Where the runs are given, it also names the settings that a mean goes over although they are not its subject.
    """
    if table.empty:
        return "no points"
    low, high = int(table["seeds"].min()), int(table["seeds"].max())
    seeds = _count(low, "seed") if low == high else f"{low} to {high} seeds"
    distinct = table.drop_duplicates("links")
    parts = [_count(len(table), "point"), _count(distinct["runs"].sum(), "run"), f"{seeds} each"]
    parts += [f"{distinct['failed'].sum():.0f} failed", f"{distinct['copies'].sum():.0f} repeated and left out"]
    return " · ".join(parts) + ("" if runs is None else averaged_over(runs, table.columns))


def averaged_over(runs: pd.DataFrame, named: Collection[str]) -> str:
    """Settings that differ between the runs and are no column of the figure, in words; empty if there are none."""
    mixed = [(name, runs[name].dropna().nunique()) for name in SETTINGS if name not in named]
    words = [f"{number} {SETTINGS[name]}" for name, number in mixed if number > 1]
    return f". Averaged over {', '.join(words)}" if words else ""


def _count(number: float, what: str) -> str:
    return f"{number:,.0f} {what}" + ("" if number == 1 else "s")


def symlog(values: pd.Series | Sequence[float]) -> np.ndarray:
    """0 and 1 stay, beyond it is 1 + log10: an axis on which none, one and a thousand have room."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) <= 1, array, np.sign(array) * (1 + np.log10(np.maximum(np.abs(array), 1))))


def escape(text: object) -> str:
    """Text for a plotly label, which would read some HTML."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
