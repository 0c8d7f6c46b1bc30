"""Where data comes from: the order of the roots, downloads that are whole or nothing, and the ways out."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torchvision import datasets

from rsc_mlflow.data import data_roots, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import cifar, mnist, sources
from tests.data import small_sets
from tests.data.small_sets import SmallServer

Start = Callable[[], "subprocess.Popen[str]"]
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens

DOWNLOADER = """
import json, sys
from torchvision import datasets
from rsc_mlflow.data import load_family
from rsc_mlflow.families import mnist
settings = json.loads(sys.stdin.read())
mnist.MNIST_MD5 = settings["md5"]
datasets.MNIST.mirrors = settings["mirrors"]
datasets.MNIST.resources = settings["resources"]
print(*map(len, load_family("mnist")))
"""


def leftovers(root: Path) -> list[str]:
    return sorted(
        path.name for path in root.rglob("*") if path.name not in (".MNIST.lock", ".CIFAR10.lock", ".CIFAR100.lock")
    )


class TestOrder:
    def test_option_then_environment_then_cache(
        self, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        option, environment = tmp_path / "option", tmp_path / "environment"
        option.mkdir()
        environment.mkdir()
        monkeypatch.setenv("RSC_DATA_ROOT", str(environment))
        assert data_roots() == [environment, empty_machine]
        assert data_roots(option) == [option, environment, empty_machine]
        assert data_roots(environment) == [environment, empty_machine]
        arrays = small_sets.idx_arrays()
        monkeypatch.setattr(mnist, "MNIST_MD5", small_sets.idx_md5(arrays))
        for root in (empty_machine, environment, option):
            small_sets.write_idx(root / "MNIST" / "raw", arrays)
            assert sources.locate(mnist.mnist_layout(), option) == root / "MNIST" / "raw"

    def test_the_data_root_before_debians_package(
        self, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrays = small_sets.idx_arrays()
        small_sets.write_idx(tmp_path / "package", arrays, packed=True)
        monkeypatch.setattr(mnist, "DEBIAN_FASHION_FOLDER", tmp_path / "package")
        assert sources.locate(mnist.fashion_layout()) == tmp_path / "package"
        small_sets.write_idx(empty_machine / "FashionMNIST" / "raw", arrays)
        assert sources.locate(mnist.fashion_layout()) == empty_machine / "FashionMNIST" / "raw"

    def test_a_root_that_is_no_folder(
        self, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("in the way", encoding="utf-8")
        for wrong in (tmp_path / "file", tmp_path / "file" / "folder"):
            with pytest.raises(InputError, match=f"'data_root': '{wrong}'. Expected an existing folder"):
                load_family("mnist", str(wrong))
        monkeypatch.setenv("RSC_DATA_ROOT", __file__)
        with pytest.raises(InputError, match=r"'RSC_DATA_ROOT': .* Expected an existing folder"):
            load_family("mnist")

    @pytest.mark.parametrize("text", ["nul\0", "x" * 5000, "loop"])
    def test_a_root_that_no_folder_can_have(
        self, text: str, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("loop").symlink_to("loop")
        with pytest.raises(InputError, match=r"'data_root': .* Expected an existing folder"):
            data_roots(text)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_closed_to_us_holds_nothing(tmp_path: Path) -> None:
    small_sets.write_idx(tmp_path, small_sets.idx_arrays())
    tmp_path.chmod(0o700)
    assert sources.stored_file(tmp_path, "train-labels-idx1-ubyte") is not None
    os.seteuid(65534)
    try:
        assert sources.stored_file(tmp_path, "train-labels-idx1-ubyte") is None
    finally:
        os.seteuid(0)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*train: No such file or directory\. Check the file"):
        sources.verify(tmp_path / "train", "")
    with pytest.raises(InputError, match=r"Cannot read .*: Is a directory"):
        sources.verify(tmp_path, "")


def test_the_checksums_are_those_of_torchvision_where_it_has_them() -> None:
    layout = cifar.pickled_layout("cifar100coarse")
    assert layout.sums == {
        **dict(datasets.CIFAR100.train_list + datasets.CIFAR100.test_list),
        "meta": datasets.CIFAR100.meta["md5"],
    }
    for layout, source in ((mnist.mnist_layout(), datasets.MNIST), (mnist.fashion_layout(), datasets.FashionMNIST)):
        assert {f"{name}.gz" for name in layout.sums} == {name for name, _ in source.resources}


class TestDownload:
    def test_into_the_cache_and_only_once(
        self,
        empty_machine: Path,
        server: SmallServer,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        arrays = small_sets.idx_arrays()
        server.files = small_sets.point_mnist_at(arrays, server.url, monkeypatch)
        train, test = load_family("mnist")
        assert (len(train), len(test)) == (50, 10)
        assert leftovers(empty_machine) == sorted(["MNIST", "raw", *arrays])
        assert "100" in capfd.readouterr().err, "progress is shown"
        requests = server.requests.copy()
        sources.locate(mnist.mnist_layout())
        assert server.requests == requests

    def test_cifar(self, empty_machine: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
        for family, classes, folder in (("cifar10", 10, "cifar-10-batches-bin"), ("cifar100", 100, "cifar-100-binary")):
            files = small_sets.binary_cifar_files(small_sets.cifar_files(classes)[1])
            server.files = small_sets.point_binary_cifar_at(files, server.url, monkeypatch)
            assert [len(part) for part in load_family(family)] == [30 if classes == 10 else 6, 6]
            assert leftovers(empty_machine / folder) == sorted(files)

    def test_cifar_with_a_wrong_archive(
        self, empty_machine: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another archive of the right files is refused by its own sum, before anything is unpacked."""
        files = small_sets.binary_cifar_files(small_sets.cifar_files(100)[1])
        small_sets.point_binary_cifar_at(files, server.url, monkeypatch)
        server.files = {
            "/cifar-100-binary.tar.gz": small_sets.packed_folder("cifar-100-binary", dict(reversed(files.items())))
        }
        with pytest.raises(InputError, match=r"No data for 'cifar100'.*the download failed"):
            load_family("cifar100")
        assert leftovers(empty_machine) == []

    def test_an_incomplete_folder_is_completed(
        self, empty_machine: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrays = small_sets.idx_arrays()
        server.files = small_sets.point_mnist_at(arrays, server.url, monkeypatch)
        small_sets.write_idx(empty_machine / "MNIST" / "raw", arrays)
        (empty_machine / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
        assert len(load_family("mnist")[1]) == 10

    @pytest.mark.parametrize("read_only", [False, True])
    def test_into_the_given_root_unless_it_is_read_only(
        self, read_only: bool, empty_machine: Path, tmp_path: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.files = small_sets.point_mnist_at(small_sets.idx_arrays(), server.url, monkeypatch)
        root = tmp_path / "root"
        root.mkdir(mode=0o555 if read_only else 0o755)
        expected = empty_machine if read_only else root
        assert sources.locate(mnist.mnist_layout(), root) == expected / "MNIST" / "raw"
        assert leftovers(root) == ([] if read_only else leftovers(expected))
        assert sources.locate(mnist.mnist_layout(), root) == expected / "MNIST" / "raw", "found there the next time"


class TestFailure:
    def test_no_network_names_the_ways_out(self, empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        small_sets.point_mnist_at(small_sets.idx_arrays(), NOWHERE, monkeypatch)
        with pytest.raises(InputError) as raised:
            load_family("mnist")
        message = str(raised.value)
        for part in (f"not found in {empty_machine}", "refused", "MNIST/raw", "data_root", "RSC_DATA_ROOT", "digits"):
            assert part in message
        assert "\n" not in message
        assert leftovers(empty_machine) == []

    def test_fashion_also_names_debians_package(self, empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [NOWHERE + "/"])
        with pytest.raises(InputError, match="dataset-fashion-mnist"):
            load_family("fashion")

    def test_cifar_without_network(self, empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pickled, tables = small_sets.cifar_files(100)
        small_sets.point_cifar_at(pickled, monkeypatch)
        small_sets.point_binary_cifar_at(small_sets.binary_cifar_files(tables), NOWHERE, monkeypatch)
        accepted = r"put cifar-100-binary \(train.bin, test.bin\) or cifar-100-python \(train, test, meta\) into"
        with pytest.raises(InputError, match=f"No data for 'cifar100coarse'.*{accepted}"):
            load_family("cifar100coarse")

    def test_no_folder_that_can_be_written_to(
        self, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
        with pytest.raises(InputError, match="none of these folders is writable"):
            load_family("mnist")

    @pytest.mark.parametrize("fault", ["cut short", "wrong content", "not there"])
    def test_a_broken_download_leaves_nothing(
        self, fault: str, empty_machine: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archives = small_sets.point_mnist_at(small_sets.idx_arrays(), server.url, monkeypatch)
        last = list(archives)[-1]
        server.files = {**archives, last: b"something else"} if fault == "wrong content" else dict(archives)
        if fault == "not there":
            del server.files[last]
        server.send_share = 0.5 if fault == "cut short" else 1.0
        with pytest.raises(InputError, match="the download failed"):
            load_family("mnist")
        assert leftovers(empty_machine) == []
        server.files, server.send_share = archives, 1.0
        assert len(load_family("mnist")[0]) == 50, "and the next try succeeds"

    def test_a_server_that_falls_silent(
        self, empty_machine: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.files = small_sets.point_mnist_at(small_sets.idx_arrays(), server.url, monkeypatch)
        server.hold.clear()
        monkeypatch.setattr(sources, "STALL_SECONDS", 0.3)
        with pytest.raises(InputError, match=r"the download failed \(.*timed out"):
            load_family("mnist")
        assert socket.getdefaulttimeout() is None


@pytest.mark.integration
class TestProcesses:
    """This process and another on one cache folder."""

    @pytest.fixture
    def start(self, empty_machine: Path, server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
        server.files = small_sets.point_mnist_at(small_sets.idx_arrays(), server.url, monkeypatch)
        settings = {
            "md5": dict(mnist.MNIST_MD5),
            "mirrors": datasets.MNIST.mirrors,
            "resources": datasets.MNIST.resources,
        }
        started: list[subprocess.Popen[str]] = []

        def start() -> subprocess.Popen[str]:
            pipe = subprocess.PIPE
            process = subprocess.Popen(
                [sys.executable, "-c", DOWNLOADER], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ
            )
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(settings))
            process.stdin.close()
            process.stdin = None
            return process

        yield start
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def test_at_the_same_time_download_once(
        self, start: Start, empty_machine: Path, server: SmallServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.hold.clear()  # the other process is held half-way, so that this one meets its lock
        other = start()
        assert server.half_way.wait(60)
        threading.Timer(1.5, server.hold.set).start()
        assert len(load_family("mnist")[0]) == 50
        out, errors = other.communicate(timeout=60)
        assert (other.returncode, out.split()) == (0, ["50", "10"]), errors
        assert "Waiting for another process that downloads mnist" in caplog.text
        # torchvision asks twice for each file: once for redirects, once for the content
        assert set(server.requests.values()) == {2}

    def test_killed_half_way_leaves_no_half_data(self, start: Start, empty_machine: Path, server: SmallServer) -> None:
        server.hold.clear()
        process = start()
        assert server.half_way.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert not (empty_machine / "MNIST").exists()
        assert (empty_machine / ".MNIST.partial").is_dir(), "what the killed process left"
        server.hold.set()
        assert len(load_family("mnist")[0]) == 50
        assert not (empty_machine / ".MNIST.partial").exists()
