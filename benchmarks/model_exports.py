"""Time and memory of writing models: ``python -m benchmarks model_exports [--model NAME] [--count N] [--each]``.

Writes ``count`` models of one architecture with different weights, as a worker of a sweep, and prints the time of the
first and of the later ones, and the memory of the process.  With ``--each``, PyTorch's exporter runs for each model.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil
import torch
from mlflow.models import Model

from rsc_mlflow.models import build
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.tracking import model_folders
from rsc_mlflow.tracking.store import configure


@click.command()
@click.option("--model", default="MLP", show_default=True)
@click.option("--shape", default="1,28,28", show_default=True, help="Channels, height and width of the images.")
@click.option("--count", default=300, show_default=True, type=click.IntRange(11), help="Number of models.")
@click.option("--each", is_flag=True, help="Export each model separately.")
def cli(model: str, shape: str, count: int, each: bool) -> None:
    """Print the time of the first and of later exports, and the memory after 10 and after all."""
    configure()
    channels, height, width = (int(number) for number in shape.split(","))
    images = torch.rand(2, channels, height, width)
    seconds, megabytes = [], []
    for number in range(count):
        module = build(model, (channels, height, width), 10, torch_generator(number, "weights"))
        if each:
            model_folders._templates.clear()
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            model_folders.write_model_folder(module, images, Path(folder) / "model", Model())
            seconds.append(time.perf_counter() - began)
        megabytes.append(psutil.Process().memory_info().rss / 2**20)
    print(f"{count} models {model}: the first in {seconds[0]:.2f} s, a later one in {np.median(seconds[1:]):.3f} s")
    print(f"memory after 10: {megabytes[9]:.0f} MB, after {count}: {megabytes[-1]:.0f} MB")


def main() -> None:
    """Run the benchmark."""
    cli()
