"""Tables and sentences about mitigation: weight decay, input noise and gradient clipping."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.groups import Groups, Key, Row, of_study, runs_of, trained
from results.markdown import MISSING, counted, interval, listed, p_value, share, table
from results.studies import Results
from rsc_mlflow.analysis import clean, finished, kind, mitigation, mitigation_effect, points
from rsc_mlflow.tracking import schema

MITIGATIONS = {"weight_decay": "weight decay", "input_noise": "input noise", "grad_clip": "clipping by value"}
Change = Mapping[tuple[float, str], Mapping[Any, Any]]
"""(strength, outcome) → a row of ``rsc_mlflow.analysis.mitigation_effect``."""


@of_study("mitigation")
def mitigations(results: Results) -> str:
    """Table of score and accuracies for each strength of each mitigation, and their change from no mitigation."""
    rows: list[list[str]] = []
    captions: list[str] = []
    for option, words in MITIGATIONS.items():
        means = mitigation(results.runs("mitigation"), option)
        if means.empty:
            continue
        by_outcome = _by_strength(means, option)
        changes = _by_strength(mitigation_effect(results.runs("mitigation"), option), option)
        clean_models = _clean_models(results, option)
        strengths = sorted({strength for strength, _ in by_outcome})
        if not rows:
            rows.append(_row("none", 0.0, by_outcome, {}, clean_models))
        rows += [_row(f"{words} {s:g}", s, by_outcome, changes, clean_models) for s in strengths if s]
        captions.append(f"{counted(int(means['runs'].sum() / 3), 'run')} for {words}")
    heads = (
        "mitigation",
        "score",
        "clean models: score, accuracy (number)",
        "change of the score",
        "p",
        "accuracy with the pattern",
    )
    columns = dict.fromkeys((*heads, "change of that accuracy", "p ", "clean accuracy"), False)
    about = "Changes are differences from no mitigation, paired by seeds. "
    about += "p: paired t-test, with Holm's correction within each mitigation."
    about = f"Data: `results/mitigation.csv`, {listed(captions)}. {about}" if rows else ""
    return f"{table(columns, rows)}\n\n{about}" if rows else ""


def _by_strength(rows: pd.DataFrame, option: str) -> dict[tuple[float, str], Mapping[Any, Any]]:
    return {(row[option], row["outcome"]): row for row in rows.to_dict("records")}


def _row(name: str, strength: float, means: Change, changes: Change, clean_models: Mapping[Key, Row]) -> list[str]:
    score, spurious, accuracy = (means[strength, one] for one in ("score", "spurious_accuracy", "clean_accuracy"))
    against = clean_models.get((strength,), {})
    reference = f"{share(against['mean'])}, {share(against['accuracy'])} ({against['n']})" if against else MISSING
    cells = [name, interval(score), reference, *_change(changes.get((strength, "score")))]
    return [*cells, interval(spurious), *_change(changes.get((strength, "spurious_accuracy"))), interval(accuracy)]


def _change(row: Mapping[Any, Any] | None) -> list[str]:
    if row is None:
        return ["", ""]
    return [interval({"mean": row["difference"], "each": (), **_limits(row)}), p_value(row["p_holm"])]


def _limits(row: Mapping[Any, Any]) -> dict[str, float]:
    return {"low": row["low"], "high": row["high"]}


def _clean_models(results: Results, option: str) -> dict[Key, Row]:
    """Strength → ``mean`` score, ``accuracy`` and ``n`` of the clean models trained with it."""
    every = runs_of(results, "mitigation")
    others = [name for name in MITIGATIONS if name != option]
    alone = every[(every[others] == 0).all(axis=1).to_numpy()]
    scores = Groups.of(trained(alone), [option], ["optimizer"]).against_clean(every)
    table = points(finished(clean(kind(alone, "train"))), [option], schema.TEST_ACCURACY)
    accuracy = dict(zip(table[option], table["mean"], strict=True))
    return {key: {**row, "accuracy": accuracy.get(key[0], math.nan)} for key, row in scores.items()}
