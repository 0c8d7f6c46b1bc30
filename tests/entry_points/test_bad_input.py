"""Every option of every entry point, wrong once: exit status 2, one line that begins ``error: ``, nothing written."""

import dataclasses
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from entry_points.command import OptionsCommand, status
from entry_points.commands import entry_point, programs
from rsc_mlflow.errors import InputError

PROGRAMS = programs(generic=False)

LONG = "é" * 9000
FILE = "no-folder"
"""A file of the working folder: no path can lead through it, whatever else the machine has."""

NONSENSE = (
    "",
    "  ",
    "nonsense",
    "nan",
    "-1",
    "1e999",
    "1_0",
    "٣",
    "0x10",
    "1 2",
    "$(id)",
    "a\nb",
    "'; id;'",
    LONG,
)
"""Wrong for everything but free text; what an option's parser refuses of it is one case."""

MEANINGLESS = {
    "device": ("tpu", "cuda:x", "cuda:77", "cpu:0", "'; id;'"),
    "model_uri": (
        "nonsense",
        "models:/nobody/1",
        "models:/a/b/c",
        "models:/m-0",
        "runs:/../model",
        "$(id)",
        LONG,
    ),
    "compare_with": ("nonsense", "models:/nobody/1", "runs:/0/model"),
    "resume_run_id": ("nonsense", "../../etc", "0" * 32, "x' OR 'a'='a"),
    "attacks": ("nonsense", "loss,", "loss,loss", ",", LONG),
    "compare": ("nonsense", ",", "0" * 32),
    "grid": ("nothing.yaml", ".", f"{FILE}/grid.yaml"),
    "data_root": (f"{FILE}/folder", LONG, FILE),
    "ray_address": (LONG,),
    "output": (f"{FILE}/report.html", ".", LONG),
    "export": (f"{FILE}/folder", FILE, LONG),
    "size": ("huge", "1x1", "8x", LONG),
    "experiments": ("nonsense", "Default,"),
    "filter": ("nonsense", "params.x ="),
}
"""Free text that means nothing: refused when it is looked at, still before anything is written."""

BASE = {
    "dataset": "digitsv20-3-0-0",
    "model_uri": "models:/rsc-digits-MLP@digitsv20-3-0-0",
    "grid": "nothing.yaml",
}
OF_THE_MODEL: tuple[str, ...] = (
    "visualize_weights",
    "occlusion",
    "exact_retraining",
    "incremental_retraining",
    "group_influence",
)
OF_THE_MODEL += ("relabel_finetuning", "gradient_difference")
UNUSED = {(name, "data_root") for name in OF_THE_MODEL} | {("visualize_weights", "device")}
"""These take the model's dataset, and the embedded digits lie in no folder; drawing weights computes nothing."""

INSTEAD = {"data_root": {"dataset": "mnistv20-3-0-0"}}
"""Options that must be set for the wrong one to be looked at (the embedded digits need no folder)."""


def right(command: OptionsCommand, option: str) -> dict[str, str]:
    """Arguments that are as they should be, but for ``option``."""
    fields = {field.name: field for field in dataclasses.fields(command.options_class)}
    needed = {name: value for name, value in BASE.items() if name in fields}
    needed |= {name: value for name, value in INSTEAD.get(option, {}).items() if name in fields}
    if command.name == "mem_inference":
        return {"dataset": "mem" + needed["dataset"]}
    return needed


def wrong_values(command: OptionsCommand, option: str) -> list[str]:
    (field,) = (field for field in dataclasses.fields(command.options_class) if field.name == option)
    values = list(dict.fromkeys((*NONSENSE, *MEANINGLESS.get(option, ()))))
    if (command.name, option) in UNUSED:
        return [value for value in values if refused(field, value)]
    return [value for value in values if refused(field, value) or value in MEANINGLESS.get(option, ())]


def refused(field: "dataclasses.Field[object]", value: str) -> bool:
    try:
        field.metadata["parse"](field.name, value)
    except InputError:
        return True
    return False


def cases() -> Iterator[tuple[str, str, str]]:
    for name in PROGRAMS:
        command = entry_point(name)
        for field in dataclasses.fields(command.options_class):
            for value in wrong_values(command, field.name):
                yield name, field.name, value


class Store:
    """A store and a working folder in which nothing may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = self.content()

    def content(self) -> tuple[dict[str, int], list[str]]:
        """Rows of every table, and every file."""
        connection = sqlite3.connect(self.folder / "mlflow.db")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables}
        connection.close()
        files = sorted(str(path) for path in self.folder.rglob("*") if not path.name.startswith("mlflow.db"))
        return rows, files


@pytest.fixture(scope="module")
def folder_with_a_model(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store that holds one trained model, so that only the wrong option is wrong."""
    folder = tmp_path_factory.mktemp("bad-input")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    (folder / FILE).write_text("a file", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        words = ["--dataset", BASE["dataset"], "--model", "ce-tor-MLP", "--epochs", "1"]
        assert status(entry_point("train_classifier"), words) == 0
    return folder


@pytest.fixture
def store(folder_with_a_model: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(folder_with_a_model)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder_with_a_model / 'mlflow.db'}")
    return Store(folder_with_a_model)


def complaint(command: OptionsCommand, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the entry point writes about these arguments."""
    capsys.readouterr()
    assert status(command, arguments) == 2, arguments
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_wrong_once(name: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command = entry_point(name)
    for field in dataclasses.fields(command.options_class):
        values = wrong_values(command, field.name)
        assert values, f"{name} --{field.name}: say in this file what is wrong for it"
        for value in values:
            given = right(command, field.name) | {field.name: value}
            line = complaint(command, [word for key, text in given.items() for word in (f"--{key}", text)], capsys)
            shown = " ".join(value.split())[:100]
            named = field.name in line or (shown and shown.removeprefix("models:/") in line)
            assert named, f"{name} --{field.name} {value!r}: {line}"
            assert len(line) < 1100
    assert store.content() == store.before


@pytest.mark.parametrize(
    ("text", "message"), [(LONG, "Expected text of 1 to 6,000 characters"), ("a\udcffb", "can be encoded as UTF-8")]
)
def test_text_that_the_store_cannot_hold(
    text: str, message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded digits need no folder, so nobody looks at this one: the store would refuse it or cut it."""
    arguments = ["--dataset", "digits", "--model", "ce-tor-MLP", "--epochs", "1", "--data_root", text]
    assert message in complaint(entry_point("train_classifier"), arguments, capsys)
    assert store.content() == store.before


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense", "1"], "No such option"),
        (["stray"], "unexpected extra argument"),
        (["--{option}"], "requires an argument. Write --{option} VALUE; --help describes the values."),
        (["--help=1"], "does not take a value."),
    ],
)
def test_a_command_line_that_cannot_be_read(
    name: str, arguments: list[str], message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    command = entry_point(name)
    option = dataclasses.fields(command.options_class)[0].name
    given = [word.format(option=option) for word in arguments]
    assert message.format(option=option) in complaint(command, given, capsys)
    assert store.content() == store.before


def test_there_are_hundreds_of_cases() -> None:
    found = list(cases())
    assert len(found) == len(set(found))
    print(f"\n{len(found)} wrong values of {len({(name, option) for name, option, _ in found})} options")
    assert len(found) > 300
