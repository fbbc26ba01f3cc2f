"""The file formats: bytes in, arrays out. Whatever does not parse is refused by name."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from heavytail.lab.datasets import archives, reading
from heavytail.lab.datasets.arrays import ARRAYS, Arrays, DataDamaged
from heavytail.lab.datasets.official import Official

_OTHER_LINES = 10_000  # of comments and blanks
_IDX_AXES = 3


def series(data: bytes, suffix: str, source: Path | str, most_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Series and labels of a UCR text file: float64 (N, length) and int64 (N,).

    One series a line. `.tsv` and `.txt`: the label, then the values, between tabs, blanks or commas. `.ts`: header
    lines that start with @, then lines of values between commas that end in a colon and the label.
    """
    if data.count(b"\n") + data.count(b"\r") > 2 * most_rows + _OTHER_LINES:
        raise DataDamaged(source, f"it has many more lines than the {most_rows} series that it can hold")
    lines = [line for line in data.splitlines() if line.strip()]
    if suffix == ".ts":
        lines = [line.replace(b":", b",") for line in lines if not line.startswith((b"@", b"#"))]
    if not lines:
        raise DataDamaged(source, "it holds no series")
    delimiter = "," if b"," in lines[0] else None  # None: any run of tabs and blanks
    try:
        text = [line.decode("ascii") for line in lines]
        table = np.loadtxt(text, delimiter=delimiter, comments=None, ndmin=2)
    except ValueError as error:
        raise DataDamaged(source, f"it is not a table of numbers: {reading.brief(error).split(';')[0]}") from error
    values, labels = (table[:, :-1], table[:, -1]) if suffix == ".ts" else (table[:, 1:], table[:, 0])
    if not (np.isfinite(labels) & (labels == np.round(labels)) & (np.abs(labels) < 2**31)).all():
        raise DataDamaged(source, "its labels are not integers")
    return values, labels.astype(np.int64)


def idx(data: bytes, source: Path | str) -> np.ndarray:
    """The uint8 array of an idx file, the format of MNIST: 0, 0, 8, the number of axes, their lengths, the values."""
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataDamaged(source, "it is not an idx file of bytes")
    if data[3] > _IDX_AXES:
        raise DataDamaged(source, f"its header says {data[3]} axes, more than the {_IDX_AXES} that pictures have")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataDamaged(source, "it ends inside its header")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise DataDamaged(source, f"it holds {len(data) - start} values where its header says {math.prod(shape)}")
    if 0 in shape:
        raise DataDamaged(source, f"it is empty, of shape {shape}: a split has at least one row")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def npz(path: Path, official: Official) -> Arrays:
    """The four arrays of a published data set in a NumPy archive; what else it holds is not read."""
    try:
        held = archives.arrays(path, ARRAYS, reading.of(official))
    except DataDamaged:
        raise
    except ValueError as error:
        raise DataDamaged(path, str(error)) from error
    if len(held) < len(ARRAYS):
        raise DataDamaged(path, f"it does not hold all of {', '.join(ARRAYS)}")
    return Arrays(**held)
