import json
from pathlib import Path

import pytest

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.artifacts import json_text, read_json

CONTENT = {"dataset": "mnistv20-3-0-0", "indices": [5, 1, 7], "nested": {"a": 0.1}}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json_text(CONTENT))
    assert read_json(file) == CONTENT


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    text = json_text(CONTENT)
    file = tmp_path / "spurious_indices.json"
    for length in range(len(text)):
        file.write_text(text[:length])
        with pytest.raises(InputError, match=r"spurious_indices\.json"):
            read_json(file)


@pytest.mark.parametrize("change", [{"indices": [5, 1, 8]}, {"more": 1}])
def test_a_change_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({**json.loads(json_text(CONTENT)), **change}))
    with pytest.raises(InputError, match="does not match its checksum"):
        read_json(file)


@pytest.mark.parametrize("text", ["[]", "{}", '{"a": 1}', "null"])
def test_json_without_checksum_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="no checksum"):
        read_json(tmp_path / "x.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        read_json(tmp_path / "x.json")


def test_the_name_of_the_checksum_is_taken() -> None:
    with pytest.raises(ValueError, match="sha256"):
        json_text({"sha256": 1})
