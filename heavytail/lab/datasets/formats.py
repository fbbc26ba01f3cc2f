"""The file formats: bytes in, arrays out. Whatever does not parse is refused by name."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heavytail.lab.datasets.arrays import ARRAYS, Arrays, DataDamaged


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked if its name ends in .gz."""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as stream:
            return stream.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataDamaged(path, f"it does not unpack: {error}") from error


def series(data: bytes, suffix: str, source: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Series and labels of a UCR text file: float64 (N, length) and int64 (N,).

    One series a line. `.tsv` and `.txt`: the label, then the values, between tabs, blanks or commas. `.ts`: header
    lines that start with @, then lines of values between commas that end in a colon and the label.
    """
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
        raise DataDamaged(source, f"it is not a table of numbers: {str(error).split(';')[0]}") from error
    values, labels = (table[:, :-1], table[:, -1]) if suffix == ".ts" else (table[:, 1:], table[:, 0])
    if not (np.isfinite(labels) & (labels == np.round(labels)) & (np.abs(labels) < 2**31)).all():
        raise DataDamaged(source, "its labels are not integers")
    return values, labels.astype(np.int64)


def idx(data: bytes, source: Path | str) -> np.ndarray:
    """The uint8 array of an idx file, the format of MNIST: 0, 0, 8, the number of axes, their lengths, the values."""
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataDamaged(source, "it is not an idx file of bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataDamaged(source, "it ends inside its header")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise DataDamaged(source, f"it holds {len(data) - start} values where its header says {math.prod(shape)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def npz(path: Path) -> Arrays:
    """The four arrays of a published data set in a NumPy archive; what else it holds is not read."""
    try:
        held = archive(path, ARRAYS)
    except ValueError as error:
        raise DataDamaged(path, str(error)) from error
    if len(held) < len(ARRAYS):
        raise DataDamaged(path, f"it does not hold all of {', '.join(ARRAYS)}")
    return Arrays(**held)


def archive(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive, or those of the named ones that it holds, read without pickle."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with loaded:
            return {name: loaded[name] for name in loaded.files if names is None or name in names}
    except (ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError("it is not a NumPy archive of plain arrays") from error


# The largest text of the archive takes 10 MB; a member that claims far more is no such text.
_LARGEST_MEMBER = 100_000_000


def zipped(archive: Path, names: tuple[str, ...], source: str) -> dict[str, bytes]:
    """Those of the named members that a zip file holds at its top, read into memory.

    Nothing is extracted and no other member is looked at, so no path of the archive can reach the disk.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            held = [name for name in names if name in members.namelist()]
            if any(members.getinfo(name).file_size > _LARGEST_MEMBER for name in held):
                raise DataDamaged(source, "a text in it is far too large")
            return {name: members.read(name) for name in held}
    except (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataDamaged(source, f"it is not a readable zip file: {error}") from error
