import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsc_mlflow.tracking.fingerprint import fingerprint

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def test_it_is_the_sha256_of_canonical_json_written_by_hand() -> None:
    text = '{"dataset":"mnist","epochs":70,"learning_rate":0.01,"list":[1,2.5,null,true]}'
    values = {"learning_rate": 0.010, "epochs": 70.0, "dataset": "mnist", "list": (1.0, 2.5, None, True)}
    assert fingerprint(values) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0.010, 0.01), (1e3, 1000), (0.0, -0.0), ([1], (1.0,))])
def test_numbers_count_by_value(one: object, other: object) -> None:
    assert fingerprint({"x": one}) == fingerprint({"x": other})


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, True), (0, False), (None, "none"), (0.1, 0.1 + 1e-17 * 4)])
def test_different_things_differ(one: object, other: object) -> None:
    assert (fingerprint({"x": one}) == fingerprint({"x": other})) == (one == other and type(one) is type(other))


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_the_order_of_keys_does_not_matter(values: dict[str, object]) -> None:
    assert fingerprint(values) == fingerprint(dict(reversed(values.items())))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_equal_nothing_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        fingerprint({"x": bad})


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": {1: 2}}, {"x": {1, 2}}])
def test_what_has_no_canonical_form_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        fingerprint(bad)


def test_every_process_gives_the_same() -> None:
    code = "from rsc_mlflow.tracking.fingerprint import fingerprint as f; print(f({'b': 1, 'a': {'y': 0.5, 'x': 'ü'}}))"
    command = [sys.executable, "-c", code]
    seen = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {fingerprint({"a": {"x": "ü", "y": 0.5}, "b": 1.0})}
