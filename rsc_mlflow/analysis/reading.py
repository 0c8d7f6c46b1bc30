"""Conversion of a tracking store's runs to a table with typed columns.

The input is a data frame with MLflow's column names (``params.…``, ``metrics.…``, ``tags.…``), as returned by
``rsc_mlflow.tracking.query.search`` and by ``RunStore``.  Invalid values do not raise an error: they are left out, and
the column ``problem`` lists them.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsc_mlflow.analysis.settings import (
    ABSENT,
    DEFAULTS,
    IDLE,
    METHOD_OPTIONS,
    NUMBERS,
    OF_SOURCE,
    SEED,
    SEEDS,
    WORDS,
    Number,
)
from rsc_mlflow.analysis.values import metric, unreadable_values
from rsc_mlflow.names import TWO_CLASSES, classes_of, form_of
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.values import is_time
from rsc_mlflow.user_files import is_name

TAGS: Mapping[str, str] = {
    "kind": schema.KIND,
    "method": schema.METHOD,
    "fingerprint": schema.FINGERPRINT,
    "sweep": schema.SWEEP,
    "error": schema.ERROR,
    "source_run": schema.SOURCE_RUN_ID,
    "clean_scores": schema.CLEAN_SCORES,
}
GONE = "gone"
"""The ``source_kind`` of a run whose source run is no longer in the store."""
_PLAIN = ("run_id", "experiment_id", "run_name", "status")
"""Columns that are kept as Python strings, which are several times faster to slice and read than Arrow's."""
_CLEAN = {"": "clean", "none": "clean"}
_TARGETS = re.compile(r"none|\d{1,4}(-\d{1,4})?", re.ASCII)
_OF_FIRST_TARGET = (schema.SPURIOUS_SCORE_NONTARGET, schema.SPURIOUS_FLIP_RATE, schema.SPURIOUS_TEST_ACCURACY)


def read(runs: pd.DataFrame) -> pd.DataFrame:
    """Return this project's runs (those with the tag ``rsc.kind``) with typed columns added.

    Pass all runs of the store and filter the result, because ``source_kind`` is looked up among the given runs.

    Added columns are the parameters in ``NUMBERS`` (float, NaN if absent) and ``WORDS`` (str, empty if absent), the
    seeds (str, empty if absent or without effect; ``pattern_seed`` is the dataset seed if not given), the ``TAGS``, and

    * ``paper``: the pattern's short name (S1 to S3, R1 to R3 or Co), the name of another pattern, or ``clean``;
    * ``form``: form of the dataset name: pattern in one class, in two classes, or quarters;
    * ``method_options``: the options of an unlearning method as one text;
    * ``source_kind``: kind of the run ``source_run``; empty if there is none, ``GONE`` if it no longer exists;
    * ``started``: UTC time, and ``started_ms`` (float); NaT or NaN if the stored time is invalid;
    * ``problem``: which values could not be read, and why; empty if there are none;
    * ``readable``: whether all seeds and settings are known (bool).  Only such runs are averaged.

    The ``spurious/score`` of a run with two target classes is the mean of its two ``spurious/score_target_{k}``.
    """
    kinds = _text(runs, f"tags.{schema.KIND}")
    frame = runs[(kinds != "").to_numpy()]
    columns, problems = _parameters(frame)
    columns |= {name: _text(frame, f"tags.{tag}") for name, tag in TAGS.items()}
    columns |= _derived(frame, columns, problems)
    readable = _joined(problems, frame.index)
    columns["readable"] = readable == ""
    columns |= _times(frame, problems)
    columns["problem"] = _joined(problems, frame.index)
    made = pd.DataFrame(columns, index=frame.index)
    texts = {name: object for name in [*made.columns[made.dtypes == "str"], *_PLAIN] if name in made or name in frame}
    kept = frame[[name for name in frame.columns if name not in made]]
    return _two_targets(pd.concat([kept, made], axis=1).astype(texts).copy())


def problems(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs from :func:`read` with values that could not be read, newest first.

    The columns are ``run_name``, ``experiment_id``, ``run_id`` and ``problem``, a text that lists the values.
    """
    words = runs["problem"].where(runs["problem"] != "", None)
    odd = unreadable_values(runs)
    words = words.fillna("") + np.where((runs["problem"] != "") & (odd != ""), "; ", "") + odd
    found = runs[(words != "").to_numpy()]
    names = ["run_name", "experiment_id", "run_id", "started_ms"]
    table = found[names].assign(problem=words[found.index])
    return table.sort_values("started_ms", ascending=False, kind="stable").drop(columns="started_ms")


Problems = dict[str, "npt.NDArray[Any]"]


def _parameters(frame: pd.DataFrame) -> tuple[dict[str, Any], Problems]:
    columns: dict[str, Any] = {}
    problems: Problems = {}
    for name, accepted in NUMBERS.items():
        columns[name] = _number(frame, _source(frame, name), accepted, problems)
    for column in SEEDS.values():
        seed = _number(frame, _text(frame, f"params.{column}"), SEED, problems, column)
        columns[column] = seed.map(lambda value: "" if value != value else f"{value:.0f}").astype("object")
    for name in WORDS:
        columns[name] = _text(frame, f"params.{name}")
    for name, usual in DEFAULTS.items():
        columns[name] = _text(frame, f"params.{name}").replace("", usual)
    return columns, problems


def _source(frame: pd.DataFrame, name: str) -> "pd.Series[Any]":
    """Return the text of a training parameter.

    In runs of an unlearning method that has an option of the same name, this is the source model's parameter.
    """
    own, source = _text(frame, f"params.{name}"), _text(frame, f"params.source_{name}")
    return own.where(source == "", source)


def _number(
    frame: pd.DataFrame, text: "pd.Series[Any]", accepted: Number, problems: Problems, name: str = ""
) -> "pd.Series[Any]":
    codes, given = pd.factorize(text)
    values = np.array([accepted.read(value) for value in given], dtype=float)
    odd = np.array([value not in ABSENT for value in given], dtype=bool) & np.isnan(values)
    name = name or str(text.name).removeprefix("params.")
    if odd.any():
        why = [f"{name}: {_short(value)} (expected {accepted.words})" for value in given]
        problems[name] = np.where(odd, np.array(why, dtype=object), "")[codes]
    return pd.Series(values[codes] if len(values) else np.empty(0), index=frame.index)


def _derived(frame: pd.DataFrame, columns: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    pattern, target = columns["pattern"], columns["target_class"]
    declared = PATTERNS.registered()  # without image files, and without patterns of plug-ins that are not loaded here
    random = pattern.map(lambda name: name in declared and declared[name].depends_on_seed)
    dataset = columns["dataset_seed"]
    given = columns["pattern_seed"]
    seed = given.where(given != "", dataset).where(random, "")
    _odd(pattern, lambda name: name == "" or is_name(name), "none or a pattern", problems)
    _odd(target, _is_target, "none, one class or two", problems)
    kinds = dict(zip(frame["run_id"], columns["kind"], strict=True))
    momentum = columns["momentum"].where(~columns["optimizer"].isin(["adam", "adagrad"]), 0.0)
    return {
        "form": columns["dataset"].map(form_of).astype("object"),
        "paper": pattern.map(lambda name: declared[name].title if name in declared else _CLEAN.get(name, name)),
        "pattern_seed": seed,
        "target_class": target.where(target.map(_is_target).astype(bool), ""),
        "momentum": momentum,
        "score_threshold": _threshold(frame, columns),
        "method_options": _method_options(frame),
        "source_kind": columns["source_run"].map({"": ""} | kinds).fillna(GONE),
    }


def _is_target(text: str) -> bool:
    return text == "" or _TARGETS.fullmatch(text) is not None


def _threshold(frame: pd.DataFrame, columns: Mapping[str, Any]) -> "pd.Series[Any]":
    """Return the score threshold; 1/classes for the text ``auto``, which ``mlflow run`` stores as typed."""
    usual = columns["dataset_family"].map(_usual_threshold)
    auto = _text(frame, "params.score_threshold") == "auto"
    resolved: pd.Series[Any] = columns["score_threshold"].where(~auto, usual.astype(float))
    return resolved


def _usual_threshold(family: str) -> float:
    classes = classes_of(family)
    return math.nan if classes is None else 1 / classes


def _odd(text: "pd.Series[Any]", good: Any, accepted: str, problems: Problems) -> None:
    codes, given = pd.factorize(text)
    bad = np.array([not good(value) for value in given], dtype=bool)
    if bad.any():
        name = str(text.name).removeprefix("params.")
        why = np.array([f"{name}: {_short(value)} (expected {accepted})" for value in given], dtype=object)
        problems[name] = np.where(bad, why, "")[codes]


def _method_options(frame: pd.DataFrame) -> "pd.Series[Any]":
    """Return ``name=value, …`` for the options of unlearning runs, without those that their solver does not use."""
    unlearned = _text(frame, f"tags.{schema.KIND}") == "unlearn"
    part = frame[unlearned.to_numpy()]
    solver = _text(part, "params.solver")
    texts = np.full(len(part), "", dtype=object)
    for name in (*METHOD_OPTIONS, *OF_SOURCE):
        value = _text(part, f"params.{name}")
        if name in OF_SOURCE:
            value = value.where(_text(part, f"params.source_{name}") != "", "")
        idle = solver.map(lambda one, name=name: name in IDLE.get(one, ()))
        used = ((value != "") & ~idle).to_numpy()
        texts = texts + np.where(used, (f"{name}=" + value + ", ").to_numpy(object), "")
    every = np.full(len(frame), "", dtype=object)
    every[unlearned.to_numpy()] = [text.removesuffix(", ") for text in texts]
    return pd.Series(every, index=frame.index, dtype=object)


def _times(frame: pd.DataFrame, problems: Problems) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("start_time", "end_time"):
        stored = pd.to_numeric(frame[name], errors="coerce") if name in frame else pd.Series(np.nan, frame.index)
        good = is_time(stored)
        odd = (stored.notna() & ~good).to_numpy()
        if odd.any():
            why = [f"{name}: {value:g} (expected milliseconds since 1970)" for value in stored]
            problems[name] = np.where(odd, np.array(why, dtype=object), "")
        found[name] = stored.where(good)
    started = found["start_time"]
    return {"started_ms": started, "started": pd.to_datetime(started, unit="ms", utc=True)}


def _joined(problems: Problems, index: pd.Index) -> "pd.Series[Any]":
    words = np.full(len(index), "", dtype=object)
    for reasons in problems.values():
        words = words + np.where((words != "") & (reasons != ""), "; ", "") + reasons
    return pd.Series(words, index=index, dtype=object)


def _two_targets(runs: pd.DataFrame) -> pd.DataFrame:
    """Set the score of runs with two target classes to the mean over both.

    If the stored score is another one, as in runs of earlier versions, it is about the first class only.  The metrics
    that are then about the first class only are dropped.
    """
    two = (runs["form"] == TWO_CLASSES).to_numpy() & runs["target_class"].str.contains("-").to_numpy(bool)
    column = f"metrics.{schema.SPURIOUS_SCORE}"
    if not two.any() or column not in runs:
        return runs
    part = runs[two]
    pairs = [text.split("-") for text in part["target_class"]]
    of_class = {k: metric(part, schema.score_target(int(k))).to_numpy() for pair in pairs for k in pair}
    score = np.array([np.mean([of_class[k][row] for k in pair]) for row, pair in enumerate(pairs)])
    old = two.copy()
    old[two] = ~(np.abs(part[column].to_numpy(float) - score) <= 1e-6)
    names = [f"{prefix}{name}" for prefix in ("", schema.BEFORE_PREFIX, schema.GAP_PREFIX) for name in _OF_FIRST_TARGET]
    names += [f"{prefix}{schema.SPURIOUS_SCORE}" for prefix in (schema.BEFORE_PREFIX, schema.GAP_PREFIX)]
    stale = {f"metrics.{name}": runs[f"metrics.{name}"].mask(old) for name in names if f"metrics.{name}" in runs}
    whole = runs[column].to_numpy(float).copy()
    whole[two] = score
    return runs.assign(**stale, **{column: whole})


def _text(frame: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """Return a column of texts, empty if absent, without the single quotes that ``mlflow run`` may have stored."""
    if column not in frame:
        return pd.Series("", index=frame.index, dtype=object, name=column)
    codes, given = pd.factorize(frame[column])
    plain = np.array([*(str(value).strip("'") for value in given), ""], dtype=object)
    return pd.Series(plain[codes], index=frame.index, dtype=object, name=column)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
