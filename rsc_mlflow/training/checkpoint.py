"""Checkpoints: what an exact continuation of one model's training needs, in one file.

A file is written whole or not at all (temporary file in the same folder, fsync, rename), its records are checked
against their checksums, and it is read with ``weights_only=True``, so that opening one never runs code.
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
        epoch: epochs done; 0 is before the first.
        config: the options it was trained with.
        model: state dict of the single model.
        optimizer: state-dict key of a parameter → the optimizer's tensors for it; empty: start it afresh.
        generators: purpose → state of its generator; empty: seed them afresh from ``config.random_seed``.
        device: kind of device (``cpu``, ``cuda``) the generators belong to.
        learning_rate: of the last epoch done (of the first, before it); None where only weights were kept.
    """

    epoch: int
    config: TrainingConfig
    model: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    generators: dict[str, Tensor] = field(default_factory=dict)
    device: str = "cpu"
    learning_rate: float | None = None

    def save(self, path: str | Path) -> Path:
        """Write to ``path`` atomically (its folder is made) and return it.

        Raises:
            OSError: it cannot be written, for example because the disk is full; what was at ``path`` is as it was.
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
                raise error.__context__ from None  # PyTorch's writer speaks of positions: full disk, or a signal
            raise
        _sync_folder(path.parent)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The checkpoint in a file.

        Raises:
            InputError: the file does not exist, is truncated or damaged, or is not a checkpoint of this program.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"there is no checkpoint {path}")
        try:
            _check_records(path)  # torch.load does not
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # zipfile and torch.load raise many kinds, depending on where the file is cut.
            raise InputError(
                f"{path} cannot be read as a checkpoint: it is truncated, damaged or of another kind "
                f"({type(error).__name__}); use an earlier checkpoint or start a new run"
            ) from error
        return cls._from_content(content, path)

    @classmethod
    def _from_content(cls, content: Any, path: Path) -> Self:
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path} is not a checkpoint of this program (format {FORMAT})")
        for name, kind in _PARTS.items():
            if not isinstance(content.get(name), kind):
                raise InputError(f"{path} is damaged: its part {name!r} is missing or of a wrong type")
        config = TrainingConfig.from_dict(content["config"])
        if config.digest() != content["config_digest"]:
            raise InputError(f"{path} is damaged: its options do not match their digest")
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
        """A start from weights alone (a model pulled from a registry): optimizer and generators begin afresh."""
        return cls(epoch, config, {key: value.detach().cpu().clone() for key, value in state.items()})

    def require(self, config: TrainingConfig, path: str | Path = "the checkpoint") -> None:
        """Refuse any other options than ``config``: what resuming an interrupted run asks for.

        Raises:
            InputError: naming each option that differs.
        """
        mine, wanted = self.config.as_dict(), config.as_dict()
        differences = [f"{key} {mine[key]!r} (asked for: {wanted[key]!r})" for key in mine if mine[key] != wanted[key]]
        if differences:
            raise InputError(
                f"{path} belongs to a training with other options: {'; '.join(differences)}; "
                "give the same options, or start a new run"
            )

    def check_fits(self, config: TrainingConfig) -> None:
        """Whether a training with ``config`` can start here.

        Raises:
            InputError: another architecture, or the optimizer state is of another optimizer.
        """
        mine, wanted = self.config.model.architecture, config.model.architecture
        if mine != wanted:
            raise InputError(f"the checkpoint holds a {mine}, but {wanted} was asked for; use a checkpoint of {wanted}")
        if self.optimizer and self.config.optimizer != config.optimizer:
            raise InputError(
                f"the checkpoint holds the state of {self.config.optimizer}, but {config.optimizer} was asked for; "
                f"use {self.config.optimizer}, or start from its weights only"
            )


def _check_records(path: Path) -> None:
    """Compare every record of the file (a zip archive) with the CRC-32 that was written with it."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
