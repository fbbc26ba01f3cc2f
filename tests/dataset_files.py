"""Small data sets of the right form, and writers for every layout that users have on disk."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from heavytail.lab.datasets import layouts
from heavytail.lab.datasets.arrays import ARRAYS, Arrays, digest
from heavytail.lab.datasets.official import OFFICIAL
from heavytail.lab.datasets.vision import torchvision_datasets

UCR = (".tsv", ".txt", ".ts", ".tsv.gz", ".txt.gz", ".ts.gz")
LAYOUTS = [
    *((name, "npz") for name in ("ecg5000", "mnist", "cifar10", "cifar100")),
    *(("ecg5000", f"{folder}*{suffix}") for folder in ("ECG5000/", "") for suffix in UCR),
    ("ecg5000", "comma*.txt"),
    ("mnist", "idx"),
    ("mnist", "idx.gz"),
    ("cifar10", "batches"),
    ("cifar100", "batches"),
]


def made_up(name, rows=(7, 5), seed=0):
    """Random data of the right form."""
    random, official = np.random.default_rng(seed), OFFICIAL[name]

    def split(count):
        low, high = official.labels
        labels = random.integers(low, high + 1, count)
        if official.dtype == "|u1":
            return random.integers(0, 256, (count, *official.shape), dtype=np.uint8), labels
        # eight significant digits, as many as the archive's text files have
        values = [float(f"{value:.7e}") for value in random.normal(size=count * official.shape[0])]
        return np.array(values).reshape(count, *official.shape), labels

    return Arrays(*split(rows[0]), *split(rows[1]))


def declare_official(arrays, name, monkeypatch, **changes):
    """From now on this data is the official one of that name."""
    rows = tuple(len(y) for _, y in arrays.splits())
    digests = tuple(digest(x, y) for x, y in arrays.splits())
    monkeypatch.setitem(OFFICIAL, name, replace(OFFICIAL[name], rows=rows, digests=digests, **changes))


def write(name, layout, arrays, root, monkeypatch):
    """Write a data set under root in that layout; returns the files that hold values."""
    if layout == "npz":
        return [write_npz(root / f"{name}.npz", arrays)]
    if name == "ecg5000":
        return write_ucr(root, layout, arrays)
    if name == "mnist":
        return write_idx(root / "MNIST" / "raw", arrays, ".gz" if layout.endswith(".gz") else "")
    return write_batches(root, name, arrays, monkeypatch)


def write_npz(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{array: getattr(arrays, array) for array in ARRAYS})
    return path


def write_ucr(root, layout, arrays):
    place, suffix = layout.split("*")
    home = root if place == "" else root / "ECG5000"
    files = []
    for split, (x, y) in zip(layouts.UCR_SPLITS, arrays.splits(), strict=True):
        text = ucr_text(x, y, suffix.removesuffix(".gz"), comma=place == "comma")
        files.append(put(home / f"{split}{suffix}", text.encode()))
    return files


def ucr_text(x, y, suffix, comma=False):
    if suffix == ".ts":
        header = "# a comment\n@problemName ECG5000\n@timeStamps false\n@classLabel true 1 2 3 4 5\n@data\n"
        lines = (f"{','.join(map(repr, row))}:{label}\n" for row, label in zip(x.tolist(), y.tolist(), strict=True))
        return header + "".join(lines)
    if suffix == ".tsv" or comma:
        glue = "," if comma else "\t"
        return "".join(
            f"{glue.join(map(repr, [label, *row]))}\n" for row, label in zip(x.tolist(), y.tolist(), strict=True)
        )
    # the archive's oldest form: 16 columns a number, the label as a number too
    return "".join("".join(f"{value:16.7e}" for value in [label, *row]) + "\n" for row, label in zip(x, y, strict=True))


def write_idx(raw, arrays, suffix=""):
    values = (arrays.x_train, arrays.y_train, arrays.x_test, arrays.y_test)
    files = []
    for file, array in zip(layouts.IDX_FILES, values, strict=True):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        files.append(put(raw / f"{file}{suffix}", header + array.astype(np.uint8).tobytes()))
    return files


def write_batches(root, name, arrays, monkeypatch):
    """torchvision's folder. Its files are pickles with published MD5s, so torchvision is told the MD5s of ours."""
    known = getattr(torchvision_datasets(), OFFICIAL[name].torchvision)
    labels = "labels" if name == "cifar10" else "fine_labels"
    files, (train, test) = [], arrays.splits()
    for wanted, listed, (x, y) in (("train_list", known.train_list, train), ("test_list", known.test_list, test)):
        parts = [
            {"data": part.transpose(0, 3, 1, 2).reshape(len(part), -1), labels: part_labels.tolist()}
            for part, part_labels in zip(np.array_split(x, len(listed)), np.array_split(y, len(listed)), strict=True)
        ]
        paths = [
            put(root / known.base_folder / file, pickle.dumps(part))
            for (file, _), part in zip(listed, parts, strict=True)
        ]
        monkeypatch.setattr(known, wanted, [[path.name, md5(path)] for path in paths])
        files += paths
    names = put(root / known.base_folder / known.meta["filename"], pickle.dumps({known.meta["key"]: []}))
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": md5(names)})
    return files


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()
