"""Tables as text, CSV and LaTeX; sizes of figures on paper; what is said where something cannot be exported."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboards.downloads import size_named
from dashboards.export import Size, image_bytes, latex_table, open_panels, sized
from dashboards.tables import digits, shown_columns
from rsc_mlflow.errors import InputError

TABLE = pd.DataFrame(
    {
        "paper": ["S1", "R3_100%"],
        "n_spurious": [3.0, 1000.0],
        "mean": [-0.25, np.nan],
        "each": [(0.1, 0.25), ()],
        "failed": [0, 0],
        "links": ["1:a", "1:b,1:c"],
    }
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (70.0, "70"),
        (-1234567.0, "-1,234,567"),
        (0.9, "0.9000"),
        (0.123456, "0.1235"),
        (-0.0060712, "-0.0061"),
        (-0.00032, "-3.2e-4"),
        (-12.3456, "-12.35"),
        (4321.678, "4,322"),
        (0.99999, "1.0000"),
        (9.99999, "10.00"),
        (0.00001234, "1.2e-5"),
        (12345678.9, "1.2e+7"),
        (float("nan"), ""),
        (float("inf"), "∞"),
    ],
)
def test_one_rule_for_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_a_table_in_latex_has_the_rules_of_booktabs_and_no_links() -> None:
    assert latex_table(TABLE, caption="Scores & more", label="tab:scores") == "\n".join(
        (
            r"\begin{table}",
            r"\centering",
            r"\caption{Scores \& more}",
            r"\label{tab:scores}",
            r"\begin{tabular}{lrrl}",
            r"\toprule",
            r"pattern & examples & mean & single seeds \\",
            r"\midrule",
            r"S1 & 3 & $-0.2500$ & 0.1000, 0.2500 \\",
            r"R3\_100\% & 1,000 &  &  \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_latex_compiles(tmp_path: Path) -> None:
    table = latex_table(TABLE, caption="Scores")
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "table.tex").write_text(f"{head}\n{table}\n\\end{{document}}\n")
    subprocess.run(["pdflatex", "-interaction=batchmode", "-halt-on-error", "table.tex"], cwd=tmp_path, check=True)


def test_columns_of_what_was_left_out_stand_only_where_something_was() -> None:
    assert shown_columns(TABLE) == ["paper", "n_spurious", "mean", "each", "links"]
    assert "failed" in shown_columns(TABLE.assign(failed=[0, 2]))


def test_a_figure_keeps_its_proportions_at_another_size() -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[1], marker={"size": 9}), layout={"font": {"size": 13}})
    made = sized(figure, Size(8.5, 6.0, 7.8))
    assert (made.layout.width, made.layout.height) == (321, 227)
    assert made.layout.font.size * 0.75 == pytest.approx(7.8)  # 96 pixels and 72 points an inch
    assert made.data[0].marker.size / made.layout.font.size == pytest.approx(9 / 13)
    assert figure.data[0].marker.size == 9


def test_sizes_are_named_or_given() -> None:
    assert size_named("column") == Size(8.5, 6.0, 7.0)
    assert size_named("12x8.5") == Size(12, 8.5)
    with pytest.raises(InputError, match=r"Invalid value for 'size': 'huge'. Expected column, page, or WIDTHxHEIGHT"):
        size_named("huge")
    with pytest.raises(InputError, match=r"WIDTHxHEIGHT in centimeters from 3 to 100"):
        size_named("1e9x3")
    with pytest.raises(InputError, match="Invalid image format: 'gif'"):
        image_bytes(go.Figure(), "gif")


def test_without_a_browser_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RSC_CHROMIUM", raising=False)
    with pytest.raises(InputError, match=r"needs Chromium or Chrome\. Install it .* or set RSC_CHROMIUM"):
        image_bytes(go.Figure())


def test_a_store_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(InputError, match=r"postgresql://ann:\*\*\*@127.0.0.1:9/runs does not answer") as refused:
        open_panels("postgresql://ann:secret@127.0.0.1:9/runs", "scores")
    assert "secret" not in str(refused.value)
