"""The paper's comparisons: the effect of mitigations, and scores by pattern norm.

The functions map a data frame of runs to a table.  A cell is a combination of the number of spurious examples and the
target class.  Three rules apply to all functions:

* They average only over the settings that they name.  Any other setting that varies between the runs becomes a column
  of the result.
* Seeds are the unit of replication; see :func:`rsc_mlflow.replication.seed_interval`.  Cells are averaged within each
  set of seeds first.
* All seeds are averaged over the same cells.  A set of seeds is used only if it has a run in every cell of its group.
  ``cells`` lists the averaged cells, and ``runs_left_out`` counts the runs that were not used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rsc_mlflow.analysis.alike import differing
from rsc_mlflow.analysis.counting import finished, kind, latest_per_fingerprint, poisoned
from rsc_mlflow.analysis.means import MEASURES, per_seed, per_unit, series, unit_means
from rsc_mlflow.analysis.reading import read
from rsc_mlflow.analysis.settings import CELLS, SEEDS
from rsc_mlflow.analysis.values import metric
from rsc_mlflow.errors import InputError, unknown_name
from rsc_mlflow.statistics import holm, paired_comparison, pearson, spearman
from rsc_mlflow.tracking import schema

MITIGATIONS = ("weight_decay", "input_noise", "grad_clip")
"""The options of the paper's mitigations; 0 turns them off."""
OUTCOMES: Mapping[str, str] = {
    "score": schema.SPURIOUS_SCORE,
    "clean_accuracy": schema.TEST_ACCURACY,
    "spurious_accuracy": schema.SPURIOUS_TEST_ACCURACY,
}
"""Name of an outcome in the results → metric of the runs."""
SUBJECTS = ("dataset_family", "architecture", "optimizer", "pattern")


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """Return finished training runs on poisoned data, the newest of each fingerprint, with typed columns.

    Args:
        runs: a data frame with MLflow's column names, e.g. from :func:`rsc_mlflow.tracking.query.search`.

    Returns:
        Rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint` with the :data:`OUTCOMES` and ``norm`` as columns.
    """
    found = finished(poisoned(kind(latest_per_fingerprint(read(runs)), "train"))).reset_index(drop=True)
    outcomes = {name: metric(found, one) for name, one in OUTCOMES.items()}
    return found.assign(**outcomes, norm=metric(found, schema.PATTERN_NORM))


def over_seeds(
    runs: pd.DataFrame, by: Sequence[str], outcomes: Sequence[str] = tuple(OUTCOMES), of: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the mean and interval of each outcome for each group; cells are averaged within seeds first.

    Args:
        runs: runs from :func:`trained`.
        by: columns that define a group; other settings that vary between the runs are added.  The columns in ``CELLS``
            that are not in ``by`` are averaged over.
        outcomes: columns to average.
        of: the runs from which ``runs`` was selected, to count ``runs_left_out``; None: ``runs``.

    Returns:
        One row per group and outcome: the group's columns, ``outcome``, ``mean``, ``low``, ``high`` (95 %; NaN with
        fewer than five units), ``units``, ``over``, ``each`` (see :func:`rsc_mlflow.analysis.series`), ``runs``,
        ``runs_left_out``, ``cells``.
    """
    by = [*by, *_varying(runs, *by)]
    cells = [name for name in CELLS if name not in by]
    found = series(runs, by, {name: runs[name] for name in outcomes}, average=cells, bounds=(0, 1))
    total = (runs if of is None else of).groupby(by, dropna=False).size().reset_index(name="total")
    found = found.rename(columns={"series": "outcome"}).merge(total, on=by, how="left").merge(_cells(runs, by), on=by)
    found["runs_left_out"] = found["total"] - found["runs"]
    return found[[*by, "outcome", *MEASURES, "runs", "runs_left_out", "cells"]]


def mitigation(runs: pd.DataFrame, option: str, *, per_count: bool = False) -> pd.DataFrame:
    """Return score, clean accuracy and spurious accuracy for each strength of one mitigation.

    The strength is the value of the option; 0 means without the mitigation.  Results are averaged over the counts of
    spurious examples, as in the paper's figure, or (``per_count``) returned for each count.  Only counts > 0 that have
    runs at every strength are averaged.

    Args:
        runs: as for :func:`trained`.
        option: one of :data:`MITIGATIONS`.
        per_count: whether to return a row for each count, including 0.

    Returns:
        The table of :func:`over_seeds`, grouped by :data:`SUBJECTS`, other settings that vary, ``n_spurious`` (if
        ``per_count``) and the option.

    Raises:
        InputError: ``option`` is not a mitigation.
    """
    table, by = _with_strengths(runs, option)
    if per_count:
        return over_seeds(table, [*by, "n_spurious", option])
    table = table[table["n_spurious"] != 0]
    return over_seeds(common_cells(table, by, option), [*by, option], of=table)


def mitigation_effect(runs: pd.DataFrame, option: str, *, per_count: bool = False) -> pd.DataFrame:
    """Return the effect of each strength of a mitigation, compared with strength 0 and paired by seeds and cell.

    Args:
        runs: as for :func:`mitigation`.
        option: as for :func:`mitigation`.
        per_count: whether to return a row for each count instead of averaging over the counts > 0.

    Returns:
        One row per group, strength > 0 and outcome: ``difference`` (with the mitigation minus without), ``low``,
        ``high`` (95 %; NaN with fewer than five units), ``units``, ``over``, ``p_value`` (Student's paired t test,
        two-sided, over the units), ``p_sign_flip`` (:func:`rsc_mlflow.statistics.sign_flip` over the units) and
        ``p_holm`` (``p_value``, corrected over the whole table).

    Raises:
        InputError: ``option`` is not a mitigation.
    """
    table, by = _with_strengths(runs, option)
    if per_count:
        by = [*by, "n_spurious"]
    else:
        table = table[table["n_spurious"] != 0]
    common = common_cells(table, by, option)
    effects = pd.concat([_effects(common, by, option, outcome) for outcome in OUTCOMES], ignore_index=True)
    effects = effects.sort_values([*by, option], kind="stable", ignore_index=True)
    return effects.assign(p_holm=holm(effects["p_value"].to_numpy(dtype=float)))


_EFFECT = ("difference", "low", "high", "units", "over", "p_value", "p_sign_flip")


def _effects(runs: pd.DataFrame, by: Sequence[str], option: str, outcome: str) -> pd.DataFrame:
    cells = [name for name in CELLS if name not in by]
    seeds = [column for column in SEEDS.values() if column in runs]
    values = per_seed(runs, [*by, option], runs[outcome], cells)
    without = values[values[option] == 0].drop(columns=option).rename(columns={"value": "without"})
    pairs = values[values[option] != 0].merge(without, on=[*by, *seeds])
    rows: list[dict[str, Any]] = []
    for key, group in pairs.groupby([*by, option], sort=True):
        row = _effect((group["value"] - group["without"]).to_numpy(), group)
        if row:
            rows.append(dict(zip([*by, option], key, strict=True)) | {"outcome": outcome} | row)
    return pd.DataFrame(rows, columns=[*by, option, "outcome", *_EFFECT])


def _effect(change: Any, group: pd.DataFrame) -> dict[str, Any]:
    """Return the interval and the tests of one strength over units; empty if there is a single unit."""
    seeds = {name: group[column].tolist() for name, column in SEEDS.items() if column in group}
    interval, _ = unit_means(change, seeds)
    if interval.n_units < 2:
        return {}
    units = list(per_unit(change, seeds, interval).values())
    test = paired_comparison(units, [0.0] * len(units))
    numbers = (interval.estimate, interval.low, interval.high, interval.n_units, interval.estimand)
    return dict(zip(_EFFECT, (*numbers, test.p_t, test.p_sign_flip), strict=True))


def norms(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean ℓ2 norm and the mean score of each pattern, over all counts > 0 and all seeds.

    Args:
        runs: as for :func:`trained`.

    Returns:
        One row per combination of :data:`SUBJECTS` and other settings that vary: ``norm`` and ``norm_sd`` (mean and
        standard deviation over seeds, because the norm of a random pattern depends on its seed), ``score`` and its
        ``low``, ``high``, ``units``, ``over``, ``each``, ``runs``, ``runs_left_out``, ``cells``.
    """
    every = trained(runs)
    every = every[every["n_spurious"] != 0]
    by = [*SUBJECTS, *_varying(every, *SUBJECTS)]
    table = common_cells(every, [name for name in by if name != "pattern"], "pattern")
    found = over_seeds(table, by, ["score"], of=every).drop(columns="outcome").rename(columns={"mean": "score"})
    of_seed = per_seed(table, by, table["norm"]).groupby(by, dropna=False)["value"]
    size = pd.DataFrame({"norm": of_seed.mean(), "norm_sd": of_seed.std()}).reset_index()
    return found.merge(size, on=by, how="left")


_CORRELATION = ("r", "low", "high", "p_value", "rho", "rho_p_value", "patterns")


def norm_correlation(runs: pd.DataFrame) -> pd.DataFrame:
    """Return Pearson's r and Spearman's ρ between the norms and the scores of patterns, for each group.

    Each point is one pattern, with norm and score averaged over all seeds.  Seeds are not separate points, because they
    share the norm of their pattern: the interval would be too narrow by about the square root of their number.  R1, R2
    and R3 are the same noise with different scales, so these three points are not independent of each other.

    Args:
        runs: as for :func:`trained`.

    Returns:
        One row per group with at least three patterns: ``r``, ``low``, ``high`` (Fisher's z, 95 %), ``p_value``,
        ``rho``, ``rho_p_value`` (:func:`rsc_mlflow.statistics.spearman`), ``patterns`` (their number) and ``p_holm``
        (``p_value``, corrected over the rows).
    """
    table = norms(runs)
    last = table.columns.get_loc("score")
    by = [name for name in table.columns[:last] if name != "pattern"]
    rows: list[dict[str, Any]] = []
    for key, group in table.dropna(subset=["norm", "score"]).groupby(by, sort=True, dropna=False):
        if len(group) > 2:
            row = correlation(group["norm"], group["score"])
            row["rho_p_value"] = spearman(group["norm"].to_numpy(float), group["score"].to_numpy(float)).p_value
            rows.append(dict(zip(by, key, strict=True)) | row)
    found = pd.DataFrame(rows, columns=[*by, *_CORRELATION])
    corrected = pd.Series(np.nan, index=found.index)
    known = found["p_value"].notna()
    corrected[known] = holm(found.loc[known, "p_value"].to_numpy(dtype=float))
    return found.assign(p_holm=corrected)


def correlation(x: "pd.Series[float]", y: "pd.Series[float]") -> dict[str, float]:
    """Return the correlation of points x, y: ``r``, ``low``, ``high``, ``p_value``, ``rho`` and ``patterns``.

    ``patterns`` is the number of points; see :func:`norm_correlation` for the others.
    """
    found = pearson(x.to_numpy(float), y.to_numpy(float))
    ranks = pearson(x.rank().to_numpy(float), y.rank().to_numpy(float))
    numbers = (found.r.estimate, found.r.low, found.r.high, found.p_value, ranks.r.estimate, len(x))
    return dict(zip(("r", "low", "high", "p_value", "rho", "patterns"), numbers, strict=True))


def common_cells(table: pd.DataFrame, by: Sequence[str], subject: str) -> pd.DataFrame:
    """Return the runs in cells that have runs at every value of ``subject`` within their group of ``by``."""
    cells = [name for name in CELLS if name not in by]
    cell = table.groupby([*by, *cells], dropna=False)[subject].transform("nunique")
    return table[cell == table.groupby(list(by), dropna=False)[subject].transform("nunique")]


def _with_strengths(runs: pd.DataFrame, option: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the training runs of the groups with more than one strength, and the columns that define the groups."""
    if option not in MITIGATIONS:
        raise InputError(unknown_name("mitigation", option, MITIGATIONS))
    table = trained(runs)
    by = [*SUBJECTS, *_varying(table, *SUBJECTS, option)]
    strengths = table.groupby(by, dropna=False)[option].transform("nunique")
    return table[strengths > 1], by


def _varying(table: pd.DataFrame, *shown: str) -> list[str]:
    """Return the settings in which the runs differ, without ``shown`` ones and those in ``CELLS``."""
    return differing(table, [*shown, *CELLS])


def _cells(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per group: the columns of ``by``, and ``cells``, a text that lists the group's cells."""
    distinct = runs.drop_duplicates([*by, *CELLS]).sort_values(list(CELLS), kind="stable")
    pairs = zip(distinct["n_spurious"], distinct["target_class"], strict=True)
    words = pd.Series([f"{n:g} of class {k}" for n, k in pairs], index=distinct.index, dtype=object)
    return distinct.assign(cells=words).groupby(list(by), as_index=False, dropna=False).agg(cells=("cells", "; ".join))
