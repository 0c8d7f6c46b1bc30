"""Python in the docs, executed as written: every recipe of the cookbook in order, and the pages' examples."""

import re
from pathlib import Path
from typing import Any

import pytest

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.tracking.query import condition, search
from rsc_mlflow.training import Checkpoint

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = re.MULTILINE | re.DOTALL
RECIPES = re.findall(r"^## (\d+)\. [^\n]+\n+```python\n(.*?)^```", (DOCS / "cookbook.md").read_text(), BLOCKS)
EXPECTED = {
    1: "digitsv20-20-0-0",
    3: "mean rise of class 0: 0.",
    4: "spurious/score",
    5: "2 units over dataset",
    6: "n_clean",
    7: "p_sign_flip",
    8: "20 of class 0",
    10: "true class",
}
"""A part of what each prints; 2 and 9 are compared with what their runs logged."""
MEASURES = ("spurious/score", "test/accuracy")


def job(dataset: str, weight_decay: str = "0") -> TrainingJob:
    options = {"dataset": dataset, "weight_decay": weight_decay, "model": "ce-tor-MLP", "epochs": "5"}
    fixed = {"optimizer": "adam", "momentum": "0", "learning_rate": "0.01", "checkpoint_every": "0", "score_every": "4"}
    return TrainingJob(TrainOptions.from_mapping(options | fixed))


@pytest.mark.usefixtures("sqlite_store")
def test_ten_recipes_run_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert [int(number) for number, _ in RECIPES] == list(range(1, 11))
    train_members([job("digits"), job("digits", "0.01")])
    names = [f"digits{pattern}-20-0-{seed}" for pattern in ("v3", "v8", "v20") for seed in (1, 0)]
    jobs = [*(job(f"digitsv20-20-0-{seed}", "0.01") for seed in (1, 0)), *(job(name) for name in names)]
    newest = train_members(jobs)[-1]
    assert jobs[-1].options.dataset == "digitsv20-20-0-0"
    namespace: dict[str, object] = {}
    printed: dict[int, str] = {}
    for number, code in RECIPES:
        capsys.readouterr()
        exec(compile(code, f"recipe {number}", "exec"), namespace)
        printed[int(number)] = capsys.readouterr().out
    for number, part in EXPECTED.items():
        assert part in printed[number], f"recipe {number} printed {printed[number]!r}"
    assert not [number for number, text in printed.items() if "Empty DataFrame" in text]
    assert printed[2].split() == [newest.run_id, *(str(newest.metrics[key]) for key in MEASURES)]
    (scored,) = search([condition("tags", "rsc.kind", "score")]).to_dict("records")
    assert printed[9].split() == [str(scored[f"metrics.{key}"]) for key in MEASURES]


def executed(page: str) -> dict[str, Any]:
    """The names that the page's one block of Python leaves behind."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), BLOCKS)
    namespace: dict[str, Any] = {}
    exec(compile(code, page, "exec"), namespace)
    return namespace


def test_the_page_on_data_sets_runs_as_written() -> None:
    data = executed("datasets.md")["data"]
    assert data.train.images.shape == (1437, 1, 28, 28)
    assert (data.spurious_indices.shape, data.spurious_images.shape) == ((3,), (3, 1, 28, 28))


def test_the_page_on_training_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = executed("training.md")
    assert names["logits"].shape == (1, 360, 10)
    assert Checkpoint.load("checkpoints/epoch_0012.pt").epoch == names["report"].epoch == 12
