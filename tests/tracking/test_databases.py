"""Addresses of SQLite files are decoded once, by SQLAlchemy; tables of another MLflow are never changed in silence."""

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import mlflow
import pytest
import sqlalchemy
from alembic import command
from mlflow import MlflowClient
from mlflow.store.db import utils as mlflow_db
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.tracking import databases
from rsc_mlflow.tracking.frame import RunStore
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.tracking.store import StoreError, connect

OLD = "3500859a5d39"  # MLflow 2.3
NAMES = (
    "plain",
    "two words",
    "100%",
    "a%20b",
    "a%2520b",
    "a#b",
    "a?b",
    "a?mode=ro",
    "ñandú 日本",
    "a+b&c=d",
    "a:b@c",
    "~",
)


def below(folder: Path) -> tuple[set[Path], set[Path]]:
    """Databases, and everything else but the folders they lie in and SQLite's own companions."""
    found = set(folder.rglob("*"))
    tables = {path for path in found if path.is_file() and path.read_bytes()[:6] == b"SQLite"}
    homes = {parent for path in tables for parent in path.parents}
    return tables, {path for path in found - tables - homes if not path.name.endswith(("-wal", "-shm", "-journal"))}


def experiments(file: Path) -> set[str]:
    with sqlite3.connect(file) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM experiments")}


@pytest.mark.parametrize("typed", list(dict.fromkeys([*NAMES, *map(quote, NAMES)])))
@pytest.mark.parametrize("relative", [False, True])
def test_one_file_is_probed_and_opened_and_nothing_else_is_made(
    typed: str, relative: bool, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that ends up with our experiment is the only thing there is; MLflow's own engine finds it, too."""
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{'' if relative else tmp_path}{'' if relative else '/'}{typed}/mlflow.db"
    file = databases.sqlite_file(address)
    assert file is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(empty_store.read_bytes())
    mlflow.set_tracking_uri(address)
    connect().create_experiment("found again")
    assert below(tmp_path) == ({tmp_path / file}, set())
    assert "found again" in experiments(file)
    engine = mlflow_db.create_sqlalchemy_engine(address)
    with engine.connect() as connection:
        assert "found again" in set(connection.execute(sqlalchemy.text("SELECT name FROM experiments")).scalars())
    engine.dispose()
    assert RunStore(address).refresh().error is None
    assert below(tmp_path) == ({tmp_path / file}, set())


@pytest.mark.parametrize("typed", ["new", "a%2520b", "a b#c"])
def test_a_store_that_is_not_there_yet_is_made_in_one_place(typed: str, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:////{tmp_path}/{typed}/deep/mlflow.db")
    connect()
    (tables, others) = below(tmp_path)
    assert len(tables) == 1
    assert others == set()


def test_a_training_in_such_a_folder(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a run does finds the store at its decoded address: registry, artifacts and look-ups."""
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/50%25%20%23%C3%BC/mlflow.db"
    file = databases.sqlite_file(address)
    assert file is not None
    file.parent.mkdir()
    file.write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    words = ["--dataset", "digits", "--model", "ce-tor-MLP", "--epochs", "1"]
    assert status(entry_point("train_classifier"), words) == 0
    assert status(entry_point("visualize_weights"), ["--model_uri", "models:/rsc-digits-MLP@digits"]) == 0
    assert below(tmp_path)[0] == {file}
    assert {path.name for path in tmp_path.iterdir()} == {file.parent.name, "mlruns"}


@pytest.fixture(params=["tables missing", "all tables"])
def old_store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store as an older MLflow left it, made by MLflow's own migrations up to a point."""
    file = tmp_path / "mlflow.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    InitialBase.metadata.create_all(engine)
    config = mlflow_db._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLD if request.param == "tables missing" else "head")
        connection.execute(sqlalchemy.text(f"UPDATE alembic_version SET version_num = '{OLD}'"))
    engine.dispose()
    return file


def test_the_store_of_an_older_mlflow_is_refused_and_left_as_it_is(
    old_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = old_store.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{old_store}")
    mlflow.set_tracking_uri(f"sqlite:///{old_store}")
    with pytest.raises(StoreError, match=r"3500859a5d39.* make a backup and run `mlflow db upgrade sqlite:///.*`"):
        connect()
    for name, words in (("train_classifier", ["--dataset", "digits", "--epochs", "1"]), ("report", [])):
        capsys.readouterr()
        assert status(entry_point(name), words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: The tracking store sqlite:///")
        assert f"`mlflow db upgrade sqlite:///{old_store}`" in line
    assert "mlflow db upgrade" in str(RunStore(f"sqlite:///{old_store}").refresh().error)
    assert old_store.read_bytes() == before


def test_after_the_upgrade_it_is_used(old_store: Path) -> None:
    uri = f"sqlite:///{old_store}"
    engine = sqlalchemy.create_engine(uri)
    if not mlflow_db._all_tables_exist(engine):
        mlflow_db._upgrade_db(engine)  # what `mlflow db upgrade` calls
    else:
        with engine.begin() as connection:
            head = mlflow_db._get_latest_schema_revision()
            connection.execute(sqlalchemy.text(f"UPDATE alembic_version SET version_num = '{head}'"))
    engine.dispose()
    mlflow.set_tracking_uri(uri)
    with open_run(kind="train", name="x") as run:
        pass
    assert MlflowClient(uri).get_run(run.run_id).info.status == "FINISHED"


def test_a_store_that_another_process_makes_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its revision passes through all those of older versions."""
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('first')")
    revisions = iter(("second", "third", mlflow_db._get_latest_schema_revision()))
    waited: list[float] = []

    def migrate(seconds: float) -> None:
        """What the other process gets done while this one waits."""
        waited.append(seconds)
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (next(revisions),))

    monkeypatch.setattr(databases, "time", SimpleNamespace(sleep=migrate))  # other threads sleep as usual
    assert databases.foreign_schema(f"sqlite:///{file}") is None
    assert waited == [databases._SETTLING_SECONDS] * 3


def test_databases_in_memory_and_servers_need_no_file() -> None:
    for address in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
        assert databases.sqlite_file(address) is None
        assert databases.trouble(address) is None
    assert not databases.is_database("http://127.0.0.1:5000")
    assert databases.is_database("mysql+pymysql://me@host/db")
    assert not os.path.exists("file:x")
