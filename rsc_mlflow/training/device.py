"""Selection of the device, and peak memory use."""

import re
import resource
from pathlib import Path

import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import device_name


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device for ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises:
        InputError: the name is invalid, or the CUDA device does not exist.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, index = device_name(name).partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        accepted = ", ".join(["auto", "cpu", *(f"cuda:{k}" for k in range(count))])
        raise InputError(
            f"Invalid value for 'device': {name!r}, but this machine has {count} CUDA devices. Expected {accepted}."
        )
    return torch.device("cuda", int(index or 0))  # pragma: no cover - needs a GPU


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory use of this process in MiB.

    On a GPU, this is the memory allocated by PyTorch, else the resident memory.  On Linux, the latter is ``VmHWM``,
    because ``ru_maxrss`` of a forked process starts with its parent's value.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20  # pragma: no cover - needs a GPU
    status = Path("/proc/self/status")
    text = status.read_text(errors="replace") if status.exists() else ""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE)
    return int(found[1] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024
