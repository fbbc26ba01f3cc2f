"""Where the data sets lie on this machine, and how each layout is read.

In the data folder the first of these that is there is read, and nothing else is tried if it turns out damaged:

1. `NAME.npz` with x_train, y_train, x_test, y_test as published: what a download leaves behind;
2. the layout the data set is usually found in:
   ecg5000: `ECG5000_TRAIN` and `ECG5000_TEST` in `ECG5000/`, then in the data folder itself, each the first that
   exists of `.tsv`, `.txt`, `.ts`, `.tsv.gz`, `.txt.gz`, `.ts.gz`;
   mnist: the four idx files in `MNIST/raw/`, each plain or else `.gz`;
   cifar10, cifar100: torchvision's folders `cifar-10-batches-py` and `cifar-100-python`.

A data set that is another one split anew lies where that one lies: ecg5000-random is read from the files of ecg5000.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from heavytail.lab.datasets import formats, reading
from heavytail.lab.datasets.arrays import Arrays, DataDamaged, DataUnreadable, checked_split, shown
from heavytail.lab.datasets.official import Official, lookup
from heavytail.lab.datasets.vision import torchvision_datasets

UCR_SPLITS = ("ECG5000_TRAIN", "ECG5000_TEST")
UCR_SUFFIXES = (".tsv", ".txt", ".ts", ".tsv.gz", ".txt.gz", ".ts.gz")
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IDX_SUFFIXES = ("", ".gz")
CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


class DataUnavailable(RuntimeError):
    """A data set is not on this machine and cannot be put there."""


@dataclass(frozen=True)
class Place:
    """A file or folder that holds a data set, and the function that reads it."""

    path: Path
    read: Callable[[], Arrays]


def folder(root: Path | str | None = None) -> Path:
    """The data folder: `root` if given, else $HEAVYTAIL_DATA, else `heavytail` in the user's cache.

    Raises DataUnavailable if $HEAVYTAIL_DATA names no folder, or nobody's home, or if the cache is not known. The other
    two are made by the first download.
    """
    if root is not None:
        return _expanded(root)
    named = os.environ.get("HEAVYTAIL_DATA")
    if named:
        home = _expanded(named)
        try:
            is_folder = stat.S_ISDIR(os.stat(home).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = False
        except (OSError, ValueError) as error:
            raise DataUnavailable(
                f"HEAVYTAIL_DATA names {shown(named)}, which nobody can look at ({reading.brief(error)}): name another."
            ) from error
        if not is_folder:
            raise DataUnavailable(
                f"HEAVYTAIL_DATA names {shown(named)}, which is no folder: make it or correct the name."
            )
        return home
    try:
        import platformdirs
    except ModuleNotFoundError as error:
        raise DataUnavailable(
            "nobody knows here where your cache is (platformdirs is not installed): set HEAVYTAIL_DATA to a folder."
        ) from error
    return Path(platformdirs.user_cache_dir("heavytail"))


def _expanded(root: Path | str) -> Path:
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise DataUnavailable(
            f"the data folder {shown(root)} is in the home of nobody here: correct its name."
        ) from error


def find(name: str, root: Path | str | None = None) -> Path | None:
    """The file or folder that `load` would read without a download; None if there is none.

    Being there does not mean being sound: only `load` and `status` read it. For digits it is the folder of the
    installed scikit-learn. Raises DataUnavailable where one cannot look.
    """
    place = locate(lookup(name), root)
    return place.path if place else None


def locate(official: Official, root: Path | str | None = None) -> Place | None:
    """The first place, in the order given above, that holds the data set, in a file or in what stands in its place."""
    official = official.base
    if official.name == "digits":
        spec = find_spec("sklearn")
        if not (spec and spec.origin):
            return None
        here = Path(spec.origin).parent
        return Place(here, partial(digits, here))
    home = folder(root)
    try:
        return _located(official, home)
    except DataUnreadable as error:
        raise DataUnavailable(
            f"{official.name} cannot be looked for in {shown(home)} ({error.why}): "
            "let yourself read that folder, or set HEAVYTAIL_DATA to another."
        ) from error


def _located(official: Official, home: Path) -> Place | None:
    stored = home / f"{official.name}.npz"
    if reading.stands(stored):
        return Place(stored, partial(formats.npz, stored, official))
    if official.name == "ecg5000":
        for here in (home / "ECG5000", home):
            if any(_first(here, split, UCR_SUFFIXES) for split in UCR_SPLITS):
                return Place(here, partial(ucr, here, official))
    if official.name == "mnist":
        raw = home / "MNIST" / "raw"
        if any(_first(raw, file, IDX_SUFFIXES) for file in IDX_FILES):
            return Place(raw, partial(mnist, raw, official))
    if official.name in CIFAR_FOLDERS:
        batches = home / CIFAR_FOLDERS[official.name]
        if reading.stands(batches):
            return Place(batches, partial(cifar, batches, official))
    return None


def digits(here: Path) -> Arrays:
    """The 8 x 8 digits of scikit-learn as (N, 64) with values 0..16; every fifth image is a test image.

    Its file is read without it: every process that trains on digits would import it for longer than it trains.
    """
    if (packed := here / "datasets" / "data" / "digits.csv.gz").is_file():
        x, y = _digits(packed.read_bytes())
    else:  # as another version may lay it out
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
    x, test = x.astype(np.uint8), np.arange(len(y)) % 5 == 4
    return Arrays(x[~test], y[~test], x[test], y[test])


@lru_cache(maxsize=1)
def _digits(packed: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of the file; to read its text takes longer than many a training of a sweep."""
    with gzip.open(io.BytesIO(packed)) as text:
        table = np.loadtxt(text, delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def ucr(here: Path, official: Official) -> Arrays:
    """ECG5000 as the UCR archive lays it out, one text file a split."""
    splits, most = [], reading.of(official)
    for stem, split in zip(UCR_SPLITS, ("train", "test"), strict=True):
        path = _present(here, stem, UCR_SUFFIXES)
        suffix = path.name.removeprefix(stem).removesuffix(".gz")
        values, labels = formats.series(reading.contents(path, most), suffix, path, official.most_rows)
        splits.append(checked_split(values, labels, split, official, path))
    return Arrays(*splits[0], *splits[1])


def mnist(raw: Path, official: Official) -> Arrays:
    """MNIST as four idx files."""
    splits, most = [], reading.of(official)
    for stems, split in ((IDX_FILES[:2], "train"), (IDX_FILES[2:], "test")):
        paths = [_present(raw, stem, IDX_SUFFIXES) for stem in stems]
        images, labels = (formats.idx(reading.contents(path, most), path) for path in paths)
        splits.append(checked_split(images, labels, split, official, f"{paths[0]} or {paths[1].name}"))
    return Arrays(*splits[0], *splits[1])


def cifar(batches: Path, official: Official) -> Arrays:
    """CIFAR-10 or CIFAR-100 as torchvision unpacks it.

    These files are pickles. They are opened by torchvision's classes alone, which check the MD5 of every file against
    the published one before they unpickle it.
    """
    classes, most = torchvision_datasets(), reading.of(official)
    for file, _ in batch_files(official):
        if reading.stands(batches / file):
            with reading.opened(batches / file, most):  # torchvision would read a device, or what has no end
                pass
    known = getattr(classes, str(official.torchvision))
    try:
        train, test = (known(str(batches.parent), train=split) for split in (True, False))
    except RuntimeError as error:
        for file, md5 in batch_files(official):
            if not classes.utils.check_integrity(str(batches / file), md5):
                raise DataDamaged(batches / file, "it is missing or its MD5 is not the published one") from error
        raise
    return Arrays(train.data, np.asarray(train.targets), test.data, np.asarray(test.targets))


def batch_files(official: Official) -> list[tuple[str, str]]:
    """The files of torchvision's folder, each with its MD5 as published."""
    known = getattr(torchvision_datasets(), str(official.torchvision))
    return [*known.train_list, *known.test_list, (known.meta["filename"], known.meta["md5"])]


def _first(here: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    return next((path for suffix in suffixes if reading.stands(path := here / f"{stem}{suffix}")), None)


def _present(here: Path, stem: str, suffixes: tuple[str, ...]) -> Path:
    path = _first(here, stem, suffixes)
    if path is None:
        advice = "put it there or take the files beside it away"
        raise DataDamaged(here / stem, "it is missing beside its companions", advice)
    return path
