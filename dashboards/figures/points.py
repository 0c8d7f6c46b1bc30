"""From runs to the points of a figure: averages over seeds with their intervals and everything behind them."""

import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboards.data import UNENDED, metric
from rsc_mlflow.statistics import t_half_width

LISTED = 25
"""Run ids that a point carries for its links; the rest is counted."""
LINE = 40
"""Letters that a legend has room for on a screen of 390 pixels."""
SETTINGS = {
    "family": "families",
    "form": "kinds of data set (one class, two classes, quarters)",
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
COUNTED = ("runs", "seeds", "running", "failed", "copies")


def comparable(runs: pd.DataFrame, subject: str) -> pd.DataFrame:
    """The runs in which nothing but one setting differs between the values that are compared.

    Kept are the values of ``subject`` that belong together (the largest set that any combination of the other
    ``SETTINGS`` was run at; of equal ones that of most runs) and the combinations that have all of them.  Without this,
    a value that other studies have runs of as well would be the mean over their patterns and counts.
    """
    names = [name for name in SETTINGS if name != subject]
    others = runs[names].groupby(names, dropna=False, sort=False).ngroup().rename("others")
    pairs = pd.concat([others, runs[subject]], axis=1).drop_duplicates()
    values = pairs[subject].groupby(pairs["others"]).agg(frozenset)
    if values.empty:
        return runs
    runs_with: Counter[frozenset[Any]] = Counter()
    counts = others.value_counts()
    for found, number in zip(values[counts.index], counts, strict=True):
        runs_with[found] += int(number)
    together = max(runs_with, key=lambda found: (len(found), runs_with[found], min(found)))
    whole = others.map(values.map(together.issubset))
    return runs[whole & runs[subject].isin(together)]


def left_out(runs: pd.DataFrame, shown: pd.DataFrame) -> str:
    """How many runs :func:`comparable` left out, in words; empty if none."""
    left = len(runs) - len(shown)
    return f". Left out: {counted(left, 'run')} of settings that lack one of the values compared" if left else ""


def points(runs: pd.DataFrame, by: Sequence[str], metric_name: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of a metric for each group, averaged first within and then over seeds.

    Args:
        runs: prepared runs, one a fingerprint (``dashboards.data.once``).
        by: columns that make a group.
        metric_name: e.g. ``spurious/score``.
        confidence: of the two-sided Student-t interval over seeds.

    Returns:
        One row a group that has a value: the columns of ``by``; ``mean``; ``low``, ``high`` (nan with one seed);
        ``sd`` over seeds; ``runs``, ``seeds``, ``running`` (runs that have not ended: their values so far),
        ``failed`` (settings of the group of which no run finished), ``copies`` (finished repetitions that were left
        out); ``links`` ("experiment:run,…", at most 25).
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
    lost, running = runs["lost"].to_numpy(bool), runs["status"].isin(UNENDED).to_numpy()
    extra = (runs["copies"].to_numpy() - 1).clip(min=0)
    group = runs.groupby(by, sort=True).ngroup().fillna(-1).to_numpy(np.int64)
    groups, first = np.unique(group, return_index=True)
    groups, first = groups[groups >= 0], first[groups >= 0]  # -1: a run without a value of ``by``
    keys, seed = runs[by].iloc[first], pd.factorize(runs["seed"])[0]
    any_known = np.zeros(len(runs), bool)
    parts: list[dict[str, np.ndarray]] = []
    for column in values.values():
        value = column.to_numpy(float)
        known = ~np.isnan(value) & ~lost & (group >= 0)
        any_known |= known
        parts.append(_over_seeds(value, known, group, seed, len(groups), confidence))
        for count, weights in (("runs", None), ("running", running), ("copies", extra)):
            weight = None if weights is None else weights[known].astype(float)
            parts[-1][count] = np.bincount(group[known], weight, len(groups)).astype(int)
    whole: dict[str, np.ndarray] = {name: keys[name].to_numpy() for name in by}
    whole["failed"] = np.bincount(group[group >= 0], lost[group >= 0], len(groups)).astype(int)
    whole["links"] = np.array(_links(runs, group, any_known, len(groups)), dtype=object)
    # A row a group and series, group by group.
    group_of, series_of = np.divmod(np.arange(len(groups) * len(names)), len(names))
    columns = {name: values[group_of] for name, values in whole.items()}
    columns["series"] = np.array(names, dtype=object)[series_of]
    columns |= {name: np.stack([part[name] for part in parts], 1).ravel() for name in parts[0]}
    some = columns["seeds"] > 0
    order = [*by, "series", "mean", "low", "high", "sd", *COUNTED, "links"]
    return pd.DataFrame({name: columns[name][some] for name in order})


def _over_seeds(
    value: np.ndarray, known: np.ndarray, group: np.ndarray, seed: np.ndarray, groups: int, confidence: float
) -> dict[str, np.ndarray]:
    """Mean, interval, sd and number of the seeds' means [groups]; pandas' grouping takes ten times as long."""
    pair, place = np.unique(group[known] * (seed.max(initial=0) + 1) + seed[known], return_inverse=True)
    per_seed = np.bincount(place, value[known]) / np.bincount(place) if len(pair) else np.empty(0)
    of = pair // (seed.max(initial=0) + 1)
    seeds = np.bincount(of, minlength=groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(of, per_seed, groups) / seeds
        squares = np.bincount(of, (per_seed - mean[of]) ** 2, groups)
        sd = np.sqrt(squares / np.where(seeds > 1, seeds - 1, np.nan))
    half = t_half_width(sd, seeds, confidence)
    return {"mean": mean, "low": mean - half, "high": mean + half, "sd": sd, "seeds": seeds}


def _links(runs: pd.DataFrame, group: np.ndarray, known: np.ndarray, groups: int) -> list[str]:
    """Of each group "experiment:run,…" of its first runs that have any value."""
    found: list[list[str]] = [[] for _ in range(groups)]
    rows = zip(group[known], runs["experiment_id"].to_numpy()[known], runs["run_id"].to_numpy()[known], strict=True)
    for place, experiment, run in rows:
        if len(found[place]) < LISTED:
            found[place].append(f"{experiment}:{run}")
    return [",".join(links) for links in found]


def interval(low: float, high: float) -> str:
    """An interval in words for a hover text."""
    return "one seed, no interval" if np.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"


def behind(row: Mapping[Any, Any] | pd.Series) -> str:
    """What stands behind a point, in words."""
    parts = [counted(row["runs"], "run"), counted(row["seeds"], "seed"), f"{row['failed']:.0f} failed"]
    parts += [f"{row['running']:.0f} still running"] if row["running"] else []
    parts += [f"{row['copies']:.0f} repeated, left out"] if row["copies"] else []
    return " · ".join(parts)


def hover(table: pd.DataFrame, title: Sequence[str]) -> list[str]:
    """Hover texts of the points: title, mean, interval, and what stands behind."""
    rows = records(table, ["mean", "low", "high", *COUNTED])
    return [
        f"<b>{head}</b><br>mean {row['mean']:.4f}<br>{interval(row['low'], row['high'])}<br>{behind(row)}"
        for head, row in zip(title, rows, strict=True)
    ]


def records(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as mappings of some columns, several times faster than pandas' own."""
    rows = zip(*(table[name].tolist() for name in columns), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def summary(table: pd.DataFrame, runs: pd.DataFrame | None = None) -> str:
    """One line about all points of a figure; runs behind several points are counted once.

    Where the runs are given, it also names the settings that a mean goes over although they are not its subject.
    """
    if table.empty:
        return "no points"
    low, high = int(table["seeds"].min()), int(table["seeds"].max())
    seeds = counted(low, "seed") if low == high else f"{low} to {high} seeds"
    distinct = table.drop_duplicates("links")
    parts = [counted(len(table), "point"), counted(distinct["runs"].sum(), "run"), f"{seeds} each"]
    parts += [f"{running:,} of them still running"] if (running := int(distinct["running"].sum())) else []
    parts += [f"{distinct['failed'].sum():.0f} failed", f"{distinct['copies'].sum():.0f} repeated and left out"]
    return " · ".join(parts) + ("" if runs is None else averaged_over(runs, table.columns))


def averaged_over(runs: pd.DataFrame, named: Collection[str]) -> str:
    """Settings that differ between the runs and are no column of the figure, in words; empty if there are none."""
    mixed = [(name, runs[name].dropna().nunique()) for name in SETTINGS if name not in named]
    words = [f"{number} {SETTINGS[name]}" for name, number in mixed if number > 1]
    return f". Averaged over {', '.join(words)}" if words else ""


def counted(number: float, what: str) -> str:
    """A number and its noun, in the plural where it is not one."""
    return f"{number:,.0f} {what}" + ("" if number == 1 else "s")


def symlog(values: pd.Series | Sequence[float]) -> np.ndarray:
    """0 and 1 stay, beyond it is 1 + log10: an axis on which none, one and a thousand have room."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) <= 1, array, np.sign(array) * (1 + np.log10(np.maximum(np.abs(array), 1))))


def escape(text: object) -> str:
    """Text for a plotly label, which would read some HTML."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lines(text: object) -> str:
    """Text for a legend, which plotly does not wrap: as many lines as it takes on a phone."""
    return "<br>".join(escape(line) for line in textwrap.wrap(str(text), LINE, break_on_hyphens=False))
