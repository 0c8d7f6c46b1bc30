"""Tests of whether spurious scores are higher than those of clean models, by rank sums over training seeds.

The scores of clean models on a poisoned run's pattern and class are stored in that run's tag ``rsc.clean_scores``.  For
runs without the tag, they are looked up in clean runs of the same recipe (``reference/{pattern}/score_target_{k}``,
pattern seed 0).  The metric ``spurious/p_value`` of each run is not used, because it is about a single model.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rsc_mlflow.analysis.counting import clean, finished, poisoned
from rsc_mlflow.analysis.means import in_order
from rsc_mlflow.analysis.settings import SETTINGS
from rsc_mlflow.analysis.values import metric
from rsc_mlflow.names import QUARTERS
from rsc_mlflow.statistics import holm, rank_sum
from rsc_mlflow.tracking import schema

CleanScores = Mapping[str, float]
"""Spurious scores of clean models on the pattern and the target class(es) of one run, by training seed."""
SCORES = "clean"
"""The column that :func:`with_clean_scores` adds."""
LEVEL = 0.05
_OF_THE_PATTERN = ("pattern", "n_spurious", "target_class", "form")
_RECIPE = tuple(name for name in SETTINGS if name not in _OF_THE_PATTERN)


@dataclass(frozen=True)
class Test:
    """The test of one point: its p-value, not corrected, and the numbers of poisoned and clean models."""

    p_value: float
    poisoned: int
    clean: int


def with_clean_scores(runs: pd.DataFrame, every: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the finished poisoned runs with a column ``clean`` of :data:`CleanScores`, which may be empty.

    Args:
        runs: rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint`.
        every: runs among which clean runs are looked up; None: ``runs``.
    """
    found = finished(poisoned(runs))
    tagged = [parse(text) for text in found["clean_scores"]]
    clean_runs = _CleanRuns(finished(clean(runs if every is None else every)))
    rows = found.to_dict("records") if any(not one for one in tagged) and clean_runs else [{}] * len(found)
    scores = [one or clean_runs.of(row) for one, row in zip(tagged, rows, strict=True)]
    column = np.empty(len(found), dtype=object)
    column[:] = scores
    return found.assign(**{SCORES: column})


def parse(text: str) -> CleanScores:
    """Return the content of a tag ``rsc.clean_scores``; empty unless it contains only scores from 0 to 1."""
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    good = {k: v for k, v in content.items() if isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1}
    return {str(k): float(v) for k, v in good.items()} if len(good) == len(content) else {}


class _CleanRuns:
    """Clean runs by recipe, for runs without the tag."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self._runs = runs
        recipe = [name for name in _RECIPE if name in runs]
        self._recipe = recipe
        self._rows: dict[tuple[Any, ...], list[int]] = {}
        for row, key in enumerate(zip(*(runs[name] for name in recipe), runs["form"] == QUARTERS, strict=True)):
            self._rows.setdefault(_known(key), []).append(row)
        self._found: dict[tuple[Any, ...], CleanScores] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def of(self, run: Mapping[Any, Any]) -> CleanScores:
        """Return the scores of clean models with this run's recipe on its pattern, if they are known."""
        if not run or run["pattern_seed"] not in ("", "0"):
            return {}
        key = _known((*(run[name] for name in self._recipe), run["form"] == QUARTERS))
        whole = (*key, run["pattern"], run["target_class"])
        if whole not in self._found:
            self._found[whole] = self._scores(self._rows.get(key, []), str(run["pattern"]), str(run["target_class"]))
        return self._found[whole]

    def _scores(self, rows: Sequence[int], pattern: str, target: str) -> CleanScores:
        if not rows or not target.replace("-", "").isdecimal():
            return {}
        part = self._runs.iloc[list(rows)]
        classes = [metric(part, schema.reference_score_target(pattern, int(k))) for k in target.split("-")]
        score = pd.concat(classes, axis=1).mean(axis=1, skipna=False)
        known = score.notna().to_numpy()
        return dict(zip(part["random_seed"][known], score[known].astype(float), strict=True))


def _known(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the key with None instead of NaN, so that absent numbers compare as equal."""
    return tuple(None if value != value else value for value in key)


def test_point(scores: Sequence[float], training: Sequence[str], clean_scores: Sequence[CleanScores]) -> Test | None:
    """Return the rank-sum test of one point, or None if no clean model was scored on all of its runs.

    Only clean models that were scored on all of the point's runs are used.  The first sample has one value per training
    seed: the mean score of the point's runs with that seed.  The second sample has one value per clean model: its mean
    score on the patterns of the runs with one training seed.  The training seeds are assigned to the clean models in
    turn.  With a single training seed, p is at least 1 / (1 + number of clean models).

    Args:
        scores: scores of the point's runs, ``[n]``.
        training: training seeds of these runs, ``[n]``.
        clean_scores: scores of clean models on the pattern and class of each of these runs, ``[n]``.
    """
    shared = set(clean_scores[0]).intersection(*clean_scores[1:]) if len(clean_scores) else set()
    if not shared:
        return None
    units = sorted(set(training), key=in_order)
    members = {unit: [row for row, one in enumerate(training) if one == unit] for unit in units}
    x = [float(np.mean([scores[row] for row in members[unit]])) for unit in units]
    y = []
    for place, seed in enumerate(sorted(shared, key=in_order)):
        rows = members[units[place % len(units)]]
        y.append(float(np.mean([clean_scores[row][seed] for row in rows])))
    return Test(rank_sum(x, y).p_value, len(x), len(y))


def above_clean(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the rank-sum test of every point, with Holm's correction over all points.

    Args:
        runs: runs from :func:`with_clean_scores`, selected by :func:`rsc_mlflow.analysis.alike`.
        by: columns that define a point.

    Returns:
        One row per point that can be tested: the columns of ``by``; ``p_value``; ``n_poisoned`` and ``n_clean``
        (numbers of models); ``p_holm`` (corrected over the rows); ``significant`` (``p_holm`` < 0.05).
    """
    score = metric(runs, schema.SPURIOUS_SCORE)
    known = runs[score.notna().to_numpy() & (runs["n_spurious"] > 0).to_numpy()]
    rows: list[dict[str, Any]] = []
    for key, group in known.groupby(list(by), sort=True):
        values = score[group.index].tolist()
        found = test_point(values, group["random_seed"].tolist(), group[SCORES].tolist())
        if found is not None:
            row = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
            rows.append(row | {"p_value": found.p_value, "n_poisoned": found.poisoned, "n_clean": found.clean})
    table = pd.DataFrame(rows, columns=[*by, "p_value", "n_poisoned", "n_clean"])
    table = table.astype({name: runs[name].dtype for name in by})
    corrected = holm(table["p_value"].to_numpy(float))
    return table.assign(p_holm=corrected, significant=corrected < LEVEL)


def clean_rows(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per group and clean model: the columns of ``by``, ``random_seed`` and ``score``.

    The score is the mean over the patterns of the group's runs that the clean model was scored on.
    """
    rows = [
        {"random_seed": seed, "score": score} | dict(zip(by, key, strict=True))
        for *key, scores in zip(*(runs[name] for name in by), runs[SCORES], strict=True)
        for seed, score in scores.items()
    ]
    columns = [*by, "random_seed", "score"]
    table = pd.DataFrame(rows, columns=columns)
    if table.empty:
        return table
    return table.groupby([*by, "random_seed"], as_index=False).agg(score=("score", "mean"))
