"""Tables and sentences about unlearning: each method compared with the retrained reference."""

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from results.groups import Groups, Key, Row, at, of_study, runs_of
from results.markdown import MISSING, interval, plain, table
from results.studies import Results
from results.training_texts import OPTIMIZERS
from rsc_mlflow.analysis import finished, kind
from rsc_mlflow.tracking import schema

BY = ("optimizer", "n_spurious", "method", "method_options")
REFERENCE = "exact_retraining"
_SCORES = {
    "score": schema.SPURIOUS_SCORE,
    "gap": schema.gap(schema.SPURIOUS_SCORE),
    "accuracy gap": schema.gap(schema.TEST_ACCURACY),
}
_SIZES = {
    "forget loss": schema.FORGET_LOSS,
    "forget confidence": schema.FORGET_CONFIDENCE,
    "KL, clean": schema.KL_TO_REFERENCE,
    "KL, patterned": schema.KL_TO_REFERENCE_PATTERN,
    "seconds": schema.UNLEARN_SECONDS,
}
_OF_REFERENCE = ("gap", "accuracy gap", "KL, clean", "KL, patterned")
"""Columns that are empty for the reference, which would be compared with itself."""


@lru_cache(maxsize=8)
def groups_of(results: Results) -> Groups:
    """The unlearning runs grouped by source and method."""
    runs = finished(kind(runs_of(results, "unlearning"), "unlearn"))
    return Groups.of(runs, BY, ["optimizer", "method"])


@of_study("unlearning")
def unlearning(results: Results) -> str:
    """Table of every method on every source, with all metrics and their intervals."""
    groups = groups_of(results)
    before = groups.means(schema.before(schema.SPURIOUS_SCORE))
    scores = {name: groups.means(metric) for name, metric in _SCORES.items()}
    sizes = {name: groups.means(metric) for name, metric in _SIZES.items()}
    named = _options_that_vary(groups.runs)
    rows = []
    for source, keys in _by_source(list(scores["score"])).items():
        title = f"{OPTIMIZERS[source[0]]}, {source[1]:,.0f}: {interval(at(before, keys[0]))}"
        for place, key in enumerate(keys):
            cells = [interval(at(means, key)) for means in scores.values()]
            cells += [size_interval(at(means, key)) for means in sizes.values()]
            shown = [
                "" if key[2] == REFERENCE and name in _OF_REFERENCE else cell
                for name, cell in zip([*scores, *sizes], cells, strict=True)
            ]
            rows.append([title if place == 0 else "", _method(key, named), *shown])
    columns = dict.fromkeys(("source: optimizer, examples, score before", "method", *scores, *sizes), False)
    return f"{table(columns, rows)}\n\n{groups.caption('unlearning', scores['score'])}"


def size_interval(row: Row) -> str:
    """A mean with three significant digits and its interval with two."""
    if row["low"] != row["low"]:
        return plain(row["mean"])
    return f"{plain(row['mean'])} [{plain(row['low'], 2)}, {plain(row['high'], 2)}]"


def _by_source(keys: Sequence[Key]) -> dict[Key, list[Key]]:
    """(optimizer, examples) → its groups, the reference first."""
    found: dict[Key, list[Key]] = {}
    for key in sorted(keys, key=lambda key: (key[0] != "sgd", key[1], key[2] != REFERENCE, key[2:])):
        found.setdefault(key[:2], []).append(key)
    return found


def _options_that_vary(runs: pd.DataFrame) -> set[str]:
    """Methods with several variants in the study."""
    several = runs.groupby("method")["method_options"].nunique()
    return set(several[several > 1].index)


def _method(key: Key, named: set[str]) -> str:
    return f"`{key[2]}`" + (f", {key[3]}" if key[2] in named else "")


@of_study("unlearning")
def left(results: Results, *methods: str) -> str:
    """Table of the scores before and after methods, one row per source."""
    groups = groups_of(results)
    score, before = groups.means(schema.SPURIOUS_SCORE), groups.means(schema.before(schema.SPURIOUS_SCORE))
    rows = []
    for source, keys in _by_source(list(score)).items():
        after = [next((interval(score[key]) for key in keys if key[2] == method), MISSING) for method in methods]
        rows.append([OPTIMIZERS[source[0]], f"{source[1]:,.0f}", interval(at(before, keys[0])), *after])
    heads = {"optimizer": False, "examples": True, "before": False, **{f"`{method}`": False for method in methods}}
    return table(heads, rows)


@of_study("unlearning")
def unlearned(results: Results, method: str, optimizer: str, examples: str, what: str = "score") -> str:
    """One mean with its interval: "before" (score of the source), or a column of the table, e.g. "forget_loss"."""
    groups, column = groups_of(results), what.replace("_", " ")
    metrics = {"before": schema.before(schema.SPURIOUS_SCORE), **_SCORES, **_SIZES}
    means = groups.means(metrics[column])
    (key,) = (key for key in means if key[:3] == (optimizer, float(examples), method))
    return size_interval(means[key]) if column in _SIZES else interval(means[key])
