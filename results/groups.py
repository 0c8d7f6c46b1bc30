"""Groups of comparable runs of a study, with their means over seeds and their tests."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import pandas as pd

from results.markdown import listed
from results.studies import Results, study
from rsc_mlflow.analysis import (
    above_clean,
    alike,
    clean_rows,
    finished,
    kind,
    latest_per_fingerprint,
    points,
    poisoned,
    read,
    with_clean_scores,
)

Key = tuple[Any, ...]
Row = Mapping[Any, Any]
NOTHING: Row = {"mean": math.nan, "low": math.nan, "high": math.nan, "each": (), "units": 0, "over": "", "runs": 0}
"""The mean of a group without runs."""
Text = Callable[..., str]
"""``function(results, *arguments)`` → Markdown."""


NOT_RUN = "*Not run yet*"
"""Shown instead of missing results; outside of a sentence or a cell, with the command that produces them."""


def not_run(name: str) -> str:
    """Return the text shown instead of missing results: :data:`NOT_RUN` and the command that produces them."""
    one = study(name)
    command = one.commands[0] if len(one.commands) == 1 else f"{one.commands[0].rsplit('/', 1)[0]}/NAME.yaml"
    names = [grid.rsplit("/", 1)[1].removesuffix(".yaml") for grid in one.grids] if len(one.commands) > 1 else []
    return f"{NOT_RUN}: `{command}`" + (f" (NAME: {', '.join(names)})" if names else "")


def of_study(name: str) -> Callable[[Text], Text]:
    """Decorate a text that needs a study's runs: without runs, it names the command that runs the study."""

    def decorate(function: Text) -> Text:
        @wraps(function)
        def text(results: Results, *arguments: str) -> str:
            made = "" if results.runs(name).empty else function(results, *arguments)
            return made or not_run(name)

        return text

    return decorate


@lru_cache(maxsize=32)
def runs_of(results: Results, name: str) -> pd.DataFrame:
    """A study's runs with typed columns, one per fingerprint."""
    return latest_per_fingerprint(read(results.runs(name)))


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished poisoned training runs."""
    return finished(poisoned(kind(runs, "train")))


@dataclass(frozen=True)
class Groups:
    """Runs in groups, equal in all settings except seeds.

    Attributes:
        runs: those that are shown.
        by: columns that make a group.
        notice: which unlike runs are not shown; empty if none.
    """

    runs: pd.DataFrame
    by: tuple[str, ...]
    notice: str = ""

    @classmethod
    def of(cls, runs: pd.DataFrame, by: Sequence[str], facets: Sequence[str] = ()) -> "Groups":
        """Group runs by ``by``, using for each combination of ``facets`` the recipe with the most groups."""
        facet = pd.Series("", index=runs.index, dtype=object)
        for name in facets:
            facet = facet + runs[name].astype(str) + " "
        found = alike(runs.assign(facet=facet.str.strip()), [*by, *facets, "facet"], split="facet", cover=list(by))
        return cls(found.runs, tuple(by), found.notice)

    def means(self, metric: str) -> dict[Key, Row]:
        """Group → mean, interval and seeds of a metric; see ``rsc_mlflow.analysis.points``."""
        return self.keyed(points(self.runs, self.by, metric))

    def keyed(self, table: pd.DataFrame) -> dict[Key, Row]:
        """The rows of a table by their group."""
        return {tuple(row[name] for name in self.by): row for row in table.to_dict("records")}

    def against_clean(self, every: pd.DataFrame) -> dict[Key, Row]:
        """Group → ``mean``, ``max`` and ``n`` of the clean models, and the rank-sum test with its ``p_holm``."""
        scored = with_clean_scores(self.runs, every)
        clean = clean_rows(scored, self.by)
        if clean.empty:
            return {}
        table = clean.groupby(list(self.by), as_index=False)["score"].agg(["mean", "max", "count"])
        found = self.keyed(table.rename(columns={"count": "n"}))
        tests = self.keyed(above_clean(scored, self.by))
        return {key: {**row, **tests.get(key, {})} for key, row in found.items()}

    def caption(self, file: str, means: Mapping[Key, Row]) -> str:
        """The caption of a table: number of runs, file, seeds that the intervals cover, and what was left out."""
        rows = [row for row in means.values() if row["runs"]]
        over = sorted({str(row["over"]) for row in rows})
        number = sum(int(row["runs"]) for row in rows)
        parts = [f"{number:,} runs of `results/{file}.csv`, averaged {', or '.join(over)}."]
        if any(math.isnan(row["low"]) for row in rows):
            parts.append("With fewer than five independent seeds, the mean of each seed is shown in parentheses.")
        mixed = sorted({str(row["mixed"]) for row in rows if row.get("mixed")})
        parts += [f"**Runs with different settings are averaged**: they differ in {listed(mixed)}."] if mixed else []
        return " ".join([*parts, self.notice]).strip()


def at(means: Mapping[Key, Row], key: Key) -> Row:
    """The row of a group, or :data:`NOTHING`."""
    return means.get(key, NOTHING)
