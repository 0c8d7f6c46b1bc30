import math
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.values import (
    check_metric_name,
    check_param,
    check_tag,
    number,
    param_text,
    same_value,
    unquoted,
    whole,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (None, "none"), (0.01, "0.01"), (1e-5, "1e-05"), (1 / 3, repr(1 / 3)), (70, "70"), ("a b", "a b")],
)
def test_params_are_written_as_one_types_them(value: object, text: str) -> None:
    assert param_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_survives_its_text(value: float) -> None:
    assert float(param_text(value)) == value


@given(st.text())
def test_shell_quotes_of_mlflow_run_come_off(text: str) -> None:
    quoted = shlex.quote(text)
    if quoted != text:
        assert unquoted(quoted) == text


@pytest.mark.parametrize("text", ["mnistv20-3-0-0", "", "'", "'a' 'b'", '"open', "it's"])
def test_what_is_not_one_quoted_word_stays(text: str) -> None:
    assert unquoted(text) == text


@pytest.mark.parametrize(
    ("stored", "given", "same"),
    [
        ("0.010", 0.01, True),
        ("1", 1.0, True),
        ("'x y'", "x y", True),
        ("true", True, True),
        ("none", None, True),
        ("1", True, False),
        ("0.1", 0.11, False),
        ("adam", "sgd", False),
        ("nan", float("nan"), True),
        ("True", True, True),
        ("FALSE", False, True),
        ("9007199254740993", 9007199254740992, False),
        ("9007199254740993", 9007199254740993, True),
        ("1e16", 10**16, True),
        ("inf", "1e999", False),
        ("0.1, 0,1e-3", "0,0.001,0.1", True),
        ("0.1,0", "0.1,1", False),
        ("shadow,loss", "loss,shadow", False),
    ],
)
def test_same_value(stored: str, given: object, same: bool) -> None:
    assert same_value(stored, given) is same


def _mlflow_accepts(name: str) -> bool:
    try:
        _validate_metric_name(name)
    except MlflowException:
        return False
    return True


def _accepts(name: str) -> bool:
    try:
        check_metric_name(name)
    except ValueError:
        return False
    return True


@given(st.text(alphabet="aZ0_-. :/\\@[]=,%é\n", max_size=12))
def test_no_metric_name_passes_that_mlflow_refuses(name: str) -> None:
    assert not _accepts(name) or _mlflow_accepts(name)


@pytest.mark.parametrize("name", ["train/loss", "attack/lira/tpr_at_fpr_0.001", "reference/v20/score_target_3"])
def test_the_names_of_the_contract_pass(name: str) -> None:
    assert _accepts(name)
    assert _mlflow_accepts(name)


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/../b", "a/", ".", "x" * 251, "a@b", "é"])
def test_bad_names(name: str) -> None:
    assert not _accepts(name)


def test_lengths_are_checked_before_anything_is_sent() -> None:
    check_param("a", "x" * 6000)
    check_tag("a", "x" * 8000)
    with pytest.raises(InputError, match=r"6001 characters\. Expected at most 6000"):
        check_param("a", "x" * 6001)
    with pytest.raises(InputError, match="at most 8000"):
        check_tag("a", "x" * 8001)
    with pytest.raises(InputError, match=r"Invalid tag 'a': '\\ud800'\. Expected text that can be encoded as UTF-8"):
        check_tag("a", "\ud800")
    with pytest.raises(InputError, match="not a valid parameter name"):
        check_param("a=b", "1")


ODD: tuple[object, ...] = ("", "inf", "-Infinity", "nan", "1e999", "three", "1,5", None, [], 10**400)


@pytest.mark.parametrize(
    ("text", "value", "count"),
    [
        ("3", 3.0, 3),
        (" 3.0 ", 3.0, 3),
        (2, 2.0, 2),
        ("0.5", 0.5, None),
        ("9007199254740993", 9007199254740992.0, 9007199254740993),
        *((odd, None, None) for odd in ODD),
    ],
)
def test_numbers_out_of_whatever_was_stored(text: object, value: float | None, count: int | None) -> None:
    assert number(text) == value
    assert whole(text) == count


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.binary()))
def test_no_stored_text_raises(text: object) -> None:
    value, count = number(text), whole(text)
    assert value is None or math.isfinite(value)
    assert count is None or float(count) == value
