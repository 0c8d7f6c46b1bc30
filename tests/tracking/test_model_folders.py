"""Models that share a graph: each folder gives the logits of its own module, to mlflow and torch alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.models import Model
from torch import Tensor, nn

from rsc_mlflow.models import build
from rsc_mlflow.models.dropout import set_dropout_generator
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.tracking import model_folders
from rsc_mlflow.tracking.model_folders import write_model_folder
from rsc_mlflow.tracking.pull import load_state

ARCHITECTURES = {
    "MLP": (1, 28, 28),  # dropout
    "CNN002": (1, 28, 28),
    "altResNet20": (3, 32, 32),  # batch statistics
    "altResNet20Norm02": (3, 32, 32),  # constants
    "ResNet18": (3, 32, 32),  # of torchvision
}
ELSEWHERE = """
import sys
sys.modules["rsc_mlflow"] = None  # as where it is not installed
import mlflow, numpy, torch
for folder in sys.argv[1:]:
    images = numpy.load(folder + "/images.npy")
    with torch.no_grad():
        logits = mlflow.pytorch.load_model(folder)(torch.from_numpy(images)).numpy()
    numpy.save(folder + "/logits.npy", logits)
    numpy.testing.assert_array_equal(mlflow.pyfunc.load_model(folder).predict(images), logits)
"""


@pytest.fixture(autouse=True)
def exports(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that PyTorch's exporter was given, none before the test."""
    given: list[nn.Module] = []
    export = torch.export.export

    def counted(module: nn.Module, *arguments: object, **options: object) -> object:
        given.append(module)
        return export(module, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_folders, "_templates", {})
    monkeypatch.setattr(torch.export, "export", counted)
    return given


def write(module: nn.Module, images: Tensor, folder: Path) -> None:
    write_model_folder(module.eval(), images[:2], folder, Model(run_id=folder.name, model_id=f"m-{folder.name}"))


def test_every_model_gives_its_own_logits_to_mlflow_and_torch_alone(tmp_path: Path, exports: list[nn.Module]) -> None:
    expected: dict[Path, np.ndarray] = {}
    for architecture, shape in ARCHITECTURES.items():
        images = torch.rand(5, *shape, generator=torch_generator(0, "images"))
        for seed in range(2):
            module = build(architecture, shape, 10, torch_generator(seed, "weights"))
            for parameter in module.parameters():  # some layers begin with zeros
                parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch_generator(seed, "noise"))
            set_dropout_generator(module, torch_generator(0, "dropout"))
            module.train()(images * (seed + 1))  # batch statistics move
            folder = tmp_path / f"{architecture}-{seed}"
            write(module, images, folder)
            np.save(folder / "images.npy", images.numpy())
            with torch.no_grad():
                expected[folder] = module(images).numpy()
            state = load_state(folder, "m")
            assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert len(exports) == len(ARCHITECTURES)
    subprocess.run([sys.executable, "-c", ELSEWHERE, *map(str, expected)], check=True, cwd=tmp_path)
    for folder, logits in expected.items():
        np.testing.assert_allclose(np.load(folder / "logits.npy"), logits, rtol=1e-4, atol=1e-5, err_msg=str(folder))
    for first, second in zip(*[iter(expected)] * 2, strict=True):
        assert not np.allclose(expected[first], expected[second], atol=1e-2)


class Scaled(nn.Module):
    """One layer used once or twice, a factor that no ``repr`` shows, and a tensor outside the state dict."""

    def __init__(self, factor: float = 1.0, shift: float = 0.0, *, tied: bool = False) -> None:
        super().__init__()
        self.first, self.factor, self.shift = nn.Linear(4, 4), factor, torch.tensor([shift])
        self.second = self.first if tied else nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) * self.factor + self.shift


def test_what_a_graph_holds_besides_weights_is_never_another_models(tmp_path: Path, exports: list[nn.Module]) -> None:
    images = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    modules = [Scaled(), Scaled(2.0), Scaled(shift=1.0), Scaled(tied=True), Scaled(), Scaled(tied=True)]
    for number, module in enumerate(modules):
        write(module, images, tmp_path / str(number))
        program = torch.export.load(tmp_path / str(number) / "data" / "model.pt2")
        with torch.no_grad():
            assert torch.allclose(program.module()(images), module(images), rtol=1e-4, atol=1e-5), number
    assert len(exports) >= 4


def test_each_folder_describes_its_own_model_and_is_otherwise_what_mlflow_writes(tmp_path: Path) -> None:
    images = torch.rand(3, 4)
    for name in ("first", "second"):
        write(nn.Linear(4, 3), images, tmp_path / name)
    first, second = (Model.load(str(tmp_path / name)).to_dict() for name in ("first", "second"))
    assert (second["run_id"], second["model_id"]) == ("second", "m-second")
    assert first["model_uuid"] != second["model_uuid"]
    own = {"run_id", "model_id", "model_uuid", "utc_time_created", "artifact_path"}
    assert {key: value for key, value in first.items() if key not in own} == {
        key: value for key, value in second.items() if key not in own
    }
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*"))
        for name in ("first", "second")
    ]
    assert files[0] == files[1]


class Transposed(nn.Module):
    """A linear layer whose weights are stored column by column, at first all zero."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter((value * torch.arange(12.0).reshape(3, 4)).t())

    def forward(self, images: Tensor) -> Tensor:
        return images @ self.weight


def test_weights_that_are_not_plain_bytes_are_exported_each_time(tmp_path: Path, exports: list[nn.Module]) -> None:
    images = torch.rand(2, 4)
    for value in (0.0, 1.0):
        module = Transposed(value)
        write(module, images, tmp_path / str(value))
        assert torch.equal(load_state(tmp_path / str(value), "m")["weight"], module.weight)
        program = torch.export.load(tmp_path / str(value) / "data" / "model.pt2")
        assert torch.equal(program.module()(images), module(images))
    assert len(exports) == 2


def test_templates_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exports: list[nn.Module]) -> None:
    monkeypatch.setattr(model_folders, "_MOST_TEMPLATES", 2)
    for width in (1, 2, 3, 1):
        write(nn.Linear(4, width), torch.rand(2, 4), tmp_path / f"{width}-{len(exports)}")
    assert len(model_folders._templates) == 2
    assert all(template.folder.is_dir() for template in model_folders._templates.values())
