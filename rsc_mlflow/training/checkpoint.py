"""Checkpoints: files with everything that is needed to continue the training of one model exactly.

Files are written atomically (temporary file in the same folder, fsync, rename).  On loading, all records are checked
against their checksums, and ``weights_only=True`` ensures that no code is run.
"""

import os
import secrets
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.errors import InputError

FORMAT = "rsc-checkpoint-1"
_PARTS = {
    "epoch": int,
    "config": dict,
    "config_digest": str,
    "device": str,
    "model": dict,
    "optimizer": dict,
    "generators": dict,
    "schedule": dict,
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of one model's training after ``epoch`` epochs, all tensors on the CPU.

    Attributes:
        epoch: number of completed epochs.
        config: the training options.
        model: state dict of the model.
        optimizer: the optimizer's tensors for each parameter, by state-dict key; if empty, training continues with a
            new optimizer.
        generators: the states of the random generators by purpose; if empty, training continues with new generators,
            seeded from ``config.random_seed``.
        device: type of device (``cpu`` or ``cuda``) of the generators.
        learning_rate: learning rate of the last completed epoch, or of the first one if none is completed; None if only
            the weights are known.
    """

    epoch: int
    config: TrainingConfig
    model: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    generators: dict[str, Tensor] = field(default_factory=dict)
    device: str = "cpu"
    learning_rate: float | None = None

    def save(self, path: str | Path) -> Path:
        """Write the checkpoint atomically, creating the folder if necessary, and return the path.

        Raises:
            OSError: the file cannot be written, e.g. because the disk is full.  An existing file is left unchanged.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "epoch": self.epoch,
            "config": self.config.as_dict(),
            "config_digest": self.config.digest(),
            "device": self.device,
            "model": self.model,
            "optimizer": self.optimizer,
            "generators": self.generators,
            "schedule": {"kind": self.config.schedule, "learning_rate": self.learning_rate},
        }
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError | KeyboardInterrupt):
                raise error.__context__ from None  # PyTorch replaces a full disk or a signal by a RuntimeError
            raise
        _sync_folder(path.parent)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the checkpoint in a file.

        Raises:
            InputError: the file does not exist, is truncated or damaged, or is not a checkpoint of this project.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"The checkpoint {path} does not exist.")
        try:
            _check_records(path)  # torch.load does not check them
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # Where the file is truncated determines which of many types of errors zipfile and torch.load raise.
            raise InputError(
                f"Cannot read the checkpoint {path}: it is truncated, damaged or another type of file "
                f"({type(error).__name__}). Use an earlier checkpoint or start a new run."
            ) from error
        return cls._from_content(content, path)

    @classmethod
    def _from_content(cls, content: Any, path: Path) -> Self:
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path} is not a checkpoint of this project (format {FORMAT}).")
        for name, kind in _PARTS.items():
            if not isinstance(content.get(name), kind):
                raise InputError(f"{path} is damaged: {name!r} is missing or has a wrong type.")
        config = TrainingConfig.from_dict(content["config"])
        if config.digest() != content["config_digest"]:
            raise InputError(f"{path} is damaged: its options do not match their digest.")
        return cls(
            content["epoch"],
            config,
            content["model"],
            content["optimizer"],
            content["generators"],
            content["device"],
            content["schedule"].get("learning_rate"),
        )

    @classmethod
    def of_weights(cls, state: Mapping[str, Tensor], config: TrainingConfig, epoch: int) -> Self:
        """Return a checkpoint without states of optimizer and generators, e.g. of a registered model's weights.

        Args:
            state: state dict of the model; it is copied.
            config: the training options.
            epoch: number of completed epochs.
        """
        return cls(epoch, config, {key: value.detach().cpu().clone() for key, value in state.items()})

    def require(self, config: TrainingConfig, path: str | Path = "the checkpoint") -> None:
        """Check that the checkpoint's options equal ``config``, as is required to resume an interrupted run.

        Args:
            config: the options of the run.
            path: the checkpoint's file, for the message.

        Raises:
            InputError: they differ; the message lists each difference.
        """
        mine, wanted = self.config.as_dict(), config.as_dict()
        differences = [
            f"{key} {mine.get(key)!r} (asked for: {wanted.get(key)!r})"
            for key in mine | wanted
            if mine.get(key) != wanted.get(key)
        ]
        if differences:
            raise InputError(
                f"{path} belongs to a training run with other options: {'; '.join(differences)}. "
                "Use the same options or start a new run."
            )

    def check_fits(self, config: TrainingConfig) -> None:
        """Check that training with ``config`` can start from this checkpoint.

        Raises:
            InputError: the architecture or the optimizer differs.
        """
        mine, wanted = self.config.model.architecture, config.model.architecture
        if mine != wanted:
            raise InputError(f"The checkpoint is of {mine}, but the model is {wanted}. Use a checkpoint of {wanted}.")
        if self.optimizer and self.config.optimizer != config.optimizer:
            raise InputError(
                f"The checkpoint has the state of {self.config.optimizer}, but the optimizer is {config.optimizer}. "
                f"Use {self.config.optimizer}, or start from the weights only."
            )


def _check_records(path: Path) -> None:
    """Check the CRC-32 of every record in the file, which is a zip archive."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


def _sync_folder(folder: Path) -> None:
    """Write the folder's entries to disk, so that the rename is durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
