"""Every recipe of the cookbook, executed in order in one namespace, as a reader of the page would."""

import re
from pathlib import Path

import pytest

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members

COOKBOOK = Path(__file__).parents[1] / "docs" / "cookbook.md"
RECIPES = re.findall(r"^## (\d+)\. [^\n]+\n+```python\n(.*?)^```", COOKBOOK.read_text(), re.MULTILINE | re.DOTALL)
EXPECTED = {
    1: "digitsv20-20-0-0",
    2: "0.",
    3: "mean rise of class 0: 0.",
    4: "spurious/score",
    5: "2 seeds",
    6: "p_holm",
    7: "p_sign_flip",
    8: "20 of class 0",
    9: "0.",
    10: "true class",
}
"""A part of what each prints."""


def job(dataset: str, weight_decay: str = "0") -> TrainingJob:
    options = {"dataset": dataset, "weight_decay": weight_decay, "model": "ce-tor-MLP", "epochs": "5"}
    fixed = {"optimizer": "adam", "momentum": "0", "learning_rate": "0.01", "checkpoint_every": "0", "score_every": "4"}
    return TrainingJob(TrainOptions.from_mapping(options | fixed))


@pytest.mark.usefixtures("sqlite_store")
def test_ten_recipes_run_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert [int(number) for number, _ in RECIPES] == list(range(1, 11))
    train_members([job("digits"), job("digits", "0.01")])
    names = [f"digits{pattern}-20-0-{seed}" for pattern in ("v3", "v8", "v20") for seed in (1, 0)]
    train_members([*(job(f"digitsv20-20-0-{seed}", "0.01") for seed in (1, 0)), *(job(name) for name in names)])
    namespace: dict[str, object] = {}
    for number, code in RECIPES:
        capsys.readouterr()
        exec(compile(code, f"recipe {number}", "exec"), namespace)
        printed = capsys.readouterr().out
        assert EXPECTED[int(number)] in printed, f"recipe {number} printed {printed!r}"
        assert "Empty DataFrame" not in printed, f"recipe {number} printed {printed!r}"
