"""The report: one file that needs nothing else, for a thousand runs under 10 MB."""

import json
import re
from pathlib import Path

import pypdf
import pytest
from mlflow import MlflowClient

from benchmarks.browser import found
from benchmarks.filling import fill_store
from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.tracking import schema
from tests.dashboards.frames import made_up


def _run(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name("rsc")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id])[0].info.run_id


def test_a_thousand_runs_make_one_small_file_that_is_an_artifact(
    sqlite_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_store(sqlite_store, 1000, artifacts=(tmp_path / "files").as_uri())
    assert status(entry_point("report"), ["--output", "out.html"]) == 0
    page = (tmp_path / "out.html").read_text()
    assert len(page.encode()) < 10_000_000
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # without plotly.js, which mentions addresses
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", own)
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert len(figures) > 20
    assert all(figure["data"] for figure in figures)
    client = MlflowClient(sqlite_store)
    run_id = _run(client)
    assert client.get_run(run_id).data.tags["rsc.kind"] == "report"
    assert "report" in schema.KINDS
    assert Path(client.download_artifacts(run_id, "report.html")).read_text() == page
    assert run_id in capsys.readouterr().out


def test_an_empty_store_makes_a_report_that_says_so(sqlite_store: str, tmp_path: Path) -> None:
    assert status(entry_point("report"), []) == 0
    assert not list(tmp_path.glob("*.html"))
    MlflowClient(sqlite_store).delete_run(_run(MlflowClient(sqlite_store)))
    assert status(entry_point("report"), ["--output", "out.html"]) == 0
    assert "No runs yet. Create some with:" in (tmp_path / "out.html").read_text()


def test_names_cannot_bring_html_into_the_report(sqlite_store: str, tmp_path: Path) -> None:
    client = MlflowClient(sqlite_store)
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    run = client.create_run("0", run_name=evil, tags={"rsc.kind": evil, "rsc.error": evil})
    client.log_param(run.info.run_id, "architecture", evil)
    client.set_terminated(run.info.run_id, "FAILED")
    assert status(entry_point("report"), ["--output", "out.html"]) == 0
    page = (tmp_path / "out.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_a_bad_filter_ends_with_one_line(sqlite_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(entry_point("report"), ["--filter", "params.x ="]) == 2
    assert capsys.readouterr().err.startswith("error: Invalid MLflow filter 'params.x ='")


def test_a_store_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert status(entry_point("report"), []) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: No server answers at http://127.0.0.1:9. Start the server")


@pytest.mark.usefixtures("sqlite_store")
def test_a_folder_that_goes_away_while_the_report_is_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("entry_points.report._writable", lambda path: path)
    assert status(entry_point("report"), ["--output", "gone/out.html"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines == [
        "error: Cannot write 'gone/out.html' (No such file or directory). "
        "Expected a file in an existing, writable folder, or none."
    ]


@pytest.mark.usefixtures("sqlite_store")
def test_a_name_that_is_too_long_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(entry_point("report"), ["--output", "x" * 300]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Expected a file in an existing, writable folder, or none.")


def test_made_up_runs_are_always_the_same() -> None:
    assert made_up(50).equals(made_up(50))


def test_runs_that_are_named_stand_beside_each_other(sqlite_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    runs = fill_store(sqlite_store, 101)
    chosen = MlflowClient(sqlite_store).get_run(runs[3]).info.run_name
    assert status(entry_point("report"), ["--output", "out.html"]) == 0
    assert 'id="compare"' not in Path("out.html").read_text()
    assert status(entry_point("report"), ["--output", "out.html", "--compare", f"{runs[3]}, {runs[4]}"]) == 0
    page = Path("out.html").read_text()
    section = page[page.index('id="compare"') :]
    assert f"{chosen} ({runs[3][:6]})" in section
    assert "One row per run. Parameters and metrics that are equal in all runs are left out." in section
    capsys.readouterr()
    assert status(entry_point("report"), ["--compare", ",".join(runs)]) == 2
    assert "'compare': 101 runs. Expected at most 100" in capsys.readouterr().err
    assert status(entry_point("report"), ["--compare", runs[3], "--filter", "attributes.run_id = 'another'"]) == 2
    assert f"'compare': '{runs[3]}'. Expected ids of runs that match the filters" in capsys.readouterr().err


@pytest.mark.skipif(found() is None, reason="needs Debian's chromium and chromium-driver")
def test_every_figure_and_table_is_exported(sqlite_store: str, tmp_path: Path) -> None:
    client = MlflowClient(sqlite_store)
    run = client.create_run("0", run_name="a run", tags={"rsc.kind": "train"})
    client.set_terminated(run.info.run_id)
    assert status(entry_point("report"), ["--export", "paper", "--size", "8x6"]) == 0
    names = {path.name for path in (tmp_path / "paper").iterdir()}
    assert {"overview-runs-1.pdf", "overview-runs-1.svg", "overview-newest.csv", "overview-newest.tex"} <= names
    page = pypdf.PdfReader(tmp_path / "paper" / "overview-runs-1.pdf").pages[0]
    assert float(page.mediabox.width) * 2.54 / 72 == pytest.approx(8, abs=0.05)
    assert "train" in page.extract_text()
    assert "a run" in (tmp_path / "paper" / "overview-newest.tex").read_text()
