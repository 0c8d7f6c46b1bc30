"""What is declared once: fingerprints of runs in existing stores, and the experiments that are made of declarations."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from rsc_mlflow.experiments.registry import Start, all_experiments, experiments, method_names, of_kind
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from tests.experiments.unlearning_runs import runs, small

STORED = json.loads((Path(__file__).parent / "stored_identities.json").read_text())
"""Options, fingerprints and parameters as the version before the registry (commit 51691cf) made them."""
ADDED = {"keep_checkpoints", "precision"}
"""Options that later versions have as well; their defaults add nothing to a fingerprint."""


@pytest.mark.parametrize("case", STORED, ids=lambda case: f"{case['entry_point']}-{case['fingerprint'][:8]}")
def test_runs_of_existing_stores_keep_their_fingerprints_and_parameters(case: dict[str, Any]) -> None:
    options: Any = experiments()[case["entry_point"]].options_class.from_mapping(case["options"])
    given = options.as_params()
    assert {name: given[name] for name in case["params"]} == case["params"]
    assert given.keys() - case["params"].keys() <= ADDED
    assert fingerprint(options.identity()) == case["fingerprint"]


def test_the_stored_cases_cover_every_experiment_that_a_sweep_can_run() -> None:
    assert {case["entry_point"] for case in STORED} == set(experiments())
    assert len({case["fingerprint"] for case in STORED}) > 5 * len(experiments())


def test_every_experiment_has_a_kind_of_the_schema_and_one_sentence() -> None:
    for name, one in all_experiments().items():
        assert one.name == name
        assert one.kind in schema.KINDS
        assert one.summary[0].isupper()
        assert one.summary.endswith(".")
        assert "\n" not in one.summary
    assert [one.name for one in of_kind("unlearn")] == method_names()


@pytest.mark.usefixtures("source_run")
def test_a_sweep_hands_its_run_to_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs are written to, each by its own job, and no variable of the environment says so."""
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    client = MlflowClient()
    starts = [
        Start(small("relabel_finetuning", reference="none", forget_weight=weight), new_run(client))
        for weight in (0.2, 0.7)
    ]
    experiments()["relabel_finetuning"].run(starts)
    for start in starts:
        assert start.run_id is not None
        run = client.get_run(start.run_id)
        assert (run.info.status, run.data.tags[schema.METHOD]) == ("FINISHED", "relabel_finetuning")
        assert run.data.params["forget_weight"] == str(start.options.forget_weight)
    assert {run.info.run_id for run in runs("relabel_finetuning")} == {start.run_id for start in starts}
    assert "MLFLOW_RUN_ID" not in os.environ


def new_run(client: MlflowClient) -> str:
    return str(client.create_run("0").info.run_id)
