"""Analysis of runs: read them, select comparable ones, average them over seeds, and test differences.

The functions work on pandas data frames.  The dashboards, the report and the documents use them:

    runs = latest_per_fingerprint(read(frame))      # typed columns, one row per fingerprint
    shown = alike(runs, ["pattern", "n_spurious"])  # runs that differ only in these settings, and a notice
    points(shown.runs, ["pattern", "n_spurious"], "spurious/score")
"""

from rsc_mlflow.analysis.above_clean import above_clean, clean_rows, with_clean_scores
from rsc_mlflow.analysis.alike import Alike, Recipe, alike, comparable, differing
from rsc_mlflow.analysis.comparisons import (
    correlation,
    mitigation,
    mitigation_effect,
    norm_correlation,
    norms,
    over_seeds,
    trained,
)
from rsc_mlflow.analysis.counting import UNENDED, UNFINISHED, clean, finished, kind, latest_per_fingerprint, poisoned
from rsc_mlflow.analysis.means import per_seed, points, series, unit_means, with_targets
from rsc_mlflow.analysis.reading import GONE, problems, read
from rsc_mlflow.analysis.settings import SEEDS, SETTINGS, label
from rsc_mlflow.analysis.values import interval_bounds, limits, metric, unreadable

__all__ = [
    "GONE",
    "SEEDS",
    "SETTINGS",
    "UNENDED",
    "UNFINISHED",
    "Alike",
    "Recipe",
    "above_clean",
    "alike",
    "clean",
    "clean_rows",
    "comparable",
    "correlation",
    "differing",
    "finished",
    "interval_bounds",
    "kind",
    "label",
    "latest_per_fingerprint",
    "limits",
    "metric",
    "mitigation",
    "mitigation_effect",
    "norm_correlation",
    "norms",
    "over_seeds",
    "per_seed",
    "points",
    "poisoned",
    "problems",
    "read",
    "series",
    "trained",
    "unit_means",
    "unreadable",
    "with_clean_scores",
    "with_targets",
]
