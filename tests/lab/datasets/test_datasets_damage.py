"""Damaged data sets: refused by name in one sentence, never passed over for another copy, never a crash."""

from __future__ import annotations

import pickle
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from dataset_files import LAYOUTS, declare_official, made_up, put, write, write_npz, write_ucr

from heavytail.lab import datasets
from heavytail.lab.datasets import DataDamaged


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_a_truncated_file_is_refused_by_name_and_nothing_else_is_read(name, layout, tmp_path, monkeypatch):
    if layout != "npz":
        cut = write(name, layout, made_up(name), tmp_path, monkeypatch)[-1]
    else:
        write(
            name, LAYOUTS[-1][1] if name.startswith("cifar") else "ECG5000/*.tsv", made_up(name), tmp_path, monkeypatch
        )
        cut = write_npz(tmp_path / f"{name}.npz", made_up(name))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(DataDamaged, match=cut.name.replace(".", r"\.")) as refused:
        datasets.load(name, tmp_path)
    assert "delete it" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "layout"), [pair for pair in LAYOUTS if pair[1] != "batches"])
@pytest.mark.long
def test_garbled_bytes_are_refused_or_loaded_unverified_but_never_crash(name, layout, tmp_path, monkeypatch):
    arrays, random = made_up(name, rows=(2, 2)), np.random.default_rng(0)
    declare_official(arrays, name, monkeypatch)
    hit = write(name, layout, arrays, tmp_path, monkeypatch)[0]
    sound, refused = hit.read_bytes(), 0
    for _ in range(60):
        # the first bytes and the last are where headers and directories lie
        near = int(random.integers(0, min(300, len(sound))))
        garbled = bytearray(sound)
        garbled[near if random.integers(2) else -1 - near] ^= int(random.integers(1, 256))
        hit.write_bytes(garbled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                datasets.load(name, tmp_path)
            except DataDamaged:
                refused += 1
    assert refused > 0


def bad(name, **changes):
    arrays = made_up(name)
    return replace(arrays, **{array: change(getattr(arrays, array)) for array, change in changes.items()})


def with_value(value):
    def change(x):
        x[1, 1] = value
        return x

    return change


@pytest.mark.parametrize(
    ("name", "arrays", "why"),
    [
        ("mnist", bad("mnist", x_test=lambda x: x[:, :27]), "not rows x 28 x 28"),
        ("mnist", bad("mnist", x_train=lambda x: x[:0], y_train=lambda y: y[:0]), "train inputs are"),
        ("mnist", bad("mnist", y_train=lambda y: y[:-1]), "with labels"),
        ("mnist", bad("mnist", x_train=lambda x: x / 255), "of type float64, not uint8"),
        (
            "cifar10",
            bad("cifar10", y_test=lambda y: y + 1 + 9 - y.max()),
            "test labels are not all integers from 0 to 9",
        ),
        ("ecg5000", bad("ecg5000", y_train=lambda y: y - y.max()), "train labels are not all integers from 1 to 5"),
        ("ecg5000", bad("ecg5000", y_train=lambda y: y * 1.0), "train labels are not all integers"),
        ("ecg5000", bad("ecg5000", x_test=with_value(np.nan)), "test inputs hold values that are not finite"),
        ("ecg5000", bad("ecg5000", x_test=with_value(1e39)), "test inputs hold values that are not finite"),
        ("ecg5000", bad("ecg5000", x_train=lambda x: x.astype(object)), "not a NumPy archive of plain arrays"),
    ],
)
def test_arrays_that_cannot_be_the_data_set_are_refused(name, arrays, why, tmp_path):
    write_npz(tmp_path / f"{name}.npz", arrays)
    with pytest.raises(DataDamaged, match=rf"{name}\.npz is damaged .*{why}"):
        datasets.load(name, tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("ECG5000_TRAIN.tsv", "", "holds no series"),
        ("ECG5000_TRAIN.ts", "@problemName ECG5000\n@data\n", "holds no series"),
        ("ECG5000_TRAIN.txt", "<html>not found</html>\n", "not a table of numbers"),
        ("ECG5000_TRAIN.txt", "\u00e9\n", "not a table of numbers"),
        ("ECG5000_TRAIN.tsv", "1.5\t" + "\t".join(["0"] * 140), "labels are not integers"),
        ("ECG5000_TRAIN.tsv", "nan\t" + "\t".join(["0"] * 140), "labels are not integers"),
        ("ECG5000_TRAIN.tsv", "1\t" + "\t".join(["0"] * 139), "not rows x 140"),
        ("ECG5000_TRAIN.ts", ",".join(["0"] * 139 + ["?"]) + ":1\n", "not a table of numbers"),
    ],
)
def test_text_that_is_no_table_of_heartbeats_is_refused(file, text, why, tmp_path):
    write_ucr(tmp_path, "*.txt.gz", made_up("ecg5000"))
    put(tmp_path / file, text.encode())
    with pytest.raises(DataDamaged, match=why) as refused:
        datasets.load("ecg5000", tmp_path)
    assert refused.value.args[0] == tmp_path / file


def test_a_single_array_under_the_name_of_an_archive_is_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    shutil.move(tmp_path / "array.npy", tmp_path / "mnist.npz")
    with pytest.raises(DataDamaged, match="not a NumPy archive"):
        datasets.load("mnist", tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros(3))
    with pytest.raises(DataDamaged, match="does not hold all of"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "layout", "missing"),
    [("ecg5000", "*.tsv", "ECG5000_TEST"), ("mnist", "idx", "t10k-labels"), ("cifar10", "batches", "test_batch")],
)
def test_a_layout_with_a_file_missing_is_refused_by_its_name(name, layout, missing, tmp_path, monkeypatch):
    write(name, layout, made_up(name), tmp_path, monkeypatch)[-1].unlink()
    with pytest.raises(DataDamaged, match=missing):
        datasets.load(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "batch"), [("cifar10", "cifar-10-batches-py/data_batch_1"), ("cifar100", "cifar-100-python/train")]
)
def test_a_batch_with_another_md5_than_the_published_one_is_not_unpickled(name, batch, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").mkdir, ())

    put(tmp_path / batch, pickle.dumps(Trap()))
    with pytest.raises(DataDamaged, match=batch):
        datasets.load(name, tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_the_refusal_survives_the_way_between_processes():
    refusal = DataDamaged("mnist.npz", "it is empty")
    assert str(pickle.loads(pickle.dumps(refusal))) == str(refusal)


def test_idx_files_that_do_not_go_together_are_named(tmp_path, monkeypatch):
    images = write("mnist", "idx", made_up("mnist"), tmp_path / "one", monkeypatch)
    labels = write("mnist", "idx", made_up("mnist", rows=(7, 6)), tmp_path / "other", monkeypatch)
    shutil.copy(labels[3], images[3])
    with pytest.raises(DataDamaged, match="t10k-images-idx3-ubyte or t10k-labels-idx1-ubyte is damaged"):
        datasets.load("mnist", tmp_path / "one")
