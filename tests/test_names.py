"""Names: what is printed parses back, and what is no name is refused with the reason."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc_mlflow.architectures import ARCHITECTURES
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import (
    AUGMENTATIONS,
    DatasetName,
    ModelName,
    device_name,
    form_of,
)
from rsc_mlflow.patterns import PATTERNS

PATTERNED = sorted(name for name, family in FAMILIES.registered().items() if not family.clean_only)
NUMBERS = st.integers(0, 2**32 - 1)
CLASS_PAIRS = st.lists(st.integers(0, 9), min_size=2, max_size=2, unique=True)

dataset_names = st.one_of(
    st.builds(DatasetName, st.sampled_from(sorted(FAMILIES.registered()))),
    st.builds(DatasetName, st.sampled_from(PATTERNED), quarters=st.just(True)),
    st.builds(
        DatasetName,
        st.sampled_from(PATTERNED),
        st.sampled_from(sorted(PATTERNS.registered())),
        NUMBERS,
        st.integers(0, 9).map(lambda target: (target,)),
        NUMBERS,
        st.booleans(),
    ),
    st.builds(
        DatasetName,
        st.sampled_from(PATTERNED),
        st.sampled_from(sorted(PATTERNS.registered())),
        NUMBERS,
        CLASS_PAIRS.map(tuple),
        NUMBERS,
    ),
)
model_names = st.builds(
    ModelName,
    st.sampled_from(sorted(ARCHITECTURES)),
    st.just("ce"),
    st.sampled_from([None, *AUGMENTATIONS]),
)


@settings(deadline=None)
@given(dataset_names)
def test_dataset_name_round_trips(name: DatasetName) -> None:
    assert DatasetName.parse(str(name)) == name


@settings(deadline=None)
@given(model_names)
def test_model_name_round_trips(name: ModelName) -> None:
    assert ModelName.parse(str(name)) == name


@settings(deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"(mem|twoclass)?(mnist|cifar100)v?[0-9]{0,2}(-[0-9]{1,3}){0,5}"))
def test_any_text_is_a_name_that_prints_as_itself_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert str(DatasetName.parse(text)) == text


@settings(deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"(aug0[12]-)?(ce|mse)?-tor-(MLP|LargeMLPv2|altResNet20Norm02|GPT)?-?"))
def test_any_text_is_a_model_that_prints_as_itself_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert str(ModelName.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mnist", DatasetName("mnist")),
        ("cifar10v8-3-0-0", DatasetName("cifar10", "v8", 3, (0,), 0)),
        ("twoclassmnistv3-20-0-1-0", DatasetName("mnist", "v3", 20, (0, 1), 0)),
        ("memfashionv20-10-0-3", DatasetName("fashion", "v20", 10, (0,), 3, quarters=True)),
        ("memdigits", DatasetName("digits", quarters=True)),
        ("cifar100coarse", DatasetName("cifar100coarse")),
    ],
)
def test_the_examples_of_the_contract(text: str, expected: DatasetName) -> None:
    assert DatasetName.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a valid dataset name"),
        ("imagenet", "Unknown dataset family 'imagenet'. Expected one of"),
        ("svhnv3-1-0-0", "Unknown dataset family 'svhn' in 'svhnv3-1-0-0'"),
        ("mnistv99-3-0-0", "Unknown pattern 'v99' in 'mnistv99-3-0-0'"),
        ("mnistv20", "is not a valid dataset name"),
        ("mnistv20-3-10-0", "Target class 10 is out of range for mnist. Expected 0 to 9"),
        ("mnistv20--3-0-0", "is not a valid dataset name"),
        ("mnistv20-03-0-0", "is not a valid dataset name"),
        ("mnistv20-3-0-4294967296", "seed 4294967296 is out of range"),
        ("mnistv20-3-0-0\n", "is not a valid dataset name"),
        ("Mnist", "is not a valid dataset name"),
        ("twoclassmnistv3-1-4-4-0", "must differ, got 4 twice"),
        ("twoclassmnist", "is not a valid dataset name"),
        ("cifar100v3-1-0-0", "in the clean form only"),
        ("memcifar100coarse", "in the clean form only"),
        ("mnistv20-3-0-0-0", "is not a valid dataset name"),
    ],
)
def test_what_is_no_dataset_name(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        DatasetName.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a valid model name"),
        ("ce-tor-GPT", "Unknown architecture 'GPT'"),
        ("mae-tor-MLP", "Unknown loss 'mae'"),
        ("aug99-ce-tor-MLP", "Unknown augmentation 'aug99'"),
        ("LargeMLP", "is not a valid model name"),
        ("ce-tf-MLP", "is not a valid model name"),
    ],
)
def test_what_is_no_model_name(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ModelName.parse(text)


def test_what_follows_from_a_name() -> None:
    two = DatasetName.parse("twoclassmnistv3-20-4-1-7")
    assert (two.n_spurious, two.target, two.classes) == (40, 4, 10)
    assert two.clean() == DatasetName("mnist")
    assert str(DatasetName.parse("memmnistv3-20-4-1").clean()) == "memmnist"
    clean = DatasetName.parse("cifar100coarse")
    assert (clean.n_spurious, clean.target, clean.classes) == (0, None, 20)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"family": "svhn"}, r"Unknown dataset family 'svhn'\. Expected one of: cifar10"),
        ({"family": "mnist", "count": 3}, "takes no count, target or seed"),
        ({"family": "mnist", "pattern": "v2", "targets": (0,)}, "Unknown pattern 'v2'"),
        ({"family": "mnist", "pattern": "v3"}, "needs one target class"),
        ({"family": "mnist", "pattern": "v3", "targets": (0, 1), "quarters": True}, "needs one target class"),
        ({"family": "mnist", "pattern": "v3", "targets": (0,), "count": -1}, "count -1 is out of range"),
        ({"family": "mnist", "pattern": "v3", "targets": (0,), "seed": 2**32}, "seed 4294967296 is out of range"),
    ],
)
def test_values_that_no_name_could_have(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        DatasetName(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:15"])
def test_devices_that_some_machine_has(name: str) -> None:
    assert device_name(name) == name


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:٣", "cuda:12345"])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(InputError, match=r"is not a valid device\. Expected auto, cpu, cuda or cuda:INDEX"):
        device_name(name)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("mnist", "one class"),
        ("digitsv20-3-0-0", "one class"),
        ("twoclassmnistv3-20-0-1-0", "two classes"),
        ("memfashion", "quarters"),
        ("memfashionv20-10-0-3", "quarters"),
        ("", "one class"),
    ],
)
def test_the_form_of_a_name(name: str, form: str) -> None:
    assert form_of(name) == form
