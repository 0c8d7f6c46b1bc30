"""``rsc_mlflow.api``: docs/python.md as written, against what the runs and MLflow's own loader say."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from rsc_mlflow import api
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from tests.experiments.stored import probabilities

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("sqlite_store")
def test_the_page_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"block {number}", "exec"), names)
    printed = capsys.readouterr().out
    stored = {run.info.run_id: run.data for run in MlflowClient().search_runs(["1"])}
    trained, unlearned = names["trained"], names["unlearned"]
    for result in (trained, unlearned):
        assert result.metrics.items() <= stored[result.run_id].metrics.items()
    assert unlearned.metrics[schema.before(schema.SPURIOUS_SCORE)] == trained.metrics[schema.SPURIOUS_SCORE]
    assert names["model"].run_id == trained.run_id
    assert names["after"].run_id == unlearned.run_id
    torch.testing.assert_close(
        names["clean"].double(),
        torch.from_numpy(probabilities(trained.uri, names["images"])).double(),
        atol=1e-5,
        rtol=0,
    )
    assert re.search(r"mean rise of class 0: 0\.\d", printed)
    assert set(names["runs"]["method"]) == {"exact_retraining", "relabel_finetuning"}
    assert names["runs"]["metrics.spurious/score"].tolist()[0] == unlearned.metrics[schema.SPURIOUS_SCORE]


@pytest.mark.usefixtures("sqlite_store")
def test_bad_input_is_the_commands_own() -> None:
    with pytest.raises(InputError, match=r"Invalid value for 'epochs': 'abc'\. Expected an integer"):
        api.train("digits", epochs="abc")
    with pytest.raises(InputError, match="Unknown unlearning method 'magic'"):
        api.unlearn("models:/m-1", "magic")
    assert len(api.results()) == 0


def test_importing_it_imports_neither_pytorch_nor_mlflow() -> None:
    program = "import sys, rsc_mlflow.api; sys.exit(bool({'torch', 'mlflow', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
