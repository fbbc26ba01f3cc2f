"""The four arrays of a data set with the values as published, and how they are checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heavytail.lab.datasets.official import Official

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_LONG = 300  # characters of a path or word in a sentence; longer ones are cut


def shown(text: object) -> str:
    """A path or a word of a file as the part of a sentence: of one line, and short enough to read.

    >>> print(shown("a\\nb"))
    'a\\nb'
    """
    whole = str(text)
    plain = whole if whole.isprintable() else ascii(whole)
    return plain if len(plain) <= _LONG else f"{plain[:_LONG]}..."


class DataDamaged(ValueError):
    """A file or folder is there, but is not the data it is named after."""

    def __init__(
        self, source: Path | str, why: str, advice: str = "delete it or put the original in its place"
    ) -> None:
        super().__init__(source, why, advice)  # all in args: the error survives the way between processes
        self.why = why

    def __str__(self) -> str:
        source, why, advice = self.args
        return f"{shown(source)} is damaged ({why}): {advice}."


class DataUnreadable(DataDamaged):
    """A file is there, but cannot be read, or is no file: a folder, a FIFO, a device, a link to nothing."""

    def __init__(
        self, source: Path | str, why: str, advice: str = "make it a file that you may read, or take it away"
    ) -> None:
        super().__init__(source, why, advice)

    def __str__(self) -> str:
        source, why, advice = self.args
        return f"{shown(source)} cannot be read ({why}): {advice}."


@dataclass(frozen=True, eq=False)
class Arrays:
    """Values as published: inputs (N, *shape), labels (N,) in the original numbering."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def splits(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Inputs and labels of the train split, then of the test split."""
        return (self.x_train, self.y_train), (self.x_test, self.y_test)


def checked(arrays: Arrays, official: Official, source: Path | str) -> Arrays:
    """The arrays in the official dtype, labels as int64; DataDamaged if they cannot be such data.

    Any number of rows >= 1 passes: whether they are the official rows is what `verified` says.
    """
    (x_train, y_train), (x_test, y_test) = (
        checked_split(x, y, split, official, source)
        for (x, y), split in zip(arrays.splits(), ("train", "test"), strict=True)
    )
    return Arrays(x_train, y_train, x_test, y_test)


def checked_split(
    x: np.ndarray, y: np.ndarray, split: str, official: Official, source: Path | str
) -> tuple[np.ndarray, np.ndarray]:
    """One split of `checked`; `split` is "train" or "test"."""
    dtype = np.dtype(official.dtype)
    low, high = official.labels
    if x.shape[1:] != official.shape or y.shape != x.shape[:1] or not len(x):
        wanted = " x ".join(str(size) for size in ("rows", *official.shape))
        raise DataDamaged(
            source, f"its {split} inputs are {x.shape} with labels {y.shape}, not {wanted} with at least one row"
        )
    if x.dtype.kind != dtype.kind or (dtype.kind == "u" and x.dtype != dtype):
        raise DataDamaged(source, f"its {split} inputs are of type {x.dtype}, not {dtype}")
    with np.errstate(over="ignore"):
        finite = dtype.kind == "u" or np.isfinite(x.astype(np.float32)).all()
    if not finite:
        raise DataDamaged(source, f"its {split} inputs hold values that are not finite numbers")
    if y.dtype.kind not in "iu" or y.min() < low or y.max() > high:
        raise DataDamaged(source, f"its {split} labels are not all integers from {low} to {high}")
    return np.ascontiguousarray(x, dtype=dtype), y.astype(np.int64)


def verified(arrays: Arrays, official: Official) -> tuple[bool, bool]:
    """Whether the train and the test split are the official ones, in whatever order."""
    train, test = (
        len(x) == rows and digest(x, y) == known
        for (x, y), rows, known in zip(arrays.splits(), official.rows, official.digests, strict=True)
    )
    return train, test


def digest(x: np.ndarray, y: np.ndarray) -> str:
    """The digest of a split (see `Official`), the same for every order of its rows."""
    return hashlib.sha256(b"".join(sorted(_of_rows(x, y)))).hexdigest()


def by_digest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a split in the order of their digests, which is one order whatever they came in.

    >>> x, y = by_digest(np.array([[1], [2], [3]], dtype="|u1"), np.array([4, 5, 6]))
    >>> again = by_digest(x[::-1], y[::-1])
    >>> bool((again[0] == x).all() and (again[1] == y).all())
    True
    """
    each = _of_rows(x, y)
    order = sorted(range(len(each)), key=each.__getitem__)
    return x[order], y[order]


def _of_rows(x: np.ndarray, y: np.ndarray) -> list[bytes]:
    """The digest of every row, in their order."""
    values = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
    rows = np.concatenate([values, y.astype(np.uint8)[:, None]], axis=1)
    width, flat = rows.shape[1], rows.reshape(-1).data
    return [hashlib.sha256(flat[start : start + width]).digest() for start in range(0, len(flat), width)]
