"""The examples of docs/extending.md that add an unlearning method and an attack, run as a user would."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
SEVERAL = """
import json, sys
from entry_points.command import status
from entry_points.commands import find_command
for name, *words in json.loads(sys.argv[1]):
    assert status(find_command(name), words) == 0, name
"""
FILES = ("pruning.py", "margin.py", "pruned.yaml", "margins.yaml")
_BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Outside:
    """A folder outside the project with the example's files, and a store of its own."""

    def __init__(self, folder: Path) -> None:
        blocks = dict(_BLOCK.findall((ROOT / "docs" / "extending.md").read_text()))
        for name in FILES:
            (folder / name).write_text(blocks[name])
        self.folder = folder
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.environment = os.environ | {
            "RSC_PLUGINS": "pruning,margin",
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "MLFLOW_TRACKING_URI": uri,
            "OMP_NUM_THREADS": "1",
        }
        self.client = MlflowClient(uri)

    def attempt(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A Python command in the folder."""
        variables = self.environment | environment
        command = [sys.executable, *words]
        return subprocess.run(command, check=False, cwd=self.folder, env=variables, capture_output=True, text=True)

    def run(self, *words: str) -> str:
        """What a Python command prints; it must succeed."""
        done = self.attempt(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def entry_point(self, *words: str) -> str:
        """``python -m entry_points …``."""
        return self.run("-m", "entry_points", *words)

    def one_after_the_other(self, *commands: tuple[str, ...]) -> None:
        """Entry points with their options, in one process: importing PyTorch and MLflow takes seconds."""
        self.run("-c", SEVERAL, json.dumps(commands))

    def runs(self, method: str) -> list[Run]:
        """The finished runs of a method, the newest first, without those of sweeps."""
        ids = [one.experiment_id for one in self.client.search_experiments()]
        found = self.client.search_runs(ids, f"tags.`rsc.method` = '{method}' AND attributes.status = 'FINISHED'")
        return [run for run in found if run.data.tags["rsc.kind"] != "sweep"]


@pytest.fixture(scope="module")
def outside(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Outside:
    """Both sweeps of the page have been run."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    made = Outside(folder)
    grids = ("pruned.yaml", "margins.yaml")
    made.one_after_the_other(*(("sweep", "--grid", grid, "--workers", "1") for grid in grids))
    return made


def test_a_method_and_an_attack_from_outside_are_commands_with_help(tmp_path: Path) -> None:
    made = Outside(tmp_path)
    assert re.search(r"^  prune_weights +Set the smallest weights of every layer to zero\.$", made.entry_point(), re.M)
    assert "Share of each layer's weights that become zero." in made.entry_point("prune_weights", "--help")
    assert "prune_weights" in made.entry_point("unlearn", "--help")
    assert "margin" in made.entry_point("mem_inference", "--help")


def test_a_sweep_runs_the_method_with_its_own_options(outside: Outside) -> None:
    found = {run.data.params["share"]: run for run in outside.runs("prune_weights")}
    assert set(found) == {"0.1", "0.6"}
    weights = 784 * 256 + 256 * 10
    layers = (784 * 256, 256 * 10)
    for share, run in found.items():
        assert run.data.metrics["unlearn/zeros"] == sum(int(float(share) * layer) for layer in layers) <= weights
        assert run.data.tags["rsc.kind"] == "unlearn"
        assert len(run.data.tags["rsc.fingerprint"]) == 64
    assert len({run.data.tags["rsc.fingerprint"] for run in found.values()}) == 2
    assert {run.data.tags["rsc.source_run_id"] for run in found.values()} == {
        run.info.run_id for run in outside.runs("train_classifier") if run.data.params["dataset"] == "digitsv20-5-0-0"
    }


def test_a_sweep_runs_the_attack_beside_a_built_in_one(outside: Outside) -> None:
    found = {run.data.params["attacks"]: run.data.metrics for run in outside.runs("mem_inference")}
    assert set(found) == {"margin", "margin,loss"}
    for metrics in found.values():
        assert 0 <= metrics["attack/margin/auc"] <= 1
        assert "attack/margin/spurious_auc" in metrics
    assert "attack/loss/auc" in found["margin,loss"]
    assert "attack/loss/auc" not in found["margin"]


def test_the_generic_commands_make_the_same_run(outside: Outside) -> None:
    recipe = ("--dataset", "digitsv20-5-0-0", "--model", "ce-tor-MLP", "--epochs", "2")
    swept = {run.data.params["share"]: run for run in outside.runs("prune_weights")}["0.6"]
    before = {run.data.params["attacks"]: run for run in outside.runs("mem_inference")}["margin"]
    shadow = ("--shadow_models", "2", "--dataset", "memdigitsv20-5-0-0", "--model", "ce-tor-MLP", "--epochs", "2")
    outside.one_after_the_other(
        ("unlearn", "--method", "prune_weights", "--share", "0.6", *recipe), ("attack", "--method", "margin", *shadow)
    )
    again = outside.runs("prune_weights")[0]
    assert again.info.run_id != swept.info.run_id
    assert again.data.tags["rsc.fingerprint"] == swept.data.tags["rsc.fingerprint"]
    assert again.data.params == swept.data.params
    after = outside.runs("mem_inference")[0]
    assert after.data.tags["rsc.fingerprint"] == before.data.tags["rsc.fingerprint"]
    assert after.data.params == before.data.params
    assert after.data.metrics["attack/margin/auc"] == before.data.metrics["attack/margin/auc"]


def test_the_dashboards_show_both_by_their_names(outside: Outside) -> None:
    outside.entry_point("report", "--output", "report.html")
    page = (outside.folder / "report.html").read_text()
    assert "weight pruning" in page
    assert "margin" in page


def test_inside_the_package_a_method_and_an_attack_are_one_file_each(tmp_path: Path) -> None:
    """The same files in a copy of the package: nothing else changes there, the MLproject neither."""
    made = Outside(tmp_path)
    for package in ("rsc_mlflow", "entry_points", "dashboards"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for name, package in (("pruning", "unlearning"), ("margin", "attacks")):
        text = (tmp_path / f"{name}.py").read_text().replace("rsc_mlflow.plugins", f"rsc_mlflow.{package}.base")
        (tmp_path / "rsc_mlflow" / package / "methods" / f"{name}.py").write_text(text)
    program = """
from pathlib import Path
import rsc_mlflow
assert Path(rsc_mlflow.__file__).is_relative_to(Path.cwd())
from entry_points.commands import commands
from entry_points.mlproject import project
from rsc_mlflow.experiments.registry import attack_names, experiments, method_title
print(project(), end="")
assert "prune_weights" in commands()
assert experiments()["prune_weights"].records == ("unlearn/zeros",)
assert method_title("prune_weights") == "weight pruning"
assert attack_names() == ["shadow", "loss", "lira", "rmia", "margin"]
"""
    done = made.attempt("-c", program, RSC_PLUGINS="", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "MLproject").read_text()


def test_a_figure_that_a_method_does_not_declare_ends_the_run_with_an_error(outside: Outside) -> None:
    careless = (outside.folder / "pruning.py").read_text().replace('records=("zeros",)', "records=()")
    (outside.folder / "careless.py").write_text(careless.replace("prune_weights", "careless"))
    words = ("-m", "entry_points", "careless", "--dataset", "digitsv20-5-0-0", "--model", "ce-tor-MLP", "--epochs", "2")
    done = outside.attempt(*words, RSC_PLUGINS="careless")
    assert done.returncode == 2
    message = "The unlearning method 'careless' reported the undeclared metric 'zeros'"
    assert message in done.stderr.splitlines()[-1]
    assert outside.runs("careless") == []
    ids = [one.experiment_id for one in outside.client.search_experiments()]
    (run,) = outside.client.search_runs(ids, "tags.`rsc.method` = 'careless'")
    assert run.info.status == "FAILED"
    assert message in run.data.tags["rsc.error"]


def test_a_method_may_not_take_the_name_of_a_command(tmp_path: Path) -> None:
    made = Outside(tmp_path)
    renamed = (tmp_path / "pruning.py").read_text().replace("prune_weights", "sweep")
    (tmp_path / "pruning.py").write_text(renamed)
    done = made.attempt("-m", "entry_points")
    assert done.returncode == 2
    assert done.stderr == "error: A plug-in registers 'sweep', which is the name of a command. Choose another name.\n"
