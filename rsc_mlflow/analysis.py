"""From runs to the paper's comparisons: mitigation and pattern norms, as pure DataFrame → DataFrame functions.

The input is a frame of runs with MLflow's column names (``params.…``, ``metrics.…``, ``tags.…``), as
``rsc_mlflow.tracking.query.search`` and the dashboards' ``RunStore`` give it.  Three rules hold throughout:

* *Nothing is averaged over but what is named.*  A training setting that varies between the runs and is not
  the subject becomes a column of the result.
* *Seeds are the unit.*  Within a seed the cells (counts, target classes) are averaged first; means, intervals
  and tests then go over seeds.
* *One denominator.*  A seed counts only if it has a run in every cell that its group has, so that no mean
  hides a missing run; ``cells`` says what was averaged and ``runs_left_out`` how many runs were not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import form_of
from rsc_mlflow.statistics import bootstrap_interval, holm, paired_comparison, pearson, t_interval
from rsc_mlflow.tracking import schema

KNOBS = ("weight_decay", "input_noise", "grad_clip")
"""The paper's mitigations; 0 is off for each."""

OUTCOMES: Mapping[str, str] = {
    "score": schema.SPURIOUS_SCORE,
    "clean_accuracy": schema.TEST_ACCURACY,
    "spurious_accuracy": schema.SPURIOUS_TEST_ACCURACY,
}
"""Name in the results → metric of the run."""

SUBJECTS = ("dataset_family", "architecture", "optimizer", "pattern")
CELLS = ("n_spurious", "target_class")
SEEDS = ("random_seed", "dataset_seed", "pattern_seed")
SETTINGS = (
    *("epochs", "batch_size", "learning_rate", "momentum", "schedule", "augmentation", "loss", "score_threshold"),
    *KNOBS,
    "form",
)
"""What else must not be averaged over in silence: training settings, and the form of the data set's name."""


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """Finished training runs on poisoned data, the newest of each fingerprint, with plain parameter columns.

    Returns a frame with the parameters of :data:`SUBJECTS`, :data:`CELLS`, :data:`SEEDS` and :data:`SETTINGS`
    under their plain names (numbers where they are numbers), ``form`` (the pattern in one class, in two, or in one of
    the quarters of membership attacks), ``seed`` (the three seeds as one text), the :data:`OUTCOMES`, ``norm`` and
    ``run_id``.
    """
    kind, status = _column(runs, f"tags.{schema.KIND}"), _column(runs, "status")
    kept = runs[(kind == "train") & (status == "FINISHED")]
    kept = kept.sort_values("start_time", ascending=False, kind="stable")
    fingerprint = _column(kept, f"tags.{schema.FINGERPRINT}")
    kept = kept[(fingerprint == "") | ~fingerprint.duplicated()]
    table = {name: _parameter(kept, name) for name in (*SUBJECTS, *CELLS, *SEEDS, *SETTINGS)}
    table["form"] = _parameter(kept, "dataset").map(lambda name: form_of(str(name)))
    table["seed"] = (
        _text(table["random_seed"]) + "/" + _text(table["dataset_seed"]) + "/" + _text(table["pattern_seed"])
    )
    table |= {name: _metric(kept, metric) for name, metric in OUTCOMES.items()}
    table |= {"norm": _metric(kept, schema.PATTERN_NORM), "run_id": kept["run_id"]}
    found = pd.DataFrame(table, index=kept.index)
    return found[~found["pattern"].isin(["none", ""])].reset_index(drop=True)


def over_seeds(
    runs: pd.DataFrame, by: Sequence[str], outcomes: Sequence[str] = tuple(OUTCOMES), of: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Mean and intervals of each outcome for each group of ``by``, cells averaged within seeds first.

    Args:
        runs: as :func:`trained` returns them.
        by: columns that make a group; those of :data:`SETTINGS` that vary between the runs are added.  Of
            :data:`CELLS` those that are not among them are averaged over.
        outcomes: columns to average.
        of: the runs that ``runs`` was cut down from, for ``runs_left_out``.

    Returns:
        One row a group and outcome: the group's columns, ``outcome``, ``mean``, ``low``, ``high`` (95 % Student; NaN
        with one seed), ``boot_low``, ``boot_high`` (95 % bootstrap), ``seeds``, ``runs``, ``runs_left_out``, ``cells``.
    """
    by = [*by, *_varying(runs, *by)]
    total = (runs if of is None else of).groupby(by).size().reset_index(name="total")
    cells = _cells(runs, by)
    parts: list[pd.DataFrame] = []
    for outcome in outcomes:
        values = _per_seed(runs, by, outcome)
        found = [_interval_row(group[outcome].to_numpy()) for _, group in values.groupby(by, sort=True)]
        part = values.groupby(by, as_index=False, sort=True)[["runs"]].sum()
        part = pd.concat([part, pd.DataFrame(found, columns=_INTERVAL, index=part.index)], axis=1)
        parts.append(part.assign(outcome=outcome).merge(total, on=by).merge(cells, on=by))
    table = pd.concat(parts, ignore_index=True).sort_values(by, kind="stable", ignore_index=True)
    table["runs_left_out"] = table["total"] - table["runs"]
    return table[[*by, "outcome", *_INTERVAL, "runs", "runs_left_out", "cells"]]


_INTERVAL = ["mean", "low", "high", "boot_low", "boot_high", "seeds"]
_RESAMPLES = 1999


def _interval_row(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    interval, boot = t_interval(values), bootstrap_interval(values, resamples=_RESAMPLES)
    return interval.estimate, interval.low, interval.high, boot.low, boot.high, interval.n


def _per_seed(runs: pd.DataFrame, by: Sequence[str], outcome: str) -> pd.DataFrame:
    """``by``, ``seed``, the outcome's mean over cells and ``runs`` behind it, of seeds with a run in every cell."""
    by, cells = list(by), [cell for cell in CELLS if cell not in by]
    known = runs[runs[outcome].notna()]
    one = known.groupby([*by, "seed", *cells], as_index=False).agg(
        **{outcome: (outcome, "mean"), "runs": ("seed", "size")}
    )
    values = one.groupby([*by, "seed"], as_index=False).agg(
        **{outcome: (outcome, "mean"), "runs": ("runs", "sum"), "cells": ("runs", "size")}
    )
    every = one.drop_duplicates([*by, *cells]).groupby(by, as_index=False).agg(every=("runs", "size"))
    values = values.merge(every, on=by)
    return values[values["cells"] == values["every"]].drop(columns=["cells", "every"])


def _cells(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """``by`` and ``cells``: in words what each group averages over."""
    distinct = runs.drop_duplicates([*by, *CELLS]).sort_values(list(CELLS), kind="stable")
    count, target = (_text(distinct[name]) for name in CELLS)
    distinct = distinct.assign(cells=count + " of class " + target)
    return distinct.groupby(list(by), as_index=False).agg(cells=("cells", "; ".join))


def mitigation(runs: pd.DataFrame, knob: str, *, per_count: bool = False) -> pd.DataFrame:
    """Score, clean accuracy and spurious accuracy against the strength of one mitigation.

    Averaged over the counts of spurious examples, as the paper's figure is, or (``per_count``) for each count,
    since the average hides where it helps.  Only counts above 0 that every strength of a setting has are averaged.

    Args:
        runs: a frame of runs, as from the query API.
        knob: one of :data:`KNOBS`.
        per_count: one row for each count.

    Returns:
        :func:`over_seeds` by :data:`SUBJECTS`, settings that vary, ``n_spurious`` if asked for, and the knob.

    Raises:
        InputError: another knob.
    """
    table = _with_strengths(runs, knob)
    setting = [*SUBJECTS, *_varying(table, knob)]
    if per_count:
        return over_seeds(table, [*setting, "n_spurious", knob])
    table = table[table["n_spurious"] != 0]
    return over_seeds(_common_cells(table, setting, knob), [*setting, knob], of=table)


def mitigation_effect(runs: pd.DataFrame, knob: str, *, per_count: bool = False) -> pd.DataFrame:
    """What each strength of a mitigation changes against strength 0, paired by seed and cell.

    Returns:
        One row a group, strength above 0 and outcome: ``difference`` (with the mitigation minus without),
        ``low``, ``high`` (95 % Student), ``pairs`` (seeds), ``p_value`` (Student's, paired, two-sided),
        ``p_sign_flip`` (exact permutation test) and ``p_holm`` (the former, corrected over the whole table).

    Raises:
        InputError: another knob.
    """
    table = _with_strengths(runs, knob)
    by = [*SUBJECTS, *_varying(table, knob), *(["n_spurious"] if per_count else [])]
    if not per_count:
        table = table[table["n_spurious"] != 0]
    common = _common_cells(table, by, knob)
    parts = [_effects(common, by, knob, outcome) for outcome in OUTCOMES]
    effects = pd.concat(parts, ignore_index=True).sort_values([*by, knob], kind="stable", ignore_index=True)
    return effects.assign(p_holm=holm(effects["p_value"].to_numpy(dtype=float)))


_EFFECT = ["difference", "low", "high", "pairs", "p_value", "p_sign_flip"]


def _effects(runs: pd.DataFrame, by: Sequence[str], knob: str, outcome: str) -> pd.DataFrame:
    values = _per_seed(runs, [*by, knob], outcome).drop(columns="runs")
    without = values[values[knob] == 0].drop(columns=knob).rename(columns={outcome: "without"})
    pairs = values[values[knob] != 0].merge(without, on=[*by, "seed"])
    rows: list[dict[str, Any]] = []
    for key, group in _groups(pairs, [*by, knob]):
        if len(group) > 1:
            found = paired_comparison(group[outcome].to_numpy(), group["without"].to_numpy())
            change = found.difference
            numbers = (change.estimate, change.low, change.high, change.n, found.p_t, found.p_sign_flip)
            row = dict(zip([*by, knob], key, strict=True)) | {"outcome": outcome}
            rows.append(row | dict(zip(_EFFECT, numbers, strict=True)))
    return pd.DataFrame(rows, columns=[*by, knob, "outcome", *_EFFECT])


def norms(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean ℓ2 norm of each pattern against its mean score, over all counts above 0 and all seeds.

    Returns:
        One row a subject (and settings that vary): ``norm`` (mean over seeds: a random pattern's depends on its
        seed), ``norm_sd``, ``score`` and its ``low``, ``high``, ``seeds``, ``runs``, ``runs_left_out``, ``cells``.
    """
    every = trained(runs)
    every = every[every["n_spurious"] != 0]
    settings = _varying(every)
    by = [*SUBJECTS, *settings]
    table = _common_cells(every, [name for name in by if name != "pattern"], "pattern")
    found = over_seeds(table, by, ["score"], of=every).drop(columns=["outcome", "boot_low", "boot_high"])
    per_seed = table.groupby([*by, "seed"])["norm"].mean().groupby(by)
    size = pd.DataFrame({"norm": per_seed.mean(), "norm_sd": per_seed.std()}).reset_index()
    return found.rename(columns={"mean": "score"}).merge(size, on=by, how="left")


def norm_correlation(runs: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r between norm and score over the patterns, for each family, architecture and optimizer.

    A point is one pattern, its norm and score averaged over all seeds: seeds share their pattern's norm, and
    counting each as a point of its own would make the interval too narrow by about the square root of their
    number.  (The paper's code took each pattern's norm from the last seed alone.)

    Returns:
        One row a group: ``r``, ``low``, ``high`` (Fisher's z, 95 %), ``p_value``, ``p_holm``, ``patterns``.
    """
    points = norms(runs)
    by = [name for name in points.columns if name in (*SUBJECTS, *SETTINGS) and name != "pattern"]
    rows: list[dict[str, Any]] = []
    for key, group in _groups(points.dropna(subset=["norm", "score"]), by):
        if len(group) > 2:
            found = pearson(group["norm"].to_numpy(), group["score"].to_numpy())
            row = dict(zip(by, key, strict=True)) | {"r": found.r.estimate, "low": found.r.low, "high": found.r.high}
            rows.append(row | {"p_value": found.p_value, "patterns": len(group)})
    table = pd.DataFrame(rows, columns=[*by, "r", "low", "high", "p_value", "patterns"])
    corrected = pd.Series(np.nan, index=table.index)
    known = table["p_value"].notna()
    corrected[known] = holm(table.loc[known, "p_value"].to_numpy(dtype=float))
    return table.assign(p_holm=corrected)


def _with_strengths(runs: pd.DataFrame, knob: str) -> pd.DataFrame:
    """Training runs of the settings in which the knob was turned to more than one strength."""
    if knob not in KNOBS:
        raise InputError(f"{knob!r} is no mitigation; accepted: {', '.join(KNOBS)}")
    table = trained(runs)
    table[knob] = pd.to_numeric(table[knob], errors="coerce")
    by = [*SUBJECTS, *_varying(table, knob)]
    strengths = table.groupby(by, dropna=False)[knob].transform("nunique")
    return table[strengths > 1]


def _varying(table: pd.DataFrame, *subjects: str) -> list[str]:
    """Settings that differ between the runs and are not the subject."""
    return [name for name in SETTINGS if name not in subjects and table[name].nunique() > 1]


def _common_cells(table: pd.DataFrame, by: Sequence[str], subject: str) -> pd.DataFrame:
    """Runs in those cells that exist for every value of the subject within its group of ``by``."""
    cell = table.groupby([*by, *CELLS])[subject].transform("nunique")
    return table[cell == table.groupby(list(by))[subject].transform("nunique")]


def _groups(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """(values of ``by``, their rows), sorted."""
    return list(frame.groupby(list(by), sort=True))


def _column(frame: pd.DataFrame, name: str) -> "pd.Series[str]":
    if name not in frame:
        return pd.Series("", index=frame.index, dtype="object")
    return frame[name].fillna("").astype("object")


def _parameter(frame: pd.DataFrame, name: str) -> "pd.Series[Any]":
    """A parameter as numbers if all are, else as text; ``mlflow run``'s quotes taken off; absent: empty."""
    plain = _column(frame, f"params.{name}").astype(str).str.strip("'")
    numbers = pd.to_numeric(plain, errors="coerce")
    return numbers if len(plain) and numbers.notna().all() else plain


def _metric(frame: pd.DataFrame, name: str) -> "pd.Series[float]":
    column = f"metrics.{name}"
    return frame[column].astype(float) if column in frame else pd.Series(np.nan, index=frame.index)


def _text(column: "pd.Series[Any]") -> "pd.Series[str]":
    return column.map(_plain).astype("object")


def _plain(value: object) -> str:
    """A number without a needless fraction, anything else as it is."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
