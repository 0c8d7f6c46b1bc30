"""Read the weights in a ``pt2`` file, written by ``torch.export.save``, without running code from the file.

``torch.export.load`` unpickles records and evaluates the graph's shape expressions as Python, so a file of another
user could run code even if pickles are refused.  Models are rebuilt from the name of their architecture, so only the
weights are needed: raw bytes with a JSON table.  No other record is read.
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
"""Number of a type in the file → dtype, for the dtypes in state dicts of this project."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the state dict in a ``pt2`` file: parameters and buffers, on the CPU.

    Raises:
        InputError: the file is truncated or damaged, or its weights are pickled.
    """
    try:
        with zipfile.ZipFile(file) as archive:  # verifies the checksum of each record that is read
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            table = json.loads(archive.read(names[f"{_FOLDER}model_weights_config.json"]))["config"]
            return {key: _tensor(entry, archive, names) for key, entry in table.items()}
    except Exception as error:  # zipfile and torch raise many types
        raise InputError(f"it is truncated or damaged ({type(error).__name__}: {error})") from error


def _tensor(entry: dict[str, Any], archive: zipfile.ZipFile, names: dict[str, str]) -> Tensor:
    if entry["use_pickle"] is not False:
        raise ValueError("it contains pickled objects instead of weights")
    meta = entry["tensor_meta"]
    if meta["dtype"] not in _TYPES:
        raise ValueError(f"it contains weights of an unsupported type (number {meta['dtype']})")
    data = bytearray(archive.read(names[_FOLDER + entry["path_name"]]))
    sizes, strides = ([int(number["as_int"]) for number in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(data, dtype=_TYPES[meta["dtype"]]) if data else torch.empty(0, dtype=_TYPES[meta["dtype"]])
    return flat.as_strided(sizes, strides, int(meta["storage_offset"]["as_int"])).clone()
