import os
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.models import infer_signature
from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build
from rsc_mlflow.models.dropout import set_dropout_generator
from rsc_mlflow.names import ModelName
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.models import log_model
from rsc_mlflow.tracking.pull import load_state, pull, read_artifact
from rsc_mlflow.tracking.run import open_run
from tests.mlflow_server import free_port
from tests.tracking.stores import PARAMS, example, small_model, trained

pytestmark = pytest.mark.usefixtures("sqlite_store")


def model_file(model_id: str) -> Path:
    """The file of a logged model in the local artifact folder."""
    location = MlflowClient().get_logged_model(model_id).artifact_location
    return Path(location.removeprefix("file://")) / "data" / "model.pt2"


def test_every_form_of_uri_gives_the_same_weights() -> None:
    model = small_model(3)
    run, uri, registered = trained(model)
    forms = [uri, registered.uri, f"models:/{registered.name}@digitsv20-3-0-0", f"runs:/{run.run_id}/model"]
    for form in forms:
        pulled = pull(form)
        assert pulled.model_uri == uri
        assert pulled.run_id == run.run_id
        assert str(pulled.dataset) == "digitsv20-3-0-0"
        assert pulled.model.architecture == "MLP"
        assert pulled.params["learning_rate"] == "0.01"
        assert pulled.spurious_indices() == (7, 3, 5)
        assert list(pulled.state_dict) == list(model.state_dict())
        for key, value in model.state_dict().items():
            assert torch.equal(pulled.state_dict[key], value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ce-tor-LargeMLP", (1, 28, 28)),
        ("ce-tor-CNN002", (1, 28, 28)),
        ("ce-tor-altResNet20Norm02", (3, 32, 32)),
        ("aug03-mse-tor-LargeMLP", (3, 32, 32)),
        ("aug02-ce-tor-altResNet20", (3, 32, 32)),
    ],
)
def test_the_weights_fit_a_fresh_model_and_give_its_logits(name: str, shape: tuple[int, int, int]) -> None:
    parsed = ModelName.parse(name)
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    model = build(parsed.architecture, shape, 10, torch_generator(0, "weights"), parsed.augmentation)
    set_dropout_generator(model, torch_generator(0, "dropout"))
    model.train()(images)  # batch statistics move
    with open_run(kind="train", name="x", params={**PARAMS, "model": name}) as run:
        uri = log_model(run, model, images, 1)
    fresh = build(parsed.architecture, shape, 10, torch_generator(1, "weights"), parsed.augmentation)
    fresh.load_state_dict(pull(uri).state_dict, strict=True)
    with torch.no_grad():
        assert torch.equal(fresh.eval()(images), model.eval()(images))


def test_the_newest_model_of_a_run_is_meant() -> None:
    with open_run(kind="train", name="x", params=PARAMS) as run:
        log_model(run, small_model(0), example(), 1)
        later = log_model(run, small_model(1), example(), 2)
        log_model(run, small_model(2), example(), 1)
        again = log_model(run, small_model(3), example(), 2)
    assert pull(f"runs:/{run.run_id}/model").model_uri == again != later


MISSING = [
    ("models:/rsc-nothing@digits", r"Registered models: rsc-digits-MLP"),
    ("models:/rsc-digits-MLP@nothing", r"Aliases of rsc-digits-MLP: digitsv20-3-0-0\.$"),
    ("models:/rsc-digits-MLP/99", r"Versions of rsc-digits-MLP: 1\.$"),
    ("models:/m-" + "0" * 32, r"No model m-0+ in this store"),
    ("runs:/" + "0" * 32 + "/model", r"Expected the id of a finished run"),
    ("runs:/abc/other", r"is not a valid model URI\. Expected models:/NAME/VERSION"),
    ("models:/rsc-digits-MLP", r"is not a valid model URI"),
    ("models:/rsc-digits-MLP/latest", r"is not a valid model URI"),
    ("models:/../../etc/passwd", r"is not a valid model URI"),
    ("/etc/passwd", r"is not a valid model URI"),
    ("models:/a' OR name != '@b", r"Registered models: rsc-digits-MLP"),
    ("", r"is not a valid model URI"),
]


def test_what_cannot_be_found_is_said_with_what_there_is() -> None:
    trained()
    for uri, message in MISSING:
        with pytest.raises(InputError, match=message):
            pull(uri)


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(InputError, match="Registered models: none yet"):
        pull("models:/a/1")


def test_a_run_without_a_model() -> None:
    with open_run(kind="train", name="x", params=PARAMS) as run:
        pass
    with pytest.raises(InputError, match=r"\(FINISHED\) has logged no model"):
        pull(f"runs:/{run.run_id}/model")


def test_a_model_that_was_never_finished() -> None:
    with open_run(kind="train", name="x", params=PARAMS) as run:
        model = run.client.create_logged_model(run.experiment_id, "model", run.run_id)
    with pytest.raises(InputError, match="did not finish logging it"):
        pull(f"models:/{model.model_id}")


def test_a_run_of_another_project() -> None:
    with open_run(kind="train", name="x") as run:
        uri = log_model(run, small_model(), example(), 1)
    with pytest.raises(InputError, match="no parameter 'dataset'"):
        pull(uri)


def test_no_server() -> None:
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="No server answers"):
        pull("models:/a/1")


def test_a_model_file_cut_short_is_refused() -> None:
    _, uri, _ = trained()
    file = model_file(uri.removeprefix("models:/"))
    whole = file.read_bytes()
    for length in (0, 1, 22, len(whole) // 2, len(whole) - 200, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged"):
            pull(uri)


def test_one_flipped_bit_of_a_weight_is_noticed() -> None:
    _, uri, _ = trained()
    file = model_file(uri.removeprefix("models:/"))
    with zipfile.ZipFile(file) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith("weights/weight_0"))
    data = bytearray(file.read_bytes())
    data[info.header_offset + 200 + info.file_size // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged .*Bad CRC-32"):
        pull(uri)


def test_a_version_that_was_registered_from_elsewhere() -> None:
    run, _, registered = trained()
    version = MlflowClient().create_model_version(registered.name, f"runs:/{run.run_id}/model", run.run_id)
    with pytest.raises(InputError, match=r"was registered from runs:/.*, not from a logged model"):
        pull(f"models:/{registered.name}/{version.version}")


def test_a_model_whose_files_are_gone() -> None:
    _, uri, _ = trained()
    shutil.rmtree(model_file(uri.removeprefix("models:/")).parents[1])
    with pytest.raises(InputError, match=r"The files of model m-\w+ are missing"):
        pull(uri)


def test_a_missing_model_file_is_refused() -> None:
    _, uri, _ = trained()
    model_file(uri.removeprefix("models:/")).unlink()
    with pytest.raises(InputError, match="pickle-free pt2 format"):
        pull(uri)


def repacked(folder: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy in ``folder`` of a logged model's folder, each record of its file as ``change`` makes it."""
    _, uri, _ = trained()
    source = model_file(uri.removeprefix("models:/"))
    shutil.copytree(source.parent.parent, folder)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(folder / "data" / "model.pt2", "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
    return folder


class _Payload:
    """Unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


class _Malicious(nn.Module):
    def __init__(self, target: Path) -> None:
        super().__init__()
        self.payload = _Payload(target)


def test_a_pickled_model_is_refused_and_its_payload_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    target = tmp_path / "owned"
    folder = tmp_path / "pickled"
    signature = infer_signature(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    mlflow.pytorch.save_model(
        _Malicious(target), str(folder), signature=signature, serialization_format="pickle", pip_requirements=[]
    )
    with pytest.raises(InputError, match="pickle-free pt2 format"):
        load_state(folder, "m-x")
    assert not target.exists()


def test_a_pickle_inside_the_pt2_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    target = tmp_path / "owned"
    payload = pickle.dumps(_Payload(target))
    folder = repacked(tmp_path / "model", lambda name, old: payload if name.endswith("sample_inputs/model.pt") else old)
    assert load_state(folder, "m-x").keys() == small_model().state_dict().keys()
    assert not target.exists()


def test_a_shape_expression_is_not_evaluated(tmp_path: Path) -> None:
    """torch's own reader hands the graph's shape expressions to Python's eval; only the weights are read here."""
    target = tmp_path / "owned"
    symbol = re.compile(rb"(Symbol\('s\d+', positive=True, integer=True\))")

    def evil(name: str, content: bytes) -> bytes:
        call = f"__import__('os').mkdir('{target}') or ".encode()
        return symbol.sub(call + rb"\1", content, count=1) if name.endswith("models/model.json") else content

    folder = repacked(tmp_path / "model", evil)
    state = load_state(folder, "m-x")
    assert not target.exists()
    assert state.keys() == small_model().state_dict().keys()
    torch.export.load(folder / "data" / "model.pt2")
    assert target.exists(), "torch evaluates no expressions any more: this test and docs/security.md can say so"


def test_code_beside_the_model_is_not_imported(tmp_path: Path) -> None:
    """MLflow's own loader puts a folder that the model names in front of sys.path."""
    folder = repacked(tmp_path / "model", lambda _, content: content)
    description = yaml.safe_load((folder / "MLmodel").read_text())
    description["flavors"]["pytorch"]["code"] = "code"
    (folder / "MLmodel").write_text(yaml.safe_dump(description))
    before = list(sys.path)
    load_state(folder, "m-x")
    assert sys.path == before


def test_a_description_cannot_make_objects(tmp_path: Path) -> None:
    folder = repacked(tmp_path / "model", lambda _, content: content)
    target = tmp_path / "owned"
    (folder / "MLmodel").write_text(f"flavors: !!python/object/apply:os.mkdir ['{target}']")
    with pytest.raises(InputError, match="damaged or not a PyTorch model"):
        load_state(folder, "m-x")
    assert not target.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"use_pickle": false', b'"use_pickle": true', "pickled objects instead of weights"),
        (b'"as_int": 784', b'"as_int": 1784', "truncated or damaged"),
        (b'"path_name": "weight_0"', b'"path_name": "../../models/model.json"', "truncated or damaged"),
        (b'"dtype": 7', b'"dtype": 99', "an unsupported type"),
        (b'{"config"', b'["config"', "truncated or damaged"),
    ],
)
def test_a_table_of_weights_that_lies(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    folder = repacked(
        tmp_path / "model",
        lambda name, content: content.replace(old, new) if name.endswith("weights_config.json") else content,
    )
    with pytest.raises(InputError, match=message):
        load_state(folder, "m-x")


def test_spurious_indices_cut_short_are_refused() -> None:
    run, uri, _ = trained()
    location = MlflowClient().get_run(run.run_id).info.artifact_uri
    file = Path(str(location).removeprefix("file://")) / schema.SPURIOUS_INDICES
    file.write_text(file.read_text()[:20])
    with pytest.raises(InputError, match=r"spurious_indices\.json is missing or damaged"):
        pull(uri).spurious_indices()


def test_a_run_without_the_artifact() -> None:
    run, _, _ = trained()
    with pytest.raises(InputError, match=r"Cannot read nothing\.json of run"):
        read_artifact(run.run_id, "nothing.json")
