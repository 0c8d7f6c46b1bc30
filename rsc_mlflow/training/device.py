"""Which device a computation runs on, and how much of its memory it took."""

import re
import resource
from pathlib import Path

import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import device_name


def resolve_device(name: str = "auto") -> torch.device:
    """The device that ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:INDEX`` means here.

    Raises:
        InputError: another name, or a CUDA device that this machine does not have.
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
            f"device {name!r} was asked for, but this machine has {count} CUDA devices; accepted: {accepted}"
        )
    return torch.device("cuda", int(index or 0))  # pragma: no cover - needs a GPU


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that this process has had: of a GPU what PyTorch allocated there, else resident memory; in MiB.

    Where the kernel keeps the peak of this program alone (Linux), that: ``ru_maxrss`` of a process that was forked
    and executed starts at its parent's.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20  # pragma: no cover - needs a GPU
    status = Path("/proc/self/status")
    text = status.read_text(errors="replace") if status.exists() else ""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE)
    return int(found[1] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024
