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
import pandas as pd

from rsc_mlflow.errors import InputError
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
)
"""Training settings that must not be averaged over in silence."""


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """Finished training runs on poisoned data, the newest of each fingerprint, with plain parameter columns.

    Returns a frame with the parameters of :data:`SUBJECTS`, :data:`CELLS`, :data:`SEEDS` and :data:`SETTINGS`
    under their plain names (numbers where they are numbers), ``seed`` (the three seeds as one text), the
    :data:`OUTCOMES`, ``norm`` and ``run_id``.
    """
    kind, status = _column(runs, f"tags.{schema.KIND}"), _column(runs, "status")
    kept = runs[(kind == "train") & (status == "FINISHED")]
    kept = kept.sort_values("start_time", ascending=False, kind="stable")
    fingerprint = _column(kept, f"tags.{schema.FINGERPRINT}")
    kept = kept[(fingerprint == "") | ~fingerprint.duplicated()]
    table = {name: _parameter(kept, name) for name in (*SUBJECTS, *CELLS, *SEEDS, *SETTINGS)}
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
        by: columns that make a group; of :data:`CELLS` those that are not among them are averaged over.
        outcomes: columns to average.
        of: the runs that ``runs`` was cut down from, for ``runs_left_out``.

    Returns:
        One row a group and outcome: ``by``, ``outcome``, ``mean``, ``low``, ``high`` (95 % Student; NaN with one
        seed), ``boot_low``, ``boot_high`` (95 % bootstrap), ``seeds``, ``runs``, ``runs_left_out``, ``cells``.
    """
    by = list(by)
    total = {key: len(group) for key, group in _groups(runs if of is None else of, by)}
    rows: list[dict[str, Any]] = []
    for key, group in _groups(runs, by):
        for outcome in outcomes:
            values, used, cells = _per_seed(group, outcome)
            if len(values):
                interval, boot = t_interval(values.to_numpy()), bootstrap_interval(values.to_numpy())
                row = dict(zip(by, key, strict=True)) | {"outcome": outcome, "mean": interval.estimate}
                row |= {"low": interval.low, "high": interval.high, "boot_low": boot.low, "boot_high": boot.high}
                row |= {"seeds": len(values), "runs": used, "runs_left_out": total[key] - used}
                rows.append(row | {"cells": "; ".join(cells)})
    columns = [*by, "outcome", "mean", "low", "high", "boot_low", "boot_high"]
    return pd.DataFrame(rows, columns=[*columns, "seeds", "runs", "runs_left_out", "cells"])


def _per_seed(group: pd.DataFrame, outcome: str) -> tuple["pd.Series[float]", int, list[str]]:
    """Mean over cells for each complete seed; the number of runs behind them; the cells in words."""
    known = group[group[outcome].notna()]
    wide = known.pivot_table(index="seed", columns=list(CELLS), values=outcome, aggfunc="mean").dropna()
    columns = zip(*(wide.columns.get_level_values(name) for name in CELLS), strict=True)
    cells = [f"{_plain(count)} of class {_plain(target)}" for count, target in columns]
    return wide.mean(axis=1), int(known["seed"].isin(wide.index).sum()), cells


def mitigation(runs: pd.DataFrame, knob: str, *, per_count: bool = False) -> pd.DataFrame:
    """Score, clean accuracy and spurious accuracy against the strength of one mitigation.

    Averaged over the counts of spurious examples, as the paper's figure is, or (``per_count``) for each count,
    since the average hides where it helps.  Only counts that every strength of a setting has are averaged.

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
    rows: list[dict[str, Any]] = []
    for key, group in _groups(_common_cells(table, by, knob), by):
        without = group[group[knob] == 0]
        for strength in sorted(set(group[knob]) - {0.0}):
            for outcome in OUTCOMES:
                pairs = _paired(group[group[knob] == strength], without, outcome)
                if len(pairs) > 1:
                    found = paired_comparison(pairs["with"].to_numpy(), pairs["without"].to_numpy())
                    row = dict(zip(by, key, strict=True)) | {knob: strength, "outcome": outcome}
                    change = found.difference
                    row |= {"difference": change.estimate, "low": change.low, "high": change.high, "pairs": change.n}
                    rows.append(row | {"p_value": found.p_t, "p_sign_flip": found.p_sign_flip})
    columns = [*by, knob, "outcome", "difference", "low", "high", "pairs", "p_value", "p_sign_flip"]
    effects = pd.DataFrame(rows, columns=columns)
    return effects.assign(p_holm=holm(effects["p_value"].to_numpy(dtype=float)))


def _paired(treated: pd.DataFrame, without: pd.DataFrame, outcome: str) -> pd.DataFrame:
    first, second = _per_seed(treated, outcome)[0], _per_seed(without, outcome)[0]
    return pd.DataFrame({"with": first, "without": second}).dropna()


def norms(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean ℓ2 norm of each pattern against its mean score, over all counts and seeds.

    Returns:
        One row a subject (and settings that vary): ``norm`` (mean over seeds: a random pattern's depends on its
        seed), ``norm_sd``, ``score`` and its ``low``, ``high``, ``seeds``, ``runs``, ``runs_left_out``, ``cells``.
    """
    every = trained(runs)
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
    return [(key if isinstance(key, tuple) else (key,), rows) for key, rows in frame.groupby(list(by), sort=True)]


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
