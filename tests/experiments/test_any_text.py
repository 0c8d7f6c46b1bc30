"""Whatever is typed for an option: it becomes a value that prints as something read back as the same value, or it is
refused in words that name the option."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entry_points.commands import entry_point, programs
from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import Options
from rsc_mlflow.tracking.values import param_text

PROGRAMS = programs(generic=False)

CLASSES: list[type[Options]] = list(dict.fromkeys(entry_point(name).options_class for name in PROGRAMS))
OPTIONS = [field for options in CLASSES for field in dataclasses.fields(options)]
"""Every option of every entry point."""

DEFAULTS = sorted({param_text(field.default) for field in OPTIONS if field.default is not dataclasses.MISSING})
WORDS = ("mnistv20-3-0-0", "memdigits", "ce-tor-MLP", "models:/a@b", "runs:/0/model", "true", "auto,cpu", *DEFAULTS)

numbers = (
    st.integers().map(str)
    | st.floats().map(repr)
    | st.floats(allow_nan=False).map(param_text)
    | st.from_regex(r"\A[-+]?[0-9_]{1,6}(\.[0-9]{0,4})?([eE][-+]?[0-9]{1,3})?\Z")
)
any_text = st.text() | numbers | st.sampled_from(WORDS) | st.text(st.characters(max_codepoint=127), max_size=12)


def outcome(read: Callable[[], Any]) -> tuple[Any, str]:
    """What was read, or why it was refused."""
    try:
        return read(), ""
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("field", OPTIONS, ids=lambda field: field.name)
@settings(max_examples=60, deadline=None)
@given(typed=any_text | st.tuples(st.sampled_from(WORDS), st.text(max_size=2)).map("".join))
def test_any_text_is_read_back_from_its_own_print_or_refused(field: "dataclasses.Field[Any]", typed: str) -> None:
    parse = field.metadata["parse"]
    value, refusal = outcome(lambda: parse(field.name, typed))
    if refusal:
        assert refusal.startswith(f"Invalid value for '{field.name}': ")
        assert any(words in refusal for words in ("Expected", "must differ")), refusal
    else:
        assert parse(field.name, param_text(value)) == value
        assert not isinstance(value, float) or math.isfinite(value)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([field.name for field in OPTIONS]) | st.text(max_size=8), any_text, max_size=4))
def test_any_mapping_is_options_or_refused(values: dict[str, str]) -> None:
    for options_class in CLASSES:
        options, refusal = outcome(partial(options_class.from_mapping, values))
        if not refusal:
            assert options_class.from_mapping(options.as_params()) == options


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_printed_exactly(value: float) -> None:
    assert float(param_text(value)) == value
