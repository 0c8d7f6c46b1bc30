"""Every architecture: its shape by hand count, its weights by their statistics, its randomness by its generator."""

import itertools
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

from rsc_mlflow.architectures import ARCHITECTURES
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build, build_empty, n_parameters, stackable
from rsc_mlflow.models.dropout import Dropout
from rsc_mlflow.rng import torch_generator

GRAY, COLOR = (1, 28, 28), (3, 32, 32)
LIGHT = [a for a in ARCHITECTURES if not a.startswith(("Vgg", "ResNet"))]


def new(architecture: str, seed: int = 0, shape: tuple[int, int, int] | None = None, classes: int = 10) -> nn.Module:
    shape = shape or (GRAY if architecture == "CNN002" else COLOR)
    return build(architecture, shape, classes, torch_generator(seed, "init"))


def dense(*widths: int) -> int:
    """Weights and biases of a chain of linear layers."""
    return sum(a * b + b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize(
    ("architecture", "hidden"),
    [
        ("MLP", (256,)),
        ("MLPv2", (256, 256)),
        ("LargeMLP", (256, 256, 256)),
        ("LargeMLPv2", (512, 512, 512)),
        ("VggMLP", (4096, 4096)),
    ],
)
def test_mlps_have_the_hidden_layers_of_the_contract(architecture: str, hidden: tuple[int, ...]) -> None:
    model = build_empty(architecture, GRAY, 10)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [*hidden, 10]
    assert n_parameters(model) == dense(784, *hidden, 10)


def test_cnn002_parameters_by_hand_count() -> None:
    convolutions = (9 * 1 * 32 + 32) + (9 * 32 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64)
    assert convolutions == 320 + 9248 + 18496 + 36928
    # 28 → 26 → 24 → 12 → 10 → 8 → 4: 64 maps of 4×4 are the 1024 of the contract.
    assert n_parameters(new("CNN002")) == convolutions + dense(1024, 200, 200, 10) == 312_202


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.27"), (32, "0.46"), (110, "1.7")])
def test_resnets_have_as_many_parameters_as_in_table_6_of_he_et_al(depth: int, millions: str) -> None:
    count = n_parameters(build_empty(f"altResNet{depth}", COLOR, 10))
    assert f"{count / 1e6:.{len(millions) - 2}f}" == millions


@pytest.mark.parametrize(("depth", "blocks"), [(20, 3), (32, 5), (110, 18)])
def test_resnet_parameters_by_hand_count(depth: int, blocks: int) -> None:
    def stage(inputs: int, outputs: int) -> int:
        convolutions = 9 * inputs * outputs + (2 * blocks - 1) * 9 * outputs * outputs
        return convolutions + 2 * blocks * 2 * outputs  # scale and shift of each batch norm

    expected = 9 * 3 * 16 + 2 * 16 + stage(16, 16) + stage(16, 32) + stage(32, 64) + dense(64, 10)
    assert n_parameters(build_empty(f"altResNet{depth}", COLOR, 10)) == expected
    assert depth == 6 * blocks + 2


def test_shortcuts_hold_no_weights_and_subsample() -> None:
    model = new("altResNet20")
    block = model.get_submodule("stage2.block1")
    with torch.no_grad():
        block.get_parameter("norm2.weight").zero_()  # only the shortcut is left
        x = torch.rand(2, 16, 8, 8, generator=torch_generator(0, "x"))
        out = block(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@pytest.mark.parametrize("architecture", ["Vgg16", "ResNet18", "ResNet50"])
def test_torchvision_models_have_torchvisions_structure(architecture: str) -> None:
    constructor = {
        "Vgg16": torchvision.models.vgg16,
        "ResNet18": torchvision.models.resnet18,
        "ResNet50": torchvision.models.resnet50,
    }[architecture]
    with torch.device("meta"):
        theirs = constructor(weights=None, num_classes=10)
    ours = build_empty(architecture, COLOR, 10)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    kinds = [type(m).__name__ for m in theirs.modules()]
    assert [type(m).__name__ for m in ours.modules()] == kinds
    assert not any(isinstance(m, nn.Dropout) for m in ours.modules())


def test_a_torchvision_model_computes_what_torchvisions_computes() -> None:
    ours, theirs = new("ResNet18"), torchvision.models.resnet18(weights=None, num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(3, *COLOR, generator=torch_generator(0, "x"))
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("architecture", LIGHT)
def test_logits_have_the_contracts_form(architecture: str) -> None:
    shape = GRAY if architecture == "CNN002" else COLOR
    model = new(architecture, shape=shape, classes=7)
    with torch.no_grad():
        logits = model(torch.rand(5, *shape, generator=torch_generator(0, "x")))
    assert logits.shape == (5, 7)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("architecture", [*LIGHT, "ResNet18", "ResNet18Norm02"])
def test_weights_come_from_the_generator_alone(architecture: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = new(architecture).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = new(architecture).state_dict(), new(architecture, seed=1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def moments(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item()


def test_default_linear_layers_are_uniform_within_one_over_root_fan_in() -> None:
    weight = new("LargeMLP", shape=GRAY).state_dict()["hidden1.weight"]
    bound = 1 / math.sqrt(784)
    assert bound * 0.999 < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    reference = nn.Linear(784, 256).weight  # PyTorch's own draw has the same spread
    assert weight.std().item() == pytest.approx(reference.std().item(), rel=0.02)


def test_vggmlp_is_normal_with_deviation_one_hundredth_and_zero_biases() -> None:
    state = new("VggMLP", shape=GRAY).state_dict()
    for key, value in state.items():
        if key.endswith("bias"):
            assert not value.any()
        else:
            mean, deviation = moments(value)
            assert abs(mean) < 5 * 0.01 / math.sqrt(value.numel())
            assert deviation == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("architecture", ["CNN002", "altResNet32"])
def test_kaiming_normal_convolutions(architecture: str) -> None:
    for key, layer in new(architecture).named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            count = layer.weight.numel()
            mean, deviation = moments(layer.weight.detach())
            expected = math.sqrt(2 / fan_in)
            assert abs(mean) < 5 * expected / math.sqrt(count), key
            assert deviation == pytest.approx(expected, rel=5 / math.sqrt(2 * count)), key


def test_cnn002_has_zero_convolution_biases_and_drawn_ones_in_its_hidden_layers() -> None:
    """As the paper's code and TRADES' SmallCNN: ``nn.init.constant_(bias, 0)`` for convolutions alone."""
    state = new("CNN002").state_dict()
    biases = {key: value for key, value in state.items() if key.endswith("bias")}
    assert {key for key, value in biases.items() if not value.any()} == {
        *(f"conv{k}.bias" for k in (1, 2, 3, 4)),
        "output.bias",
    }
    assert set(biases) == {*(f"conv{k}.bias" for k in (1, 2, 3, 4)), "hidden1.bias", "hidden2.bias", "output.bias"}


def test_cnn002_begins_with_a_zero_output_layer() -> None:
    model = new("CNN002")
    with torch.no_grad():
        assert not model(torch.rand(3, *GRAY)).any()


def test_vgg_convolutions_are_kaiming_normal_by_fan_out() -> None:
    weight = new("Vgg16").state_dict()["features.12.weight"]  # [256, 256, 3, 3]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)


def test_norm02_normalizes_inside_and_shares_the_plain_weights() -> None:
    plain, normed = new("altResNet20"), new("altResNet20Norm02")
    assert {f"network.{key}" for key in plain.state_dict()} == set(normed.state_dict())
    x = torch.rand(4, *COLOR, generator=torch_generator(0, "x"))
    mean = torch.tensor([0.4914, 0.4822, 0.4465])
    std = torch.tensor([0.2023, 0.1994, 0.2010])
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    with torch.no_grad():
        assert torch.allclose(normed(x), plain(by_hand), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("architecture", ["ResNet18", "altResNet20", "LargeMLP"])
def test_grey_images_are_accepted_where_the_network_allows_it(architecture: str) -> None:
    with torch.no_grad():
        assert new(architecture, shape=GRAY)(torch.rand(2, *GRAY)).shape == (2, 10)


@pytest.mark.parametrize(("architecture", "weights"), [("Vgg16", 64 * 9), ("ResNet18", 64 * 49), ("ResNet50", 64 * 49)])
def test_torchvision_models_of_grey_images_lack_two_channels_of_the_first_convolution(
    architecture: str, weights: int
) -> None:
    gray, colored = (n_parameters(build_empty(architecture, (channels, 32, 32), 10)) for channels in (1, 3))
    assert colored - gray == 2 * weights


def test_a_model_without_classes_is_refused() -> None:
    with pytest.raises(InputError, match=r"Invalid value for 'classes': 0\. Expected an integer ≥ 1"):
        build_empty("MLP", GRAY, 0)


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        ("CNN002", COLOR, "28×28"),
        ("CNN002", (1, 28, 32), "28×28"),
        ("Vgg16", GRAY, "at least 32×32"),
        ("altResNet20Norm02", GRAY, "three color channels"),
        ("Vgg16Norm02", (1, 32, 32), "three color channels"),
        ("Transformer", GRAY, "Unknown architecture"),
        ("MLP", (28, 28), "image_shape"),
        ("MLP", (0, 28, 28), "image_shape"),
    ],
)
def test_a_wrong_match_is_a_clear_error(architecture: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(architecture, shape, 10, torch_generator(0, "init"))  # type: ignore[arg-type]


def test_only_plain_sequences_are_stackable() -> None:
    expected = {"MLP", "MLPv2", "LargeMLP", "LargeMLPv2", "VggMLP", "CNN002"}
    assert {a for a in ARCHITECTURES if stackable(a)} == expected


def test_torchvision_dropout_is_replaced() -> None:
    with torch.device("meta"):
        vgg = torchvision.models.vgg16(weights=None)
    ours = build_empty("Vgg16", COLOR, 10)
    theirs = [m.p for m in vgg.modules() if isinstance(m, nn.Dropout)]
    assert [m.p for m in ours.modules() if isinstance(m, Dropout)] == theirs == [0.5, 0.5]
