"""The studies behind the numbers in the documents: their grids and the files with their runs."""

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
"""The folder of the CSV files."""
Jobs = Iterator[tuple[str, Any]]
"""(entry point, options) of the runs of a study."""


@dataclass(frozen=True)
class Study:
    """A study, with one CSV file of runs.

    Attributes:
        name: file name without suffix.
        grids: grid files, relative to the project folder.
        tour: whether it includes the runs of ``mlflow run .``.
    """

    name: str
    grids: tuple[str, ...]
    tour: bool = False

    def jobs(self) -> Jobs:
        """Yield the jobs of the study's grids and, if included, of the tour."""
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
    """Return the study of a name.

    Raises:
        InputError: the name is unknown.
    """
    for one in STUDIES:
        if one.name == name:
            return one
    raise InputError(unknown_name("study", name, [one.name for one in STUDIES]))


def chosen(names: Iterable[str], grids: Iterable[str]) -> tuple[Study, ...]:
    """Return the studies of these names (none: all); ``grids`` replaces the grid files of a single named study.

    Raises:
        InputError: a name is unknown, or grids are given without exactly one name.
    """
    found = tuple(study(name) for name in names)
    own = tuple(grids)
    if not own:
        return found or STUDIES
    if len(found) != 1:
        raise InputError(f"Got --grid with {len(found)} studies. Expected exactly one --study.")
    return (replace(found[0], grids=own, tour=False),)


def tour_options() -> list[TrainOptions]:
    """Return the poisoned training runs of ``mlflow run .`` with default options."""
    from rsc_mlflow.experiments.tour import poisoned_options

    return poisoned_options(epochs=70, random_seed=0)


class Results:
    """The runs of the studies, read from their files on first use."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._frames: dict[str, pd.DataFrame] = {}

    def runs(self, name: str) -> pd.DataFrame:
        """Return a study's runs with the columns of ``rsc_mlflow.tracking.query.search``; empty if there are none."""
        if name not in self._frames:
            self._frames[name] = to_frame(read_rows(self._folder / f"{study(name).name}.csv"))
        return self._frames[name]
