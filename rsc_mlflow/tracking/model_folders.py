"""Write models in MLflow's pickle-free ``pt2`` format, which can be loaded with ``mlflow`` and ``torch`` only.

``torch.export`` takes a second or more and never frees some memory.  Models of the same architecture differ only in
their weights, so each process exports the first one and replaces the weights in its file for later ones.
"""

import hashlib
import json
import shutil
import threading
import time
import uuid
import zipfile
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
_ABOUT = "MLmodel"
_WEIGHTS_TABLE = "model_weights_config.json"
"""Record of a ``pt2`` file with the record name, type and shape of each tensor of the state dict."""


@dataclass(frozen=True)
class _Template:
    """A model folder written by MLflow, and what is needed to write it with other weights.

    Attributes:
        folder: the folder without the files that differ between models.
        about: content of its ``MLmodel``.
        records: name → content of each record of its ``pt2`` file, which is a ZIP archive.
        weights: name of each record that holds weights → name in the state dict.
        module: its graph as a callable module.
    """

    folder: Path
    about: Model
    records: Mapping[str, bytes]
    weights: Mapping[str, str]
    module: nn.Module

    @classmethod
    def of(cls, folder: Path, state: Mapping[str, Tensor]) -> "_Template | None":
        """Return a template for models like that of ``folder``; None if its weights are not stored as plain bytes."""
        with zipfile.ZipFile(folder / _FILE) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        table = next(name for name in records if name.endswith(_WEIGHTS_TABLE))
        entries = json.loads(records[table])["config"].items()
        weights = {table.replace(_WEIGHTS_TABLE, entry["path_name"]): key for key, entry in entries}
        if not all(state[key].is_contiguous() and records[name] == _bytes(state[key]) for name, key in weights.items()):
            return None
        copy = tempdirs.persistent_tempdir() / "model"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(_FILE.name, _ABOUT))
        module = torch.export.load(folder / _FILE).module()
        return cls(copy, Model.load(str(folder / _ABOUT)), records, weights, module)

    def gives(self, state: Mapping[str, Tensor], images: Tensor, logits: Tensor) -> bool:
        """Return whether the graph with these weights gives these logits, i.e. contains nothing else of a model."""
        self.module.load_state_dict(state)
        return torch.allclose(self.module(images), logits, rtol=1e-4, atol=1e-5, equal_nan=True)

    def write(self, state: Mapping[str, Tensor], folder: Path, record: Model) -> None:
        """Write the folder of the model with these weights."""
        shutil.copytree(self.folder, folder)
        with zipfile.ZipFile(folder / _FILE, "w") as archive:
            for name, content in self.records.items():
                archive.writestr(name, _bytes(state[self.weights[name]]) if name in self.weights else content)
        about = self.about
        about.artifact_path, about.run_id, about.model_id = record.artifact_path, record.run_id, record.model_id
        about.model_uuid = uuid.uuid4().hex
        about.utc_time_created = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime())
        about.save(str(folder / _ABOUT))


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)


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
        if (template := _Template.of(folder, module.state_dict())) is None:
            return
        if len(_templates) >= _MOST_TEMPLATES:
            shutil.rmtree(_templates.pop(next(iter(_templates))).folder.parent, ignore_errors=True)
        _templates[key] = template


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
