"""CSV files of runs: the same runs give the same bytes, files merge, and nothing is replaced unasked."""

import csv
import math
from pathlib import Path

import pytest

from results.runs import FINGERPRINT, LEADING, merged, number_text, read_rows, rows_text, to_frame, write_rows
from rsc_mlflow.errors import InputError
from tests.results.made_up import row

ROWS = [row(f"run{n}", {"spurious/score": 0.1 * n}, seed=n) for n in range(3)]


def test_order_of_rows_and_cells_changes_no_byte(tmp_path: Path) -> None:
    text = rows_text(ROWS)
    shuffled = [dict(reversed(list(one.items()))) for one in (ROWS[2], ROWS[0], ROWS[1])]
    assert rows_text(shuffled) == text
    write_rows(tmp_path / "a.csv", ROWS)
    assert (tmp_path / "a.csv").read_bytes() == text.encode()
    assert rows_text(read_rows(tmp_path / "a.csv")) == text
    table = list(csv.reader(text.splitlines()))
    assert tuple(table[0][: len(LEADING)]) == LEADING
    assert [line[table[0].index("params.dataset_seed")] for line in table[1:]] == ["0", "1", "2"]


def test_text_with_commas_quotes_and_line_ends_survives(tmp_path: Path) -> None:
    odd = row("odd", {}, tags={"rsc.note": 'a, "b"', "rsc.clean_scores": '{"0": 0.5, "1": 0.25}'})
    write_rows(tmp_path / "a.csv", [odd])
    assert read_rows(tmp_path / "a.csv") == [odd]


def test_a_merge_keeps_what_the_store_lacks_and_replaces_only_when_asked() -> None:
    new = [row("run1", {"spurious/score": 0.9}, seed=1), row("run3", {}, seed=3)]
    kept, replaced = (
        {one[FINGERPRINT]: one for one in merged(ROWS, new, replace=replace)} for replace in (False, True)
    )
    assert set(kept) == set(replaced) == {"run0-0-0", "run1-1-1", "run2-2-2", "run3-3-3"}
    assert float(kept["run1-1-1"]["metrics.spurious/score"]) == 0.1
    assert float(replaced["run1-1-1"]["metrics.spurious/score"]) == 0.9


@pytest.mark.parametrize("value", [0.1 + 0.2, 1 / 3, 1e-12, 2.5e9, 0.0, -0.125])
def test_numbers_have_nine_digits_and_read_back_as_themselves(value: float) -> None:
    text = number_text(value)
    assert math.isclose(float(text), value, rel_tol=1e-8)
    assert number_text(float(text)) == text


def test_a_frame_has_the_columns_and_types_of_a_search(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [*ROWS, row("clean", {"test/accuracy": 0.98}, pattern="none")])
    frame = to_frame(read_rows(tmp_path / "a.csv"))
    assert set(frame["status"]) == {"FINISHED"}
    assert frame["metrics.spurious/score"].dtype == frame["start_time"].dtype == float
    assert frame["metrics.spurious/score"].isna().sum() == 1
    assert frame["params.n_spurious"].tolist() == ["3"] * 4
    assert to_frame([]).empty


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="a\\.csv has no column tags\\.rsc\\.fingerprint"):
        read_rows(tmp_path / "a.csv")
