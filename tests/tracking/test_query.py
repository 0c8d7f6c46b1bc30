import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.search_utils import SearchUtils

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import (
    condition,
    find_by_fingerprint,
    find_training_run,
    iterate_runs,
    quoted,
    search,
)

WEIRD = ["it's", 'say "x"', "a AND b", "1 = 1", "%", "_", "x' OR 'a' = 'a", "ümläut", "a`b", "(x)", "--", " lead", ";"]


def made(
    status: str = "FINISHED", start: int = 1, tags: dict[str, str] | None = None, params: dict[str, str] | None = None
) -> str:
    client = MlflowClient()
    run = client.create_run("0", start_time=start, tags={schema.KIND: "train", **(tags or {})})
    for key, value in (params or {}).items():
        client.log_param(run.info.run_id, key, value)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


@pytest.mark.usefixtures("sqlite_store")
@pytest.mark.parametrize("value", WEIRD)
def test_a_weird_value_finds_its_own_run_alone(value: str) -> None:
    own = made(params={"note": value})
    made(params={"note": "another"})
    made()
    found = [run.info.run_id for run in iterate_runs(MlflowClient(), [condition("params", "note", value)])]
    assert found == [own]


@given(st.text(max_size=20), st.text(alphabet="'\"\\` =aAND", max_size=12))
def test_what_is_quoted_is_one_value_to_mlflow(plain: str, nasty: str) -> None:
    for text in (plain, nasty):
        try:
            query = condition("params", "note", text)
        except InputError:
            assert ("'" in text and '"' in text) or "\\" in text or not text.isprintable()
            continue
        (parsed,) = SearchUtils.parse_search_filter(query)
        assert (parsed["key"], parsed["comparator"], parsed["value"]) == ("note", "=", text)


@pytest.mark.parametrize("text", ["'\"", "a\\b", "a\nb", "\0"])
def test_what_cannot_be_said_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="Invalid value in a query"):
        quoted(text)
    with pytest.raises(InputError):
        condition("params", f"`{text}", "x")


@pytest.mark.usefixtures("sqlite_store")
def test_the_newest_finished_training_run_that_agrees() -> None:
    same = {"dataset": "mnist", "model": "ce-tor-MLP"}
    made(start=1, params={**same, "learning_rate": "0.01"})
    wanted = made(start=5, params={**same, "learning_rate": "0.010", "note": "'x y'"})
    made(start=6, params={**same, "learning_rate": "0.1"})
    made("FAILED", start=7, params={**same, "learning_rate": "0.01"})
    made("RUNNING", start=8, params={**same, "learning_rate": "0.01"})
    made(start=9, params={**same, "learning_rate": "0.01"}, tags={schema.KIND: "unlearn"})
    made(start=9, params={**same, "model": "ce-tor-CNN002", "learning_rate": "0.01"})
    deleted = made(start=9, params={**same, "learning_rate": "0.01"})
    MlflowClient().delete_run(deleted)
    found = find_training_run("mnist", "ce-tor-MLP", {"learning_rate": 0.01})
    assert found is not None
    assert found.info.run_id == wanted
    by_note = find_training_run("mnist", "ce-tor-MLP", {"learning_rate": 0.01, "note": "x y"})
    assert by_note is not None
    assert by_note.info.run_id == wanted
    assert find_training_run("mnist", "ce-tor-MLP", {"learning_rate": 0.5}) is None
    assert find_training_run("fashion", "ce-tor-MLP") is None


@pytest.mark.usefixtures("sqlite_store")
def test_fingerprints_of_finished_runs() -> None:
    made(start=1, tags={schema.FINGERPRINT: "f1"})
    newest = made(start=2, tags={schema.FINGERPRINT: "f1"})
    other = made(start=3, tags={schema.FINGERPRINT: "f2", schema.KIND: "unlearn"})
    made("FAILED", start=4, tags={schema.FINGERPRINT: "f3"})
    made(start=5)
    for value, run_id in (("f1", newest), ("f2", other)):
        found = find_by_fingerprint(value)
        assert found is not None
        assert found.info.run_id == run_id
    assert find_by_fingerprint("f2", kind="train") is None
    assert find_by_fingerprint("f3") is None


@pytest.mark.usefixtures("sqlite_store")
def test_all_experiments_and_all_pages_are_searched() -> None:
    client = MlflowClient()
    second = client.create_experiment("second")
    gone = client.create_experiment("gone")
    ids = {client.create_run(experiment, start_time=k).info.run_id for k, experiment in enumerate(("0", second) * 4)}
    client.create_run(gone)
    client.delete_experiment(gone)
    found = [run.info.run_id for run in iterate_runs(client, page=3)]
    assert len(found) == 8
    assert set(found) == ids
    assert len(list(iterate_runs(client, experiment_ids=[second], page=3))) == 4
    assert list(iterate_runs(client, experiment_ids=[])) == []


@pytest.mark.usefixtures("sqlite_store")
def test_search_gives_a_frame() -> None:
    run_id = made(params={"epochs": "3"})
    MlflowClient().log_metric(run_id, "train/loss", 0.5, step=1)
    frame = search([condition("tags", schema.KIND, "train")])
    assert frame["run_id"].tolist() == [run_id]
    assert frame["metrics.train/loss"].tolist() == [0.5]
    assert search([condition("params", "epochs", "4")]).empty
