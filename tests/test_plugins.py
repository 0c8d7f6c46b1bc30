"""What a plug-in may register, and what becomes of what it registered."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from rsc_mlflow import models
from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.data import apply_pattern, families, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES, Family
from rsc_mlflow.patterns import PATTERNS, Pattern
from rsc_mlflow.plugins import register_architecture, register_family, register_pattern
from rsc_mlflow.rng import torch_generator

IMAGES, LABELS = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture(autouse=True)
def afterwards_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (FAMILIES, PATTERNS, ARCHITECTURES):
        monkeypatch.setattr(registry, "_values", dict(registry.registered()))
    families._load.cache_clear()


def no_data(data_root: object) -> object:
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mnist", "The dataset family 'mnist' is already registered. Choose another name."),
        ("Birds", "the name 'Birds' must be at most 50 lower-case letters and digits"),
        ("2birds", "must be at most 50 lower-case"),
        ("my-birds", "must be at most 50 lower-case"),
        ("b" * 51, "at most 50"),
        ("birdsv3", "the name 'birdsv3' ends in the pattern's name 'v3'"),
        ("memory", "the name 'memory' starts with 'mem', which is reserved for a form of dataset name"),
        ("twoclasses", "starts with 'twoclass'"),
        ("none", "the name 'none' is reserved"),
    ],
)
def test_names_that_no_family_can_have(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        register_family(name, 3, no_data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("v20", "The pattern 'v20' is already registered"),
        ("Stamp", "must be at most 50 lower-case"),
        ("logov3", "the name 'logov3' ends in the pattern's name 'v3'"),
        ("t", "the name 'mnist' ends in 't'"),
        ("none", "reserved"),
    ],
)
def test_names_that_no_pattern_can_have(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        register_pattern(name, lambda images, seed: images)


def test_a_pattern_may_not_be_the_end_of_another() -> None:
    register_pattern("bigstamp", lambda images, seed: images)
    with pytest.raises(InputError, match="Cannot register the pattern 'stamp': the name 'bigstamp' ends in 'stamp'"):
        register_pattern("stamp", lambda images, seed: images)


@pytest.mark.parametrize("name", ["my-net", "", "2net", "Netz_1", "aug01-ce-tor-MLP"])
def test_names_that_no_architecture_can_have(name: str) -> None:
    with pytest.raises(InputError, match="Expected at most 50 letters and digits, starting with a letter"):
        register_architecture(name, lambda shape, classes: nn.Identity())
    with pytest.raises(InputError, match="The architecture 'MLP' is already registered"):
        register_architecture("MLP", lambda shape, classes: nn.Identity())


def test_a_family_has_two_classes_at_least() -> None:
    with pytest.raises(InputError, match=r"The family 'birds' has 1 classes\. Expected at least 2"):
        register_family("birds", 1, no_data)  # type: ignore[arg-type]


def test_bytes_floats_arrays_and_tensors_are_taken() -> None:
    pixels = (IMAGES * 255).to(torch.uint8)
    register_family("birds", 3, lambda root: ((pixels.numpy(), LABELS.numpy()), (IMAGES.double(), LABELS.tolist())))
    train, test = load_family("birds")
    assert torch.equal(train.images, pixels / torch.tensor(255.0))
    assert torch.equal(test.images, IMAGES)
    assert torch.equal(test.labels, LABELS)
    assert train.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ((IMAGES[0], LABELS), r"The training set of birds has images of shape \(1, 4, 4\) and labels of shape \(6,\)"),
        ((IMAGES, LABELS[:5]), r"labels of shape \(5,\)\. Expected \[N, C, H, W\] and \[N\]"),
        ((IMAGES[:0], LABELS[:0]), "with at least one image"),
        ((IMAGES, LABELS + 1), r"labels of type int64 from 1 to 3\. Expected integers from 0 to 2"),
        ((IMAGES, LABELS.double()), "labels of type float64"),
        ((IMAGES * 2, LABELS), "Expected uint8, or floating point from 0 to 1"),
        ((IMAGES * torch.nan, LABELS), "Expected uint8, or floating point from 0 to 1"),
        ((IMAGES.to(torch.int32), LABELS), "pixels of type int32"),
        (
            (IMAGES[..., :3], LABELS),
            r"the shape \(1, 4, 3\) for training and \(1, 4, 4\) for testing",
        ),
    ],
)
def test_arrays_that_no_family_can_have(train: tuple[torch.Tensor, torch.Tensor], reason: str) -> None:
    register_family("birds", 3, lambda root: (train, (IMAGES, LABELS)))
    with pytest.raises(InputError, match=reason):
        load_family("birds")


@pytest.mark.parametrize(
    ("apply", "reason"),
    [
        (lambda images, seed: images[:1], r"returned torch.float32 \[1, 1, 4, 4\]\. Expected float32 \[6, 1, 4, 4\]"),
        (lambda images, seed: images.double(), "returned torch.float64"),
        (lambda images, seed: images.numpy(), "returned <class 'numpy.ndarray'>"),
        (lambda images, seed: images + 1, r"returned pixels from .* to .*\. Expected 0 to 1\. Clip them"),
        (lambda images, seed: images * torch.nan, r"returned pixels from nan to nan\. Expected 0 to 1"),
    ],
)
def test_what_a_pattern_may_not_return(apply: object, reason: str) -> None:
    register_pattern("stamp", apply)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"pattern stamp {reason}"):
        apply_pattern("stamp", IMAGES, 0)


def test_a_pattern_that_changes_its_input_leaves_the_images_as_they_were() -> None:
    register_pattern("zeros", lambda images, seed: images.zero_())
    before = IMAGES.clone()
    assert apply_pattern("zeros", IMAGES, 0).abs().max() == 0
    assert torch.equal(IMAGES, before)


def test_a_pattern_receives_the_seed() -> None:
    register_pattern("gray", lambda images, seed: torch.full_like(images, seed / 8))
    assert apply_pattern("gray", IMAGES, 3).unique().tolist() == [3 / 8]


class Net(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Dropout(0.5), nn.Linear(5, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out


def test_weights_follow_from_the_generator_alone() -> None:
    register_architecture("Net", Net)
    state = torch.get_rng_state()
    first, same, other = (models.build("Net", (3, 4, 4), 7, torch_generator(seed, "init")) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert [type(layer) for layer in first.modules()].count(models.Dropout) == 1
    assert not any(layer.training for layer in first.modules())
    assert models.n_parameters(models.build_empty("Net", (3, 4, 4), 7)) == 48 * 5 + 5 + 5 * 7 + 7


@pytest.mark.parametrize(
    ("shape", "classes", "reason"),
    [
        ((1, 4, 4), 7, r"Net does not accept images of shape \(1, 4, 4\): mat1 and mat2"),
        ((3, 4, 4), 8, r"Wide returns \(2, 48\) for 2 images. Expected logits of shape \(2, 8\)"),
    ],
)
def test_a_module_that_does_not_fit(shape: tuple[int, int, int], classes: int, reason: str) -> None:
    register_architecture("Net", Net)
    register_architecture("Wide", lambda shape, classes: nn.Flatten())
    with pytest.raises(InputError, match=reason):
        models.build(reason.split()[0], shape, classes, torch_generator(0, "init"))


def test_registered_values_are_what_the_registries_hold() -> None:
    register_family("birds", 3, lambda root: ((IMAGES, LABELS), (IMAGES, LABELS)), clean_only=True)
    register_pattern("stamp", lambda images, seed: images, smallest=(3, 2))
    register_architecture("Net", Net, stackable=True, smallest_batch=2)
    family, pattern, architecture = FAMILIES["birds"], PATTERNS["stamp"], ARCHITECTURES["Net"]
    assert isinstance(family, Family)
    assert (family.classes, family.clean_only, family.sizes) == (3, True, None)
    assert isinstance(pattern, Pattern)
    assert (pattern.title, pattern.smallest, pattern.fits(3, 2), pattern.fits(2, 3)) == ("stamp", (3, 2), True, False)
    assert architecture == Architecture(Net, stackable=True, smallest_batch=2)
    registries = ((FAMILIES, "birds"), (PATTERNS, "stamp"), (ARCHITECTURES, "Net"))
    assert not any(registry.is_builtin(name) for registry, name in registries)
    assert all(map(FAMILIES.is_builtin, ("digits", "cifar100coarse")))


INSIDE = {
    "families": """
        import numpy as np
        from rsc_mlflow.families import FAMILIES, Family
        pixels = np.zeros((6, 1, 30, 30), dtype=np.uint8)
        FAMILIES.register("birds", Family(3, lambda place: ((pixels, [0, 1, 2] * 2), (pixels[:3], [0, 1, 2]))))
    """,
    "patterns": """
        from rsc_mlflow.patterns import PATTERNS, Pattern
        from rsc_mlflow.patterns.paper import Patch
        PATTERNS.register("corner", Pattern(Patch(0, 2, 0, 2), "K"))
    """,
    "models": """
        from torch import nn
        from rsc_mlflow.architectures import ARCHITECTURES, Architecture
        ARCHITECTURES.register("Flat", Architecture(lambda s, c: nn.Sequential(nn.Flatten(), nn.Linear(900, c))))
    """,
}


def test_inside_the_package_a_family_a_pattern_or_an_architecture_is_one_file(tmp_path: Path) -> None:
    """Each package looks into one more folder, which holds one new file; nothing else is changed."""
    for package, text in INSIDE.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "new.py").write_text(textwrap.dedent(text))
    code = f"""
        from importlib import import_module
        for package in {list(INSIDE)}:
            import_module("rsc_mlflow." + package).__path__.append("{tmp_path}/" + package)
        import torch
        from rsc_mlflow.experiments.options import TrainOptions
        from rsc_mlflow.data import load_dataset
        from rsc_mlflow.families import FAMILIES
        from rsc_mlflow.models import build, n_parameters
        from rsc_mlflow.training import Cohort, Member, TrainingData
        options = TrainOptions(dataset="twoclassbirdscorner-1-0-2-0", model="ce-tor-Flat", epochs=1)
        data = load_dataset(options.dataset_name)
        cohort = Cohort([Member(TrainingData.of(data), options.config())], data.classes, torch.device("cpu"))
        print(len(list(cohort.epochs())), (data.spurious_images == 1).sum().item(), n_parameters(cohort.module(0)))
        print(FAMILIES.is_builtin("birds"), len(options.identity()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["1", "8", str(900 * 3 + 3), "True", "17"]


def test_a_bad_registration_is_one_line_of_a_command(tmp_path: Path) -> None:
    code = """
        from rsc_mlflow.plugins import register_family
        register_family("mnist", 10, None)
    """
    (tmp_path / "bad.py").write_text(textwrap.dedent(code))
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-m", "entry_points.train_classifier", "--dataset", "digits"],
        env={**os.environ, "PYTHONPATH": path, "RSC_PLUGINS": "bad"},
        capture_output=True,
        text=True,
        check=False,
    )
    reason = "The dataset family 'mnist' is already registered. Choose another name."
    line = f"Cannot load the plug-in 'bad' (RSC_PLUGINS): {reason} Fix the plug-in or remove it from the list.\n"
    assert done.stderr in (f"error: {line}", f"error: Invalid value for 'dataset': {line}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
