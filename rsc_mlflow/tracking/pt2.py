"""Weights out of a ``pt2`` file (what ``torch.export.save`` writes) without running anything that stands in it.

``torch.export.load`` unpickles records and evaluates the shape expressions of the graph as Python, so that a file
somebody else wrote may run code even where pickles are refused.  A model is rebuilt from its architecture's name;
its weights are all that is needed, and they are raw bytes beside a JSON table.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsc_mlflow.errors import InputError

_TABLE = "data/weights/model_weights_config.json"
_SAMPLES = "data/sample_inputs/model.pt"
_KNOWN = re.compile(
    r"data/weights/(?:model_weights_config\.json|weight_\d+)|data/constants/(?:model_constants_config\.json|tensor_\d+)"
    r"|models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder"
    r"|\.data/version|\.data/serialization_id|\.format_version|\.storage_alignment"
)
_TYPES = {5: torch.int64, 7: torch.float32, 8: torch.float64}
"""Numbers of torch's serialized types → the ones that state dicts of this project hold."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """The state dict in a ``pt2`` file: parameters and buffers, on the CPU.

    Raises:
        InputError: the file is truncated or changed, or holds anything that ``torch.export.save`` does not write
            for a plain model: pickled objects, compiled code, unknown records.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, file.stat().st_size)
            if (broken := archive.testzip()) is not None:
                raise InputError(f"it is damaged: {broken} does not match its checksum")
            content = {name: archive.read(info) for name, info in records.items()}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"it is truncated or damaged ({type(error).__name__}: {error})") from error
    _check_samples(content)
    try:
        table = json.loads(content[_TABLE])["config"]
        return {name: _tensor(entry, content) for name, entry in table.items()}
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"it is damaged: its table of weights cannot be read ({type(error).__name__})") from error


def _records(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Record name without the archive's own folder → its entry; only names that a plain model has."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        raise InputError("it is damaged or no plain model: it holds compressed records")
    records = {entry.filename.partition("/")[2]: entry for entry in entries}
    if len(records) != len(entries):
        raise InputError("it is damaged or no plain model: it holds two records of one name")
    if unknown := sorted(name for name in records if not _KNOWN.fullmatch(name)):
        raise InputError(f"it is damaged or no plain model: it holds {unknown[0]!r}")
    return records


def _check_samples(content: dict[str, bytes]) -> None:
    """The example input is not needed, but a file with a pickle in its place is nobody's honest model."""
    if _SAMPLES not in content:
        return
    try:
        torch.load(io.BytesIO(content[_SAMPLES]), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds
        raise InputError(f"it is damaged or holds pickled objects in {_SAMPLES} ({type(error).__name__})") from error


def _tensor(entry: dict[str, Any], content: dict[str, bytes]) -> Tensor:
    if entry["use_pickle"] is not False:
        raise InputError("it holds pickled objects in place of weights")
    meta = entry["tensor_meta"]
    if meta["dtype"] not in _TYPES:
        raise InputError(f"it holds weights of a type that no model here has (number {meta['dtype']})")
    data = bytearray(content[f"data/weights/{entry['path_name']}"])
    sizes, strides = ([int(number["as_int"]) for number in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(data, dtype=_TYPES[meta["dtype"]]) if data else torch.empty(0, dtype=_TYPES[meta["dtype"]])
    return flat.as_strided(sizes, strides, int(meta["storage_offset"]["as_int"])).clone()
