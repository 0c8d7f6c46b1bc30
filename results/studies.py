"""The studies behind the numbers in the documents: the grids of each and the file with its runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from results.runs import read_rows, to_frame
from rsc_mlflow.errors import InputError, unknown_name
from rsc_mlflow.experiments.options import TrainOptions

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "results"
"""Folder of the CSV files."""
Jobs = Iterator[tuple[str, Any]]
"""(entry point, options) of the runs of a study."""


@dataclass(frozen=True)
class Study:
    """One CSV file of runs.

    Attributes:
        name: stem of the file.
        grids: grid files, relative to the project folder.
        tour: whether the runs of ``mlflow run .`` belong to it.
    """

    name: str
    grids: tuple[str, ...]
    tour: bool = False

    def jobs(self) -> Jobs:
        """The runs of the study's grids and of the tour."""
        from rsc_mlflow.experiments.registry import experiments, options_of
        from rsc_mlflow.sweeps.grid import load_grid

        if self.tour:
            yield from (("train_classifier", options) for options in tour_options())
        for path in self.grids:
            grid = load_grid(ROOT / path, options_of, tuple(experiments()))
            yield from ((grid.entry_point, options) for options in grid.options())

    @property
    def commands(self) -> list[str]:
        """The commands that run the study."""
        if self.tour:
            return ["make quickstart"]
        return [f"python -m entry_points.sweep --grid {grid}" for grid in self.grids]


STUDIES = (
    Study("quickstart", ("grids/quick/tour.yaml",), tour=True),
    Study("scores", ("grids/hour/scores.yaml",)),
    Study("patterns", ("grids/hour/patterns.yaml",)),
    Study("architectures", ("grids/hour/architectures.yaml",)),
    Study("mitigation", ("grids/hour/mitigation.yaml",)),
    Study("two_classes", ("grids/hour/two_classes.yaml",)),
    Study(
        "unlearning",
        (
            "grids/hour/incremental_retraining.yaml",
            "grids/hour/group_influence.yaml",
            "grids/hour/relabel_finetuning.yaml",
            "grids/hour/gradient_difference.yaml",
        ),
    ),
    Study("membership", ("grids/hour/membership.yaml", "grids/hour/membership_mnist.yaml")),
)


def study(name: str) -> Study:
    """The study with this name.

    Raises:
        InputError: there is none.
    """
    for one in STUDIES:
        if one.name == name:
            return one
    raise InputError(unknown_name("study", name, [one.name for one in STUDIES]))


def chosen(names: Iterable[str], grids: Iterable[str]) -> tuple[Study, ...]:
    """The studies with these names (all if none is given); ``grids`` replaces the grid files of a single study.

    Raises:
        InputError: an unknown name, or grids without exactly one name.
    """
    found = tuple(study(name) for name in names)
    own = tuple(grids)
    if not own:
        return found or STUDIES
    if len(found) != 1:
        raise InputError(f"Got --grid with {len(found)} studies. Expected exactly one --study.")
    return (replace(found[0], grids=own, tour=False),)


def tour_options() -> list[TrainOptions]:
    """The poisoned training runs of ``mlflow run .`` with its defaults."""
    from rsc_mlflow.experiments.tour import poisoned_options

    return poisoned_options(epochs=70, random_seed=0)


class Results:
    """The runs of all studies, read from their files on first use."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._frames: dict[str, pd.DataFrame] = {}

    def runs(self, name: str) -> pd.DataFrame:
        """A study's runs with the columns of ``rsc_mlflow.tracking.query.search``; empty if there are none."""
        if name not in self._frames:
            self._frames[name] = to_frame(read_rows(self._folder / f"{study(name).name}.csv"))
        return self._frames[name]
