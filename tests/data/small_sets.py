"""Small datasets in the real formats, served by a real HTTP server on this machine.

torchvision's addresses and checksums, and ours, are pointed at them; everything else is what runs on the real sets.
"""

import dataclasses
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torchvision import datasets

from rsc_mlflow.families import cifar, mnist

Arrays = dict[str, np.ndarray]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


# ---- idx: MNIST and Fashion-MNIST ------------------------------------------------------------------------------


def idx_arrays(n_train: int = 50, n_test: int = 10, seed: int = 0) -> Arrays:
    state = np.random.RandomState(seed)
    arrays = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        arrays[f"{part}-images-idx3-ubyte"] = state.randint(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = state.randint(0, 10, n, dtype=np.uint8)
    return arrays


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def write_idx(folder: Path, arrays: Arrays, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def idx_md5(arrays: Arrays) -> dict[str, str]:
    return {name: md5(idx_bytes(array)) for name, array in arrays.items()}


def point_mnist_at(arrays: Arrays, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Expect these arrays as MNIST, downloaded from ``url``; returns the archives to serve there."""
    archives = {f"/{name}.gz": gzip.compress(idx_bytes(array), mtime=0) for name, array in arrays.items()}
    monkeypatch.setattr(mnist, "MNIST_MD5", idx_md5(arrays))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{url}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", [(path[1:], md5(content)) for path, content in archives.items()])
    return archives


# ---- CIFAR -----------------------------------------------------------------------------------------------------


class _Python2Pickler(pickle._Pickler):  # the pure-Python pickler, whose way of writing a type can be replaced
    """Writes arrays and text as Python 2 wrote the CIFAR files: byte strings, and numpy's old module path."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)
    write: Callable[[bytes], object]
    memoize: Callable[[object], None]

    def _save_string(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch[bytes] = _save_string
    dispatch[str] = _save_string


def python2_pickle(value: Any) -> bytes:
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_files(classes: int, seed: int = 0) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a small CIFAR-10 or CIFAR-100, and the table in each."""
    state = np.random.RandomState(seed)
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"] if classes == 10 else ["train", "test"]
    tables: dict[str, Any] = {}
    for name in names:
        labels = {"labels": 10} if classes == 10 else {"fine_labels": 100, "coarse_labels": 20}
        tables[name] = {key: state.randint(0, high, 6).tolist() for key, high in labels.items()}
        tables[name]["data"] = state.randint(0, 256, (6, 3072), dtype=np.uint8)
    files = {name: python2_pickle(table) for name, table in tables.items()}
    meta, key = ("batches.meta", "label_names") if classes == 10 else ("meta", "fine_label_names")
    files[meta] = python2_pickle({key: [f"class {k}" for k in range(classes)]})
    return files, tables


def point_cifar_at(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect these files as torchvision's CIFAR-10 or CIFAR-100 (told by their names)."""
    source = datasets.CIFAR10 if "test_batch" in files else datasets.CIFAR100
    batches = [[name, md5(content)] for name, content in files.items() if "meta" not in name]
    meta = next(name for name in files if "meta" in name)
    monkeypatch.setattr(source, "train_list", [batch for batch in batches if "test" not in batch[0]])
    monkeypatch.setattr(source, "test_list", [batch for batch in batches if "test" in batch[0]])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5(files[meta])})


def binary_cifar_files(tables: dict[str, Any]) -> dict[str, bytes]:
    """The binary files that hold the same as these tables, byte by byte as the official description has it."""
    files = {}
    for name, table in tables.items():
        labels = [table[key] for key in ("labels", "coarse_labels", "fine_labels") if key in table]
        rows = zip(*labels, table["data"], strict=True)
        files[f"{name}.bin"] = b"".join(bytes(row[:-1]) + row[-1].tobytes() for row in rows)
    return files


def point_binary_cifar_at(files: dict[str, bytes], url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Expect these files as the binary CIFAR-10 or CIFAR-100 (told by their names); returns the archive to serve."""
    name = "CIFAR10" if "test_batch.bin" in files else "CIFAR100"
    binary: cifar.Binary = getattr(cifar, name)
    packed = packed_folder(binary.folder, {**files, "readme.html": b"what the real archive holds besides"})
    test = {one: md5(content) for one, content in files.items() if "test" in one}
    train = {one: hashlib.sha1(content).hexdigest() for one, content in files.items() if "test" not in one}
    address = f"{url}/{binary.folder}.tar.gz"
    small = dataclasses.replace(binary, train=train, test=test, url=address, archive_md5=md5(packed))
    monkeypatch.setattr(cifar, name, small)
    return {f"/{binary.folder}.tar.gz": packed}


def packed_folder(folder: str, files: dict[str, bytes]) -> bytes:
    """A ``.tar.gz`` of a folder with these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


# ---- the server ------------------------------------------------------------------------------------------------


class SmallServer(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path → content); counts requests; can cut answers short or hold them back."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.send_share = 1.0
        self.hold = threading.Event()  # answers stop half-way until it is set
        self.hold.set()
        self.half_way = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SmallServer

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.server.requests[self.path] += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        with_hold = not self.server.hold.is_set()
        try:
            self.wfile.write(content[:half])
            if with_hold:
                self.wfile.flush()
                self.server.half_way.set()
                self.server.hold.wait(30)
            if self.server.send_share == 1.0:
                time.sleep(0.01)
                self.wfile.write(content[half:])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was killed or gave up: what the test is about

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests' output is not a server log."""


@contextmanager
def serve() -> Iterator[SmallServer]:
    server = SmallServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
