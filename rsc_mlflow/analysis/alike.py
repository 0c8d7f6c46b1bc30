"""Selection of comparable runs for a figure.

A *recipe* is a combination of values of the :data:`rsc_mlflow.analysis.settings.SETTINGS` that a figure does not show.
Runs of different recipes are never averaged.  :func:`alike` selects the recipes to show, adds a column ``recipe`` with
their labels, and describes what was left out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsc_mlflow.analysis.settings import BELONGS, SETTINGS, SHOWN_AS, label

MOST = 6
"""Maximum number of recipes that get a separate figure; further ones are only counted."""
_NAMED = 3
"""Maximum number of values of a setting, or of recipes, that a notice lists."""


@dataclass(frozen=True)
class Recipe:
    """One combination of settings.

    Attributes:
        label: description of the settings in which the recipes differ.
        part: the value of ``split`` whose facet shows the recipe; None if the figure has no facets.
        runs: number of finished runs.
    """

    label: str
    part: object
    runs: int


@dataclass(frozen=True)
class Alike:
    """Runs that may be averaged, and the recipes that were left out.

    Attributes:
        runs: runs of the selected recipes, with the column ``recipe`` (empty if there is only one recipe).
        differing: settings in which the given runs differ, with their values, e.g. "epochs (5, 30)".
        drawn: the selected recipes, in the order of :func:`alike`.
        left: the first few of the other recipes.
        more: number of further recipes, and number of their runs.
    """

    runs: pd.DataFrame
    differing: tuple[str, ...] = ()
    drawn: tuple[Recipe, ...] = ()
    left: tuple[Recipe, ...] = ()
    more: tuple[int, int] = (0, 0)

    @property
    def notice(self) -> str:
        """Text that describes the selection below a figure; empty if all runs have the same recipe."""
        if not self.left and len({recipe.label for recipe in self.drawn}) < 2:
            return ""
        parts = [f"Shown: {_listed(self.drawn)}."]
        parts += [f"Not shown: {_listed(self.left, self.more)}."] if self.left else []
        settings = ", ".join(self.differing)
        parts.append(f"Runs with different settings are not averaged. These runs differ in {settings}.")
        return " ".join(parts)


def alike(
    runs: pd.DataFrame,
    shown: Sequence[str],
    *,
    split: str | None = None,
    cover: Sequence[str] = (),
    most: int = 1,
    averaged: Collection[str] = (),
) -> Alike:
    """Return the runs of the recipes that a figure shows.

    Args:
        runs: rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint`.
        shown: columns that the figure shows as an axis, a line or a facet.
        split: the one of ``shown`` that defines the facets; recipes are selected for each facet.
        cover: columns to rank recipes by.  Recipes with runs at more combinations of these columns come first, then
            those with more finished runs.
        most: maximum number of recipes in each facet.
        averaged: settings that the figure averages over on purpose.
    """
    known = runs["readable"].to_numpy(bool)
    varying = without_belongings(runs[known], differing(runs[known], [*shown, *averaged]), shown)
    if not varying or not known.any():
        whole = Recipe("", None, int(runs["counts"].sum()))
        return Alike(runs.assign(recipe=""), drawn=(whole,) if len(runs) else ())
    recipe = _codes(runs, varying)
    part = _codes(runs, [split] if split else [])
    table = _ranked(runs, recipe, part, cover)
    drawn = (table.groupby("part", sort=False).cumcount() < most).to_numpy(bool)
    first, second = table[drawn], table[~drawn]
    kept = _of_recipes(runs, first, recipe, part, varying)
    left = tuple(_described(runs, second.head(_NAMED), varying, split))
    more = (max(len(second) - _NAMED, 0), int(second["runs"][_NAMED:].sum()))
    settings = tuple(_differing(runs[known], name) for name in varying)
    return Alike(kept, settings, tuple(_described(runs, first, varying, split)), left, more)


def _of_recipes(
    runs: pd.DataFrame, table: pd.DataFrame, recipe: Any, part: Any, varying: Sequence[str]
) -> pd.DataFrame:
    """Return the runs of the recipes in the table, with the recipes' labels in the column ``recipe``."""
    labels = [_label(runs, row, varying) for row in table["row"]]
    width = int(recipe.max()) + 1
    number = pd.Series(range(len(table)), index=table["part"].to_numpy() * width + table["recipe"].to_numpy())
    place = pd.Series(part * width + recipe).map(number).fillna(-1).to_numpy(int)
    keep = (place >= 0) & runs["readable"].to_numpy(bool)
    kept: pd.DataFrame = runs[keep].assign(recipe=np.array([*labels, ""], dtype=object)[place[keep]])
    return kept


def _described(runs: pd.DataFrame, table: pd.DataFrame, varying: Sequence[str], split: str | None) -> list[Recipe]:
    rows = zip(table["row"], table["runs"], strict=True)
    return [Recipe(_label(runs, row, varying), runs[split].iloc[row] if split else None, int(n)) for row, n in rows]


def _label(runs: pd.DataFrame, row: int, varying: Sequence[str]) -> str:
    return label({name: runs[name].iloc[row] for name in varying})


def differing(runs: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """Return the settings in which the runs differ, without those that the columns ``shown`` show."""
    hidden = [name for name in SETTINGS if name not in _settings(shown) and name in runs]
    return [name for name in hidden if runs[name].nunique(dropna=False) > 1]


def without_belongings(runs: pd.DataFrame, varying: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Return ``varying`` without settings that another one determines, as the optimizer may determine the momentum."""
    others = {*varying, *_settings(shown)} & {*runs.columns}
    of = {name: BELONGS[name] for name in varying if BELONGS.get(name) in others}
    follows = [name for name, other in of.items() if runs.groupby(other)[name].nunique(dropna=False).max() == 1]
    return [name for name in varying if name not in follows]


def comparable(runs: pd.DataFrame, subject: str, within: Sequence[str], cells: Sequence[str]) -> pd.DataFrame:
    """Return a selection of runs in which, within a group, every value of ``subject`` has runs in the same cells.

    For each group, the function keeps the largest set of values of ``subject`` that have runs in one cell (of several
    sets, the one with the most runs), and the cells that have runs at all of these values.

    Args:
        runs: rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint`.
        subject: the column whose values are compared.
        within: columns that define a group.
        cells: columns that define a cell; if there are none, all runs are returned.
    """
    if not cells:
        return runs
    counts = runs[runs["counts"].to_numpy(bool)]
    keep = [_together(group, subject, list(cells)) for _, group in counts.groupby(_codes(counts, within), sort=False)]
    wanted = pd.concat(keep) if keep else counts[:0]
    keys = [*within, *cells, subject]
    pairs = runs[keys].merge(wanted[keys].drop_duplicates(), on=keys, how="left", indicator=True)
    return runs[(pairs["_merge"] == "both").to_numpy()]


def _together(group: pd.DataFrame, subject: str, cells: list[str]) -> pd.DataFrame:
    cell = pd.Series(_codes(group, cells), index=group.index)
    values = group[subject].groupby(cell).agg(frozenset)
    weight = pd.DataFrame({"values": values, "runs": cell.value_counts()}).groupby("values")["runs"].sum()
    together = max(weight.index, key=lambda found: (len(found), weight[found], sorted(map(str, found))))
    return group[cell.map(values.map(together.issubset)).to_numpy(bool) & group[subject].isin(together).to_numpy()]


def _settings(shown: Sequence[str]) -> set[str]:
    return {SHOWN_AS.get(name, name) for name in shown}


def _codes(runs: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return one integer per run that identifies its combination of values, including absent ones."""
    code = np.zeros(len(runs), np.int64)
    for name in names:
        codes, given = pd.factorize(runs[name], use_na_sentinel=False)
        code = np.unique(code * (len(given) + 1) + codes, return_inverse=True)[1].ravel()
    return code


def _ranked(runs: pd.DataFrame, recipe: Any, part: Any, cover: Sequence[str]) -> pd.DataFrame:
    """Return one row per part and recipe with readable runs, in the order of :func:`alike`.

    The column ``row`` is the position of one of its runs.
    """
    good = runs["readable"].to_numpy(bool)
    frame = pd.DataFrame({"part": part, "recipe": recipe, "cover": _codes(runs, cover), "row": range(len(runs))})
    frame["counts"] = runs["counts"].to_numpy(int)
    frame = frame[good]
    done = frame[frame["counts"] > 0]
    keys = ["part", "recipe"]
    table = frame.groupby(keys, sort=True).agg(row=("row", "first"), runs=("counts", "sum"))
    table["cells"] = done.drop_duplicates([*keys, "cover"]).groupby(keys).size()
    table = table.fillna({"cells": 0}).reset_index()
    table["everywhere"] = table.groupby("recipe")["cells"].transform("sum")
    order = ["cells", "everywhere", "runs"]
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _differing(runs: pd.DataFrame, name: str) -> str:
    values = runs[name].dropna().unique().tolist()
    values = sorted(values, key=lambda value: (isinstance(value, str), value))
    words = [_plain(value) for value in values[:_NAMED]]
    more = [f"{len(values) - _NAMED} more"] if len(values) > _NAMED else []
    return f"{SETTINGS[name][0]} ({', '.join([*words, *more])})"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(recipes: Sequence[Recipe], more: tuple[int, int] = (0, 0)) -> str:
    """Return a list of recipes as text; only the first few are named."""
    words = [_recipe(recipe) for recipe in recipes[:_NAMED]]
    rest = recipes[_NAMED:]
    number, runs = len(rest) + more[0], sum(recipe.runs for recipe in rest) + more[1]
    if number:
        words.append(f"{number:,} further recipe{'' if number == 1 else 's'} ({_runs(runs)})")
    return "; ".join(words)


def _recipe(recipe: Recipe) -> str:
    part = "" if recipe.part is None else f"{_plain(recipe.part)}: "
    return f"{part}{recipe.label} ({_runs(recipe.runs)})"


def _runs(number: int) -> str:
    return f"{number:,} run{'' if number == 1 else 's'}" if number else "no finished runs"
