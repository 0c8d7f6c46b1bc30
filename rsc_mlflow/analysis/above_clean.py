"""Is a point above the clean models?  The exact rank-sum test of poisoned training seeds against clean ones.

A clean model's score on a poisoned run's own pattern and class stands in that run's tag ``rsc.clean_scores``; for runs
without the tag, in the clean runs of the same recipe (``reference/{pattern}/score_target_{k}``, pattern seed 0).
``spurious/p_value`` of single runs is never combined: it speaks of one model.
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
"""Training seed of a clean model → its score on one run's pattern and target class(es)."""
SCORES = "clean"
"""Column of runs that :func:`with_clean_scores` adds."""
LEVEL = 0.05
_OF_THE_PATTERN = ("pattern", "n_spurious", "target_class", "form")
_RECIPE = tuple(name for name in SETTINGS if name not in _OF_THE_PATTERN)


@dataclass(frozen=True)
class Test:
    """One point against the clean models: p-value before correction, and the number of models on either side."""

    p_value: float
    poisoned: int
    clean: int


def with_clean_scores(runs: pd.DataFrame, every: pd.DataFrame | None = None) -> pd.DataFrame:
    """Finished poisoned runs with the column ``clean``: :data:`CleanScores` of each, empty where none are known.

    Args:
        runs: rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint`; those that may not enter a mean are left out.
        every: where clean runs are looked up; default: ``runs``.
    """
    found = finished(poisoned(runs))
    tagged = [parse(text) for text in found["clean_scores"]]
    cohorts = _Cohorts(finished(clean(runs if every is None else every)))
    rows = found.to_dict("records") if any(not one for one in tagged) and cohorts else [{}] * len(found)
    scores = [one or cohorts.of(row) for one, row in zip(tagged, rows, strict=True)]
    column = np.empty(len(found), dtype=object)
    column[:] = scores
    return found.assign(**{SCORES: column})


def parse(text: str) -> CleanScores:
    """A tag ``rsc.clean_scores``; empty where it holds anything but scores from 0 to 1."""
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    good = {k: v for k, v in content.items() if isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1}
    return {str(k): float(v) for k, v in good.items()} if len(good) == len(content) else {}


class _Cohorts:
    """Clean runs by recipe, for runs that were logged without the tag."""

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
        """What the clean models of this run's recipe score on its pattern, if they were scored on it."""
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
    """A key whose absent numbers equal each other."""
    return tuple(None if value != value else value for value in key)


def test_point(scores: Sequence[float], training: Sequence[str], clean_scores: Sequence[CleanScores]) -> Test | None:
    """The rank-sum test of one point.

    A value of either sample is one model: the poisoned one of training seed T (mean over the point's runs with T), and
    the j-th clean one on the patterns of the runs of one training seed, dealt round robin.  Clean models scored on all
    of the point's runs count; with one training seed p cannot be below 1 / (1 + their number).

    Args:
        scores: of the point's runs.
        training: their training seeds.
        clean_scores: theirs.

    Returns:
        None where no clean model was scored on all runs.
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
    """The test of every point, corrected over all of them.

    Args:
        runs: as :func:`with_clean_scores` returns them, made alike.
        by: columns that make a point.

    Returns:
        One row per point that can be tested: the columns of ``by``; ``p_value``; ``p_holm`` (Holm's correction over
        the rows); ``n_poisoned`` and ``n_clean`` (models on either side); ``significant`` (``p_holm`` < .05).
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
    """The clean models behind each group as runs of their own: the columns of ``by``, ``random_seed``, ``score``.

    A clean model's score is its mean over the patterns of the group's runs that it was scored on.
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
