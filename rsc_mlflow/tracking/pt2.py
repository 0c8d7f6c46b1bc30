"""Weights out of a ``pt2`` file (what ``torch.export.save`` writes) without running anything that stands in it.

``torch.export.load`` unpickles records and evaluates the shape expressions of the graph as Python, so that a file
somebody else wrote may run code even where pickles are refused.  A model is rebuilt from its architecture's name;
its weights are all that is needed, and they are raw bytes beside a JSON table.  No other record is read.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsc_mlflow.errors import InputError

_FOLDER = "data/weights/"
_TYPES = {5: torch.int64, 7: torch.float32, 8: torch.float64}
"""Numbers of torch's serialized types → the ones that state dicts of this project hold."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """The state dict in a ``pt2`` file: parameters and buffers, on the CPU.

    Raises:
        InputError: the file is truncated or changed, or its weights are pickled.
    """
    try:
        with zipfile.ZipFile(file) as archive:  # it compares each record that is read with its checksum
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            table = json.loads(archive.read(names[f"{_FOLDER}model_weights_config.json"]))["config"]
            return {key: _tensor(entry, archive, names) for key, entry in table.items()}
    except Exception as error:  # zipfile and torch raise many kinds
        raise InputError(f"it is truncated or damaged ({type(error).__name__}: {error})") from error


def _tensor(entry: dict[str, Any], archive: zipfile.ZipFile, names: dict[str, str]) -> Tensor:
    if entry["use_pickle"] is not False:
        raise ValueError("it holds pickled objects in place of weights")
    meta = entry["tensor_meta"]
    if meta["dtype"] not in _TYPES:
        raise ValueError(f"it holds weights of a type that no model here has (number {meta['dtype']})")
    data = bytearray(archive.read(names[_FOLDER + entry["path_name"]]))
    sizes, strides = ([int(number["as_int"]) for number in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(data, dtype=_TYPES[meta["dtype"]]) if data else torch.empty(0, dtype=_TYPES[meta["dtype"]])
    return flat.as_strided(sizes, strides, int(meta["storage_offset"]["as_int"])).clone()
