"""Downloads, from a real server on this machine: what is stored is verified, and what fails leaves no trace."""

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from dataset_files import declare_official, made_up, md5, put, ucr_text, write_batches, write_npz

from heavytail.lab import datasets
from heavytail.lab.datasets import layouts
from heavytail.lab.datasets.arrays import by_digest
from heavytail.lab.datasets.official import OFFICIAL, lookup
from heavytail.lab.datasets.vision import torchvision_datasets

CLOSED = "http://127.0.0.1:9/"  # the discard port: nobody listens there


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; under /short/ it promises more bytes than it sends."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/short/"):
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"PK\3\4 and no more")
        else:
            super().do_GET()


@contextmanager
def serving(folder, monkeypatch):
    """The address at which a folder is served."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An empty folder and the address it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder, monkeypatch) as url:
        yield folder, url


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def zip_ecg5000(path, arrays, suffixes=(".txt", ".ts"), prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ECG5000.txt", "a description")
        for suffix in suffixes:
            for split, (x, y) in zip(layouts.UCR_SPLITS, arrays.splits(), strict=True):
                archive.writestr(f"{prefix}{split}{suffix}", ucr_text(x, y, suffix))
    return path


def only_mirror(name, mirror, monkeypatch):
    monkeypatch.setitem(OFFICIAL, name, replace(lookup(name), mirrors=(mirror,)))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("suffixes", [(".txt", ".ts"), (".ts",), (".tsv",)])
def test_heartbeats_are_fetched_once_and_then_read_without_the_server(suffixes, served, home, monkeypatch, capfd):
    folder, url = served
    arrays = made_up("ecg5000")
    declare_official(arrays, "ecg5000", monkeypatch, mirrors=(url,))
    archive = zip_ecg5000(folder / "ECG5000.zip", arrays, suffixes)
    first = datasets.load("ecg5000", home)
    assert "ECG5000.zip: " in capfd.readouterr().err  # the progress bar
    archive.unlink()
    second = datasets.load("ecg5000", home)
    for loaded in (first, second):
        assert loaded.verified
        assert loaded.source == str(home / "ecg5000.npz")
        assert torch.equal(loaded.x_test, torch.tensor(arrays.x_test, dtype=torch.float32))
    assert files(home) == ["ecg5000.npz"]


def test_the_next_mirror_is_asked_when_one_is_down_or_serves_nonsense(served, home, monkeypatch):
    folder, url = served
    arrays = made_up("ecg5000")
    put(folder / "bad" / "ECG5000.zip", b"<html>moved</html>")
    (folder / "good").mkdir()
    zip_ecg5000(folder / "good" / "ECG5000.zip", arrays)
    declare_official(arrays, "ecg5000", monkeypatch, mirrors=(CLOSED, f"{url}bad/", f"{url}none/", f"{url}good/"))
    assert datasets.load("ecg5000", home).verified


def spoil(folder, kind, arrays):
    archive = zip_ecg5000(folder / "ECG5000.zip", made_up("ecg5000", seed=1) if kind == "other data" else arrays)
    whole = archive.read_bytes()
    if kind == "cut":
        archive.write_bytes(whole[: len(whole) // 2])
    if kind == "garbled":
        archive.write_bytes(whole[:2000] + bytes(200) + whole[2200:])
    if kind == "web page":
        archive.write_bytes(b"<html>come back later</html>")
    if kind == "one split":
        with zipfile.ZipFile(archive, "w") as emptied:
            emptied.writestr("ECG5000_TRAIN.txt", ucr_text(arrays.x_train, arrays.y_train, ".txt"))
    if kind == "outside":
        zip_ecg5000(archive, arrays, prefix="../")


@pytest.mark.parametrize("kind", ["other data", "cut", "garbled", "web page", "one split", "outside"])
def test_a_damaged_download_is_refused_and_the_good_copy_stays(kind, served, home, tmp_path, monkeypatch):
    folder, url = served
    arrays = made_up("ecg5000")
    declare_official(arrays, "ecg5000", monkeypatch, mirrors=(url,))
    good = write_npz(home / "ecg5000.npz", arrays)
    before = good.read_bytes()
    spoil(folder, kind, arrays)
    outside = files(tmp_path)
    with pytest.raises(datasets.DataDamaged, match=r"download of ecg5000 from http.* nothing was stored or replaced"):
        datasets.fetch("ecg5000", home)
    assert good.read_bytes() == before
    assert files(home) == ["ecg5000.npz"]
    assert files(tmp_path) == outside


def test_members_with_hostile_paths_are_never_written(served, home, tmp_path, monkeypatch):
    folder, url = served
    arrays = made_up("ecg5000")
    declare_official(arrays, "ecg5000", monkeypatch, mirrors=(url,))
    archive = zip_ecg5000(folder / "ECG5000.zip", arrays)
    with zipfile.ZipFile(archive, "a") as appended:
        appended.writestr("../../slipped.txt", "out")
        appended.writestr(str(tmp_path / "absolute.txt"), "out")
    outside = files(tmp_path)
    assert datasets.fetch("ecg5000", home) == home / "ecg5000.npz"
    assert files(tmp_path) == sorted([*outside, "home/ecg5000.npz"])


@pytest.mark.parametrize("path", [None, "short/", "missing/"])
def test_a_failed_transfer_says_what_to_do_and_leaves_the_good_copy(path, served, home, monkeypatch):
    mirror = CLOSED if path is None else served[1] + path
    only_mirror("ecg5000", mirror, monkeypatch)
    good = write_npz(home / "ecg5000.npz", made_up("ecg5000"))
    before = good.read_bytes()
    with pytest.raises(datasets.DataUnavailable) as refused:
        datasets.fetch("ecg5000", home)
    message = str(refused.value)
    assert all(part in message for part in (mirror, "ECG5000_TRAIN", "ecg5000.npz", str(home), "HEAVYTAIL_DATA"))
    assert "\n" not in message
    assert good.read_bytes() == before
    assert files(home) == ["ecg5000.npz"]


@pytest.mark.parametrize("name", ["ecg5000", "mnist", "cifar10", "cifar100"])
def test_without_a_network_a_first_load_says_what_to_put_where(name, home, monkeypatch):
    only_mirror(name, CLOSED, monkeypatch)
    with pytest.raises(datasets.DataUnavailable, match=rf"{name} could not be downloaded .*{name}\.npz, into {home}"):
        datasets.load(name, home)
    assert files(home) == []


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_fetched(tmp_path):
    put(tmp_path / "file", b"")
    with pytest.raises(datasets.DataUnavailable, match=r"cannot be stored, as .*cache cannot be written to"):
        datasets.load("ecg5000", tmp_path / "file" / "cache")


def test_a_read_only_folder_is_named(home):
    home.chmod(0o500)
    if os.access(home, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(datasets.DataUnavailable, match=r"Permission denied.*set HEAVYTAIL_DATA"):
        datasets.load("ecg5000", home)


def test_there_is_nothing_to_fetch_for_digits(home):
    with pytest.raises(ValueError, match="ships with scikit-learn"):
        datasets.fetch("digits", home)


def test_images_that_fail_the_published_md5_are_refused(served, home, monkeypatch):
    folder, url = served
    for file in ("train-images-idx3-ubyte.gz", "cifar-10-python.tar.gz", "cifar-100-python.tar.gz"):
        put(folder / file, b"nonsense")
    for name in ("mnist", "cifar10", "cifar100"):
        only_mirror(name, url, monkeypatch)
        with pytest.raises(datasets.DataDamaged, match=f"download of {name} .*MD5 of .* is not the published one"):
            datasets.load(name, home)
    assert files(home) == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_colour_images_are_fetched_unpacked_and_stored(name, served, home, tmp_path, monkeypatch):
    folder, url = served
    arrays = made_up(name)
    declare_official(arrays, name, monkeypatch, mirrors=(url,))
    write_batches(tmp_path / "batches", name, arrays, monkeypatch)
    known = getattr(torchvision_datasets(), lookup(name).torchvision)
    with tarfile.open(folder / known.filename, "w:gz") as archive:
        archive.add(tmp_path / "batches" / known.base_folder, known.base_folder)
    monkeypatch.setattr(known, "tgz_md5", md5(folder / known.filename))
    loaded = datasets.load(name, home)
    assert loaded.verified
    _, y = by_digest(arrays.x_test, arrays.y_test) if lookup(name).by_digest else (arrays.x_test, arrays.y_test)
    assert loaded.y_test.tolist() == y.tolist()
    assert files(home) == [f"{name}.npz"]


@pytest.mark.long
def test_mnist_as_it_is_published_is_fetched_verified_and_stored(packed, home, monkeypatch):
    with serving(packed / "MNIST" / "raw", monkeypatch) as url:
        only_mirror("mnist", url, monkeypatch)
        stored = datasets.fetch("mnist", home)
    assert datasets.load("mnist", home).verified
    assert stored == home / "mnist.npz"
    assert files(home) == ["mnist.npz"]


def test_torchvision_lists_where_its_images_come_from():
    known = torchvision_datasets()
    assert len(known.MNIST.resources) == 4
    assert known.CIFAR10.url.endswith(known.CIFAR10.filename)
    assert known.CIFAR100.url.endswith(known.CIFAR100.filename)
