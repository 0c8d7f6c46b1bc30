"""A real PostgreSQL cluster that tests start, kill and start again: on loopback, in a folder of its own."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.mlflow_server import free_port

_START_SECONDS = 60.0
_FOLDERS = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")


def find_program(name: str) -> Path | None:
    """A program of PostgreSQL: Debian keeps ``initdb`` and ``postgres`` out of PATH."""
    debian = [path for folder in _FOLDERS for path in Path(folder).glob(f"**/bin/{name}")]
    if debian:
        return max(debian)
    found = shutil.which(name)
    return Path(found) if found else None


class PostgresCluster:
    """A cluster with password log-in; ``postgres`` refuses to run as root, so there it runs as user postgres."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rsc-postgres-"))
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        if self._account:
            shutil.chown(self.folder, "postgres", "postgres")

    def create(self) -> "PostgresCluster":
        """Make the cluster and start it."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._account:
            shutil.chown(secret, "postgres", "postgres")
        self._run("initdb", "-D", self._data, "-U", "rsc", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8")
        return self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> "PostgresCluster":
        """Start it and wait until it answers."""
        command = [str(find_program("postgres")), "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port)]
        command += ["-k", str(self.folder), "-c", "fsync=off"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._account)  # type: ignore[call-overload]
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._connect("postgres").close()
                return self
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """Immediate shutdown: every connection is cut, and the next start recovers from the log."""
        self._stop("immediate")

    def stop(self) -> None:
        """Shut down in good order and leave the folder."""
        self._stop("fast")

    def remove(self) -> None:
        """Shut down and remove everything."""
        self._stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stop(self, mode: str) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")
            process.wait(30)

    def database(self, name: str, template: str | None = None) -> str:
        """Create a database (a copy of ``template``, if given) and return its URI."""
        connection = self._connect("postgres")
        try:
            connection.autocommit = True
            copied = f' TEMPLATE "{template}"' if template else ""
            connection.execute(f'CREATE DATABASE "{name}"{copied}')
        finally:
            connection.close()
        return self.uri(name)

    def uri(self, name: str) -> str:
        """The SQLAlchemy address of a database."""
        return f"postgresql+psycopg://rsc:{self.password}@127.0.0.1:{self.port}/{name}"

    def client_program(self, name: str, database: str, *arguments: str) -> None:
        """Run ``pg_dump``, ``pg_restore`` or ``psql`` on a database, as an operator would."""
        address = self.uri(database).replace("+psycopg", "")
        done = subprocess.run(
            [str(find_program(name)), f"--dbname={address}", *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")

    def _connect(self, name: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="rsc", password=self.password, dbname=name, connect_timeout=5
        )

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(find_program(name)), *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **self._account,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
