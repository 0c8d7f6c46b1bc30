"""Write models in MLflow's pickle-free ``pt2`` format, which can be loaded with ``mlflow`` and ``torch`` only.

``torch.export`` takes a second or more and never frees some memory.  Models of the same architecture differ only in
their weights, so each process exports the first one and replaces the weights in its graph for later ones.
"""

import hashlib
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from rsc_mlflow import tempdirs
from rsc_mlflow.tracking import environment, mlflow_compat

_MOST_TEMPLATES = 4
"""Maximum number of exported graphs to keep; each holds the weights of one model in memory."""
_FILE = Path("data") / "model.pt2"


@dataclass(frozen=True)
class _Template:
    """A model folder written by MLflow, its graph, and the graph as a callable module."""

    folder: Path
    program: torch.export.ExportedProgram
    module: nn.Module

    @classmethod
    def of(cls, folder: Path) -> "_Template":
        copy = tempdirs.persistent_tempdir() / "model"
        shutil.copytree(folder, copy)
        program = torch.export.load(copy / _FILE)
        (copy / _FILE).unlink()  # written for each model
        return cls(copy, program, program.module())

    def gives(self, state: Mapping[str, Tensor], images: Tensor, logits: Tensor) -> bool:
        """Return whether the graph with these weights gives these logits, i.e. contains nothing else of a model."""
        self.module.load_state_dict(state)
        return torch.allclose(self.module(images), logits, rtol=1e-4, atol=1e-5, equal_nan=True)

    def write(self, state: Mapping[str, Tensor], folder: Path, record: Model) -> None:
        """Write the folder of the model with these weights."""
        shutil.copytree(self.folder, folder)
        for name, tensor in self.program.state_dict.items():
            tensor.copy_(state[name])
        torch.export.save(self.program, folder / _FILE)
        about = Model.load(str(folder / "MLmodel"))
        about.artifact_path, about.run_id, about.model_id = record.artifact_path, record.run_id, record.model_id
        about.model_uuid = uuid.uuid4().hex
        about.utc_time_created = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime())
        about.save(str(folder / "MLmodel"))


_templates: dict[str, _Template] = {}
_lock = threading.Lock()


@torch.no_grad()
def write_model_folder(module: nn.Module, images: Tensor, folder: Path, record: Model) -> None:
    """Write a model to a new folder, as ``mlflow.pytorch.save_model`` does.

    Args:
        module: the model in evaluation mode on the CPU; maps float32 ``[N, C, H, W]`` to logits ``[N, classes]``.
        images: the input example, float32 ``[N, C, H, W]`` with N ≥ 2.
        folder: path of the new folder.
        record: MLflow's description of the model, with the ids of run and model.
    """
    logits = module(images)
    key = _key(module, images)
    with _lock:
        template = _templates.get(key)
        if template is not None and template.gives(module.state_dict(), images, logits):
            template.write(module.state_dict(), folder, record)
            return
        _export(module, images, logits.shape[1], folder, record)
        if len(_templates) >= _MOST_TEMPLATES:
            shutil.rmtree(_templates.pop(next(iter(_templates))).folder.parent, ignore_errors=True)
        _templates[key] = _Template.of(folder)


def _key(module: nn.Module, images: Tensor) -> str:
    """Return a digest of everything a graph depends on: layers, shapes, tensors outside the state dict, and images."""
    state = module.state_dict()
    digest = hashlib.sha256(f"{type(module)} {module!r} {images.shape}".encode())
    digest.update(repr([(name, tensor.shape, tensor.dtype) for name, tensor in state.items()]).encode())
    fixed = [(name, tensor) for name, tensor in module.named_buffers() if name not in state]
    for part in module.modules():
        fixed += [(name, value) for name, value in vars(part).items() if isinstance(value, Tensor)]
    for name, tensor in [*fixed, ("images", images)]:
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _export(module: nn.Module, images: Tensor, classes: int, folder: Path, record: Model) -> None:
    inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, *images.shape[1:]))])
    outputs = Schema([TensorSpec(np.dtype(np.float32), (-1, classes))])
    with mlflow_compat.unmapped_requirements():
        mlflow.pytorch.save_model(
            module,
            str(folder),
            mlflow_model=record,
            signature=ModelSignature(inputs=inputs, outputs=outputs),
            input_example=images.numpy(),
            pip_requirements=_requirements(),
            serialization_format="pt2",
        )


def _requirements() -> list[str]:
    installed = environment.packages()
    return [f"{name}=={installed[name].split('+')[0]}" for name in ("torch", "mlflow", "numpy")]
