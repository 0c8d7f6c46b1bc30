"""``python -m benchmarks gpu``: times of training, sweeps, unlearning and attacks on a GPU, beside limits.

The limits are for one H100 or H200; the table shows which rows reach them.  Each row also checks its result, and the
exit status is 1 if a check fails.  The command uses MNIST and CIFAR-10, or if their files are missing, made-up images
of their sizes; the sweeps and the attack need the files of MNIST.

``--small`` runs the same rows in seconds, on digits and with few members, also on the CPU: it tests the command.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from statistics import fmean

import click
import torch
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from benchmarks.measuring import machine, plain_epoch, print_table, timed
from benchmarks.unlearning import FORGOTTEN, images_and_labels, trained
from rsc_mlflow.data import ImageSet, apply_pattern, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import ModelName
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.sweeps.shipped import grid_file
from rsc_mlflow.tracking import schema
from rsc_mlflow.training import Cohort, EpochReport, Member, TrainingConfig, TrainingData, resolve_device
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.curvature import Curvature
from rsc_mlflow.unlearning.gradients import summed_gradient
from rsc_mlflow.unlearning.parameters import FlatModel
from rsc_mlflow.unlearning.solver_options import SolverConfig
from rsc_mlflow.unlearning.solvers import relative_residual, solve

MLP, RESNET = "ce-tor-LargeMLP", "aug01-ce-tor-altResNet20Norm02"
BATCH, CHECKED_BATCHES = 128, 10
LARGEST_DIFFERENCE = 1e-4
"""Maximum relative ℓ2 difference between the weights from recorded steps and from steps launched one by one."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Size:
    """The size of the benchmark, and its device."""

    device: torch.device
    small: bool

    @property
    def family(self) -> str:
        """Dataset of the MLPs."""
        return "digits" if self.small else "mnist"

    def of(self, whole: int, toy: int) -> int:
        """Return ``whole``, or ``toy`` in the small benchmark."""
        return toy if self.small else whole


@dataclass(frozen=True)
class Measured:
    """A measured value in the row's unit, the result of its check as text, and whether the check passed."""

    value: float
    check: str
    right: bool


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        work: what is measured.
        unit: unit of ``limit`` and of the measured value.
        limit: highest value that is fast enough; None: the value is only for comparison.
        measure: returns the measured and checked value.
    """

    work: str
    unit: str
    limit: float | None
    measure: Callable[[], Measured]

    def cells(self) -> tuple[list[str], bool]:
        """Measure; return the cells of the table and whether the check passed.  An error is a failed check."""
        limit = "" if self.limit is None else f"≤ {self.limit:g}"
        try:
            found = self.measure()
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            return [self.work, self.unit, limit, "–", "", f"failed: {reason[:100]}"], False
        reached = "" if self.limit is None else "yes" if found.value <= self.limit else "no"
        check = found.check if found.right else f"WRONG: {found.check}"
        return [self.work, self.unit, limit, f"{found.value:.3g}", reached, check], found.right


def mlp_data(size: Size) -> TrainingData:
    """Return MNIST (digits if small) without spurious examples."""
    images = load_family("digits")[0] if size.small else images_and_labels()[0]
    return clean(images, size.of(len(images), 320))


def resnet_data(size: Size) -> TrainingData:
    """Return CIFAR-10; if its files are missing or for the small benchmark, made-up images with learnable labels."""
    try:
        if not size.small:
            return clean(load_family("cifar10")[0])
    except InputError:
        pass
    count, generator = size.of(50_000, 100), torch_generator(0, "benchmark")
    means, labels = torch.rand(10, 3, 32, 32, generator=generator), torch.arange(count) % 10
    noise = torch.randn(count, 3, 32, 32, generator=generator)
    return clean(ImageSet((means[labels] + 0.5 * noise).clamp(0, 1), labels))


def clean(images: ImageSet, count: int | None = None) -> TrainingData:
    """Return the first ``count`` images (default: all) as a training set without replaced examples."""
    kept = None if count in (None, len(images)) else torch.arange(count or 0)
    return TrainingData(images, torch.zeros(0, dtype=torch.int64), images.images[:0], kept)


def cohort(
    size: Size, data: TrainingData, model: str, members: int, precision: str, epochs: int, record_steps: bool = True
) -> Cohort:
    """Return a cohort of members that differ in their seeds."""
    name = ModelName.parse(model)
    configs = [
        TrainingConfig(name, epochs, BATCH, learning_rate=0.01, random_seed=seed, schedule="none", precision=precision)
        for seed in range(members)
    ]
    return Cohort([Member(data, config) for config in configs], 10, size.device, record_steps=record_steps)


def training(size: Size, data: TrainingData, model: str, members: int, precision: str, part: float = 1) -> Measured:
    """Return the seconds of an epoch per model: of the second one, since the first one records the step.

    ``part`` is the share of the examples to train on; the time is that of all examples.
    """
    precision = precision if size.device.type == "cuda" else "float32"
    some = clean(data.clean, round(part * len(data)))
    reports: list[EpochReport] = list(cohort(size, some, model, members, precision, 2).epochs())
    first, last = (fmean(one.loss for one in report.members) for report in reports)
    difference = recorded_difference(size, data, model, members, precision)
    check = f"recorded and launched weights differ by {difference:.0e}, loss {first:.2f} → {last:.2f}"
    seconds = reports[-1].seconds / members / (len(some) / len(data))
    return Measured(seconds, check, difference < LARGEST_DIFFERENCE and last < first)


def recorded_difference(size: Size, data: TrainingData, model: str, members: int, precision: str) -> float:
    """Return the relative difference of the first member's weights with and without recorded steps."""
    few = clean(data.clean, min(len(data), CHECKED_BATCHES * BATCH))
    weights = []
    for recorded in (True, False):
        short = cohort(size, few, model, members, precision, 1, recorded)
        list(short.epochs())
        state = short.checkpoint(0).model
        weights.append(torch.cat([value.double().flatten() for value in state.values()]))
    return float((weights[0] - weights[1]).norm() / weights[1].norm())


def naive(size: Size, data: TrainingData, model: str) -> Measured:
    """Return the seconds of the second epoch of a loop over a ``DataLoader``, without augmentation."""
    epoch = plain_epoch(data, "sgd", ModelName.parse(model).architecture, size.device)
    epoch()
    cost = timed(lambda: (epoch(), torch.zeros(1, device=size.device).item()))  # waits for the device
    return Measured(cost.wall, "not checked", True)


def training_rows(size: Size) -> Iterator[Row]:
    """Return the rows of MLPs and ResNets."""
    data, images = mlp_data(size), resnet_data(size)

    def row(work: str, limit: float, of: TrainingData, model: str, k: int, precision: str, part: float = 1) -> Row:
        return Row(
            f"{work}, K = {k}, {precision}",
            "s/epoch/model",
            limit,
            lambda: training(size, of, model, k, precision, part),
        )

    yield row("LargeMLP", 0.09, data, MLP, 1, "float32")
    for members, limits in ((size.of(64, 2), (6e-3, 4.3e-3)), (size.of(256, 3), (4.8e-3, 3.3e-3))):
        for precision, limit in zip(("float32", "tf32"), limits, strict=True):
            yield row("LargeMLP", limit, data, MLP, members, precision)
    yield row("altResNet20Norm02 with aug01", 1.0, images, RESNET, 1, "bf16")
    for precision, limit in (("bf16", 0.30), ("tf32", 0.50)):
        yield row("altResNet20Norm02 with aug01", limit, images, RESNET, size.of(32, 2), precision, 0.25)
    yield Row("plain DataLoader loop, LargeMLP", "s/epoch", None, lambda: naive(size, data, MLP))
    yield Row("plain DataLoader loop, altResNet20Norm02", "s/epoch", None, lambda: naive(size, images, RESNET))


def influence(size: Size) -> Measured:
    """Return the seconds of the solution of one group update with conjugate gradients, curvature over all examples."""
    images = mlp_data(size).clean
    spurious = torch.nonzero(images.labels == 0)[:FORGOTTEN, 0]
    patterned = apply_pattern("v20", images.images[spurious], 0)
    flat = FlatModel(trained(TrainingData(images, spurious, patterned), "sgd", size.of(3, 1), size.device))
    g = summed_gradient(flat, Examples.of(patterned, images.labels[spurious]))
    began = time.perf_counter()
    curvature = Curvature(flat, Examples.of(images.images, images.labels).to(size.device), "ggn", 0.01)
    found = solve(curvature, g, SolverConfig(solver="cg", tolerance=TOLERANCE))
    residual = relative_residual(curvature, found.x, g)
    seconds = time.perf_counter() - began
    return Measured(seconds, f"residual {residual:.1e} after {found.iterations} steps", residual <= 2 * TOLERANCE)


def command(folder: Path, name: str, *arguments: str) -> float:
    """Return the seconds of an entry point that uses the store in ``folder``.

    Raises:
        RuntimeError: it failed; the message is its last line.
    """
    environment = os.environ | {"MLFLOW_TRACKING_URI": store(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    whole = [sys.executable, "-m", f"entry_points.{name}", *arguments]
    began = time.perf_counter()
    done = subprocess.run(whole, env=environment, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"{name} failed"])[-1])
    return time.perf_counter() - began


def store(folder: Path) -> str:
    """Return the address of the store in a folder."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def runs_of(folder: Path, kind: str) -> list[Run]:
    """Return all finished runs of a kind."""
    client, token = MlflowClient(store(folder)), None
    found: list[Run] = []
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    while token != "":
        page = client.search_runs(everywhere, f"tags.`rsc.kind` = '{kind}' and status = 'FINISHED'", page_token=token)
        found += page
        token = page.token or ""
    return found


def sweep(grid: dict[str, object], models: int) -> Measured:
    """Return the seconds of a sweep with an empty store; all its models must be finished, scored and registered."""
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as name:
        folder = Path(name)
        path = folder / "grid.yaml"
        path.write_text(yaml.safe_dump(grid))
        seconds = command(folder, "sweep", "--grid", str(path), "--yes", "true")
        runs = runs_of(folder, "train")
        client = MlflowClient(store(folder))
        versions = sum(
            len(client.search_model_versions(f"name='{m.name}'", max_results=10_000))
            for m in client.search_registered_models()
        )
    poisoned = [run for run in runs if run.data.params["pattern"] != "none"]
    scores = [run.data.metrics[schema.SPURIOUS_SCORE] for run in poisoned]
    mean = fmean(scores) if scores else nan
    check = f"{len(runs)} of {models} finished, {versions} registered, {len(scores)} scored, mean {mean:.2f}"
    return Measured(seconds, check, len(runs) == versions == models and all(0 <= score <= 1 for score in scores))


def recipes_of_scores(size: Size) -> dict[str, object]:
    """Return ``hour/scores`` with three dataset seeds of one training seed each: 30 poisoned and 20 clean models."""
    grid: dict[str, object] = yaml.safe_load(grid_file("hour/scores").read_text(encoding="utf-8"))
    options, axes = grid["options"], grid["axes"]
    assert isinstance(options, dict)
    assert isinstance(axes, dict)
    axes["dataset"] |= {"seed": [0, 1, 2], "training_seeds": 1}
    options["device"] = size.device.type
    if size.small:
        options |= {"epochs": 2, "clean_seeds": 1, "model": "ce-tor-MLP"}
        axes["dataset"] |= {"family": "digits", "seed": [0], "count": [3, 10]}
        grid["exclude"] = [{"pattern": "v8"}]
    return grid


def many_models(size: Size) -> dict[str, object]:
    """Return a grid of 256 LargeMLPs, 64 training seeds each with 3, 10, 100 and 1,000 spurious examples."""
    return {
        "about": "Many models.",
        "entry_point": "train_classifier",
        "options": {
            "model": MLP,
            "epochs": size.of(70, 2),
            "score_every": 10,
            "checkpoint_every": 0,
            "clean_seeds": 0,
            "device": size.device.type,
        },
        "axes": {
            "random_seed": list(range(size.of(64, 1))),
            "dataset": {
                "family": size.family,
                "pattern": "v20",
                "count": [3, 10, 100, 1000][: size.of(4, 2)],
                "target": 0,
                "seed": 0,
            },
        },
    }


def attack(size: Size) -> Measured:
    """Return the seconds of ``mem_inference`` with an empty store: target, shadow models and all attacks."""
    shadow_models = size.of(16, 4)
    options = {"dataset": f"mem{size.family}v20-10-0-0", "model": MLP, "epochs": size.of(70, 2), "score_every": 0}
    options |= {"shadow_models": shadow_models, "device": size.device.type}
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as name:
        arguments = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        seconds = command(Path(name), "mem_inference", *arguments)
        metrics = {key: value for run in runs_of(Path(name), "attack") for key, value in run.data.metrics.items()}
    auc = {key.split("/")[1]: value for key, value in metrics.items() if key.endswith("/auc")}
    check = "AUC " + ", ".join(f"{name} {value:.2f}" for name, value in sorted(auc.items()))
    return Measured(seconds, check, bool(auc) and all(0.4 < value <= 1 for value in auc.values()))


def rows(size: Size) -> Iterator[Row]:
    """Return all rows of the table."""
    yield from training_rows(size)
    models, many = size.of(50, 6), size.of(256, 2)
    work = f"recipes of hour/scores: sweep of {models} models, empty store to registered"
    yield Row(work, "s", 90, lambda: sweep(recipes_of_scores(size), models))
    yield Row(f"sweep of {many} LargeMLPs × {size.of(70, 2)} epochs", "s", 240, lambda: sweep(many_models(size), many))
    yield Row(f"group influence, cg, {size.of(60_000, 1_437):,} examples", "s", 5, lambda: influence(size))
    yield Row(f"mem_inference with {size.of(16, 4)} shadow models", "s", 60, lambda: attack(size))


@click.command()
@click.option("--device", "device_name", default="auto", help="cuda, cuda:INDEX, or cpu, which implies --small.")
@click.option("--small", is_flag=True, help="Run all rows at toy size; the limits do not apply then.")
@click.option("--only", multiple=True, help="Run the rows whose name contains this text; may be given several times.")
def main(device_name: str, small: bool, only: tuple[str, ...]) -> None:
    """Measure and check all rows; print the table."""
    device = resolve_device(device_name)
    if device.type != "cuda" and not small and device_name != "cpu":
        print(
            "error: This machine has no CUDA device. Use --small to run the rows at toy size on the CPU.",
            file=sys.stderr,
        )
        sys.exit(2)
    size = Size(device, small or device.type != "cuda")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{card}{', toy size' if size.small else ''}; {machine()}")
    began, table, right = time.perf_counter(), [], True
    for row in rows(size):
        if only and not any(text in row.work for text in only):
            continue
        cells, passed = row.cells()
        print("  ".join(cells), file=sys.stderr, flush=True)
        table.append(cells)
        right &= passed
    print_table(["work", "unit", "limit", "measured", "reached", "check"], table)
    print(f"{time.perf_counter() - began:.0f} s in all")
    sys.exit(0 if right else 1)
